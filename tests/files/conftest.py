"""A directory where files cost little, a clock, and stores that are closed at the end."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.files.disks import FaultyDisk, start

from loom.store.files import FilesStore
from loom.store.files.disk import Disk
from loom.testing.tools import ManualClock

MEMORY = Path("/dev/shm")

Starter = Callable[..., Awaitable[FilesStore]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a file system."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def disk(place: Path) -> FaultyDisk:
    return FaultyDisk(place / "data")


@pytest.fixture
async def starter(disk: FaultyDisk, clock: ManualClock) -> AsyncIterator[Starter]:
    """Starts the store in `disk`'s directory, after closing the one before."""
    stores: list[FilesStore] = []

    async def again(other: Disk | None = None, **options: Any) -> FilesStore:
        for store in stores:
            await store.close()
        stores.append(await start(other or disk, clock, **options))
        return stores[-1]

    yield again
    for store in stores:
        await store.close()


@pytest.fixture
async def store(starter: Starter) -> FilesStore:
    return await starter()

"""A directory in memory, a clock set by hand, and stores that are closed at the end of a test."""

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
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a directory, in memory if the system has a file system there."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def disk(folder: Path) -> FaultyDisk:
    return FaultyDisk(folder / "data")


@pytest.fixture
async def starter(disk: FaultyDisk, clock: ManualClock) -> AsyncIterator[Starter]:
    """Start a store in the directory of `disk`, after closing the one before."""
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

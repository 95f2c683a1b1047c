"""Every store under test: how it is opened, and opened again."""

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.contract.tools import Now

from loom.store.base import Store

Opener = Callable[..., Coroutine[Any, Any, Store]]


def memory(_path: Path, clock: Now) -> Opener:
    async def open_store(*, writer_bound: int = 4 << 20, total_bound: int = 64 << 20) -> Store:
        from loom.store.memory import MemoryStore

        return MemoryStore(clock, writer_bound=writer_bound, total_bound=total_bound)

    return open_store


def files(path: Path, clock: Now) -> Opener:
    async def open_store(*, writer_bound: int = 4 << 20, total_bound: int = 64 << 20) -> Store:
        from loom.store.files import FilesStore
        from loom.store.files.writer import Bounds

        bounds = Bounds(stream=writer_bound, total=total_bound)
        return await FilesStore.start(
            path, clock=clock, bounds=bounds, min_free_bytes=0, min_free_inodes=0, segment_size=1 << 20
        )

    return open_store


STORES = {"memory": memory, "files": files}
PERSISTENT = ["files"]


class Reopening:
    """A store that outlives its process: `reopen` closes it and opens what it left behind."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.store: Store

    async def reopen(self) -> Store:
        if hasattr(self, "store"):
            await self.store.close()
        self.store = await self._opener()
        return self.store


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path, clock: Now) -> Opener:
    """Opens the store with bounds of the test's choice; the test closes it."""
    return STORES[request.param](tmp_path / "data", clock)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    store = await opener()
    yield store
    await store.close()


@pytest.fixture(params=PERSISTENT)
async def reopening(request: pytest.FixtureRequest, tmp_path: Path, clock: Now) -> AsyncIterator[Reopening]:
    reopening = Reopening(STORES[request.param](tmp_path / "data", clock))
    await reopening.reopen()
    yield reopening
    await reopening.store.close()

"""The contract of a store, run with every store of this repository."""

from pathlib import Path

import pytest

from loom.store.base import Store
from loom.store.files import FilesStore
from loom.store.files.writer import Bounds
from loom.store.memory import MemoryStore
from loom.testing.store import DurableStoreTests, StoreTests
from loom.testing.tools import ManualClock


class TestMemory(StoreTests):
    model_runs = 60

    async def open_store(
        self, path: Path, clock: ManualClock, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20
    ) -> Store:
        return MemoryStore(clock, writer_bound=writer_bound, total_bound=total_bound)


class TestFiles(DurableStoreTests):
    model_runs = 15

    async def open_store(
        self, path: Path, clock: ManualClock, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20
    ) -> Store:
        bounds = Bounds(stream=writer_bound, total=total_bound)
        return await FilesStore.start(
            path, clock=clock, bounds=bounds, min_free_bytes=0, min_free_inodes=0, segment_size=1 << 20
        )


@pytest.mark.parametrize("suite", [StoreTests, DurableStoreTests])
def test_no_test_of_the_suite_hides_another(suite: type[StoreTests]):
    names = [name for part in suite.__mro__ for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names))

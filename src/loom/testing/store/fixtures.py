"""How the store under test is opened, and opened again."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar, Protocol

import pytest
import pytest_asyncio

from loom.store.base import Store
from loom.testing.tools import ManualClock


class Opener(Protocol):
    """Opens the store of one test, with bounds of bytes in flight of one producer and of all."""

    async def __call__(self, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20) -> Store: ...


class Reopening:
    """The store of one test: `reopen` closes it and opens its data again."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.store: Store

    async def reopen(self) -> Store:
        if hasattr(self, "store"):
            await self.store.close()
        self.store = await self._opener()
        return self.store


class StoreFixtures:
    """The fixtures that the tests take. A subclass defines `open_store`."""

    survives_restart: ClassVar[bool] = False
    model_runs: ClassVar[int] = 20
    """Sequences of random operations that are compared with the model."""

    async def open_store(
        self, path: Path, clock: ManualClock, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20
    ) -> Store:
        """Open the store under test.

        `path` names its data: a path that does not exist is an empty store, and the same path names the same
        data again. The store takes the time from `clock`. The bounds are bytes in flight.
        """
        raise NotImplementedError("A test class of a store defines open_store.")

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def opener(self, tmp_path: Path, clock: ManualClock) -> Opener:
        """Opens the store with bounds of the test's choice; the test closes it."""
        return functools.partial(self.open_store, tmp_path / "data", clock)

    @pytest_asyncio.fixture
    async def reopening(self, opener: Opener) -> AsyncIterator[Reopening]:
        reopening = Reopening(opener)
        await reopening.reopen()
        yield reopening
        await reopening.store.close()

    @pytest.fixture
    def store(self, reopening: Reopening) -> Store:
        return reopening.store

"""The one moment in which anything becomes durable. Knows neither what is changed nor who is told.

A commit comes a turn of the event loop after it was first asked for. It takes everything since the last one:
bytes first, then the changes in the order they were asked for, each made and told then and there. Before
that, nothing is seen and nothing refused; so whoever reads needs no care: what is there is durable.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from loom.errors import StoreStopped

if TYPE_CHECKING:
    from loom.store.memory.stream import MemoryWriter

T = TypeVar("T")


class Commits:
    """What waits for the next commit. Bounds are bytes in flight: of one writer, and of all."""

    def __init__(self, writer_bound: int, total_bound: int) -> None:
        self.stop: StoreStopped | None = None
        """Why there are no more commits."""
        self.stored = 0
        """Bytes of all streams, those in flight too."""
        self._writer_bound = writer_bound
        self._total_bound = total_bound
        self._dirty: dict[MemoryWriter, None] = {}
        self._changes: list[Callable[[], object]] = []
        self._scheduled = False
        self._holds = 0
        self._made = asyncio.Event()  # each commit has its own

    def check(self) -> None:
        """Raises StoreStopped once it is so."""
        if self.stop:
            raise self.stop.with_traceback(None)

    async def ask(self, change: Callable[[], T], orphan: Callable[[T], None] | None = None) -> T:
        """Have the next commit make `change`. If its asker is cancelled, `orphan` gets what came of it."""
        self.check()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def make() -> None:
            try:
                self.check()
                answer.set_result(change())
            except Exception as error:
                answer.set_exception(error)

        self._changes.append(make)
        self._schedule()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if orphan:
                self._changes.append(lambda: answer.exception() or orphan(answer.result()))
                self._schedule()
            raise

    def grow(self, writer: "MemoryWriter") -> None:
        """Have the next commit take what this writer has accepted."""
        self._dirty[writer] = None
        self._schedule()

    def crowded(self, writer: "MemoryWriter") -> bool:
        """A bound is reached."""
        total = sum(each.in_flight for each in self._dirty)
        return writer.in_flight >= self._writer_bound or total >= self._total_bound

    async def made(self) -> None:
        """Wait for the next commit."""
        await self._made.wait()

    @contextmanager
    def held(self) -> Iterator[None]:
        """No commit is made in here."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._schedule()

    def halt(self, stop: StoreStopped) -> None:
        """Nothing becomes durable any more, and all who wait learn why."""
        self.stop = stop
        self._dirty.clear()
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._scheduled = False
        if self._holds and not self.stop:
            return
        dirty, self._dirty = self._dirty, {}
        for writer in dirty:
            writer.stream.drain()
        changes, self._changes = self._changes, []
        for make in changes:
            make()
        made, self._made = self._made, asyncio.Event()
        made.set()

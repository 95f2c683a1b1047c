"""Commits: the one moment at which anything becomes durable. Knows neither streams nor what a change does.

A commit runs one turn of the event loop after it was first requested. It takes everything queued since the
last one: first the bytes, then the changes in the order of their submission. Each change is applied and
announced in that step. Nothing is visible or refused before it, so all that a reader sees is durable.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from loom.errors import StoreStopped

T = TypeVar("T")


class Source(Protocol):
    """A producer with bytes that are not durable yet."""

    in_flight: int

    def flush(self) -> None:
        """Make these bytes durable and show them."""


class Commits:
    """The queue for the next commit. The bounds are bytes in flight, of one producer and of all."""

    def __init__(self, writer_bound: int, total_bound: int) -> None:
        self.stop: StoreStopped | None = None
        """Why there are no more commits."""
        self.stored = 0
        """Bytes of all streams, those in flight included."""
        self._writer_bound = writer_bound
        self._total_bound = total_bound
        self._dirty: dict[Source, None] = {}
        self._changes: list[Callable[[], object]] = []
        self._scheduled = False
        self._holds = 0
        self._committed = asyncio.Event()  # each commit has its own

    def check(self) -> None:
        """Raise StoreStopped if there are no more commits."""
        if self.stop:
            raise self.stop.with_traceback(None)

    async def submit(self, change: Callable[[], T], orphan: Callable[[T], None] | None = None) -> T:
        """Run `change` in the next commit and return its result.

        If the caller is cancelled, `change` runs all the same, and `orphan` receives its result.
        """
        self.check()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                self.check()
                answer.set_result(change())
            except Exception as error:
                answer.set_exception(error)

        self._changes.append(run)
        self._schedule()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if orphan:
                # Queued after `run`, so the answer is there by then.
                self._changes.append(lambda: answer.exception() or orphan(answer.result()))
                self._schedule()
            raise

    def mark(self, source: Source) -> None:
        """Flush this producer in the next commit."""
        self._dirty[source] = None
        self._schedule()

    def crowded(self, source: Source) -> bool:
        """Return True while this producer, or all of them together, have reached a bound."""
        total = sum(each.in_flight for each in self._dirty)
        return source.in_flight >= self._writer_bound or total >= self._total_bound

    async def wait_commit(self) -> None:
        """Wait for the next commit."""
        await self._committed.wait()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make no commit inside this context."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._schedule()

    def halt(self, stop: StoreStopped) -> None:
        """Make nothing durable from now on; all waiters get `stop`."""
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
        for source in dirty:
            source.flush()
        changes, self._changes = self._changes, []
        for run in changes:
            run()
        # Waiters of this commit wake up; later ones wait for the next commit.
        committed, self._committed = self._committed, asyncio.Event()
        committed.set()

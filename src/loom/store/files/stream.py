"""One stream in memory: what is durable, and what is on its way there. Knows no file and no thread.

Four offsets only rise, each at or behind the next:

    filed      bytes the content file holds
    durable    bytes that survive power loss; the only size anyone is told
    taken      bytes a commit cycle has taken
    accepted   bytes the producer has handed over
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loom.errors import LoomError
from loom.model import Info
from loom.store.base import Sink
from loom.store.places import Count, Dates, LinePlace, Mark

if TYPE_CHECKING:
    from loom.store.files.writer import FilesWriter


@dataclass(slots=True, eq=False)
class Op:
    """A change to be logged: `put` is the stream's new row, `drop` a stream that goes in the same change."""

    stream: "Stream"
    put: Info | None
    drop: "Stream | None"
    done: asyncio.Future[None]
    size: int = 0

    def fail(self, error: LoomError) -> None:
        """It will not happen."""
        if not self.done.done():
            self.done.set_exception(error)


class Stream:
    """State of one key. Belongs to the event loop; the `lock` orders changes to its row."""

    __slots__ = (
        "accepted",
        "count",
        "dates",
        "durable",
        "error",
        "filed",
        "grows",
        "info",
        "lock",
        "marks",
        "number",
        "opened",
        "ops",
        "pending",
        "recent",
        "sinks",
        "taken",
        "waiters",
        "writer",
    )  # fmt: skip

    def __init__(self, number: int, info: Info) -> None:
        self.number = number
        self.info = info
        self.filed = self.durable = self.taken = self.accepted = info.size
        self.pending: list[bytes] = []
        self.recent: deque[bytes] = deque()
        self.ops: deque[Op] = deque()
        self.writer: FilesWriter | None = None
        self.sinks: list[Following] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.opened = 0
        self.error: LoomError | None = None
        self.lock = asyncio.Lock()
        # The index: whether it goes on, how far lines are counted (None: ask the catalog), what it lacks.
        self.grows = not info.state.final
        self.count: Count | None = None if info.size else Count()
        self.dates = Dates(None if info.size else info.created)
        self.marks: list[Mark] = []

    @property
    def view(self) -> Info:
        """The stream as it durably is."""
        return replace(self.info, size=self.durable)

    @property
    def idle(self) -> bool:
        """Nothing here but what the catalog and the content file hold too."""
        return not (
            self.pending or self.recent or self.ops or self.sinks or self.opened or self.writer
            or self.waiters or self.marks or self.lock.locked()
        )  # fmt: skip

    @property
    def uncounted(self) -> bool:
        """Not all lines in the content file have been counted."""
        return self.grows and (self.count is None or self.count.offset < self.filed)

    async def moved(self) -> None:
        """Wait until something of this stream has become durable, or its writer is lost."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Let all who wait in `moved` look again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def lose_writer(self, error: LoomError) -> None:
        """The producer, if there is one, may not go on."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.lose(error)
        self.wake()

    def counted(self, count: Count, places: Sequence[LinePlace]) -> None:
        """Lines have been counted so far, and these places were found; somebody else may have been faster."""
        before, self.count = self.count, count
        if before is not None and before.offset >= count.offset:
            self.count = before
            return
        self.marks += places

    def arrived(self, now: float) -> None:
        """What becomes durable next arrived now."""
        if moment := self.dates.arrived(now, self.durable):
            self.marks.append(moment)

    def grown(self, chunks: list[bytes], *, filed: bool) -> None:
        """`chunks` have become durable; `filed` says that the content file holds all there is."""
        offset = self.durable
        self.durable += sum(map(len, chunks))
        if filed:
            self.recent.clear()
            self.filed = self.durable
        else:
            self.recent.extend(chunks)
        for chunk in chunks:
            for sink in tuple(self.sinks):
                sink.on_bytes(offset, chunk)
            offset += len(chunk)
        self.wake()

    def imaged(self, start: int, size: int) -> None:
        """The content file holds bytes [start, start + size) now; a large write may have been faster."""
        if self.filed != start:
            return
        self.filed += size
        while size > 0:
            size -= len(self.recent.popleft())

    def lose_content(self) -> None:
        """The content file is not what it was: what is still in memory cannot be put behind it."""
        self.recent.clear()
        self.filed = self.durable

    def slice(self, start: int, limit: int) -> bytes:
        """Up to `limit` recent bytes from `start`, which is at or behind `filed`."""
        place = self.filed
        for chunk in self.recent:
            if place <= start < place + len(chunk):
                return chunk[start - place : start - place + limit]
            place += len(chunk)
        return b""

    def turn(self, info: Info) -> None:
        """The row is `info` now."""
        changed = info.state is not self.info.state
        self.info = info
        if changed:
            for sink in tuple(self.sinks):
                sink.on_change(self.view)
                if info.state.final:
                    sink.close()
        self.wake()

    def halt(self, error: LoomError) -> None:
        """What was on its way will not arrive: tell the writer and those who wait."""
        self.pending = []
        self.accepted = self.taken = self.durable
        ops, self.ops = self.ops, deque()
        for op in ops:
            op.fail(error)
        self.lose_writer(error)

    def end(self, error: LoomError) -> None:
        """Nothing more comes of this stream: tell its followers too."""
        self.error = error
        self.halt(error)
        for sink in tuple(self.sinks):
            sink.on_gone(error)


class Following:
    """A sink on a stream, until it is closed or nothing follows."""

    def __init__(self, stream: Stream, sink: Sink, on_close: Callable[[Stream], None]) -> None:
        self.info = stream.view
        self._stream = stream
        self._sink = sink
        self._on_close = on_close
        self._open = not self.info.state.final
        if self._open:
            stream.sinks.append(self)
        else:
            on_close(stream)

    def on_bytes(self, offset: int, data: bytes) -> None:
        """See Sink."""
        if self._open:
            self._sink.on_bytes(offset, data)

    def on_change(self, info: Info) -> None:
        """See Sink."""
        if self._open:
            self._sink.on_change(info)

    def on_gone(self, error: LoomError) -> None:
        """See Sink."""
        if self._open:
            self.close()
            self._sink.on_gone(error)

    def close(self) -> None:
        """Feed the sink no more. May be repeated."""
        if self._open:
            self._open = False
            self._stream.sinks.remove(self)
            self._on_close(self._stream)

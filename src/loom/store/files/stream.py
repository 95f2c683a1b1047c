"""One stream in memory: what is durable, and what is being stored. Knows no file and no thread.

Four offsets only rise, and none passes the next:

    filed      bytes that the content file holds
    durable    bytes that survive power loss; the only size visible outside the store
    taken      bytes that a commit cycle has taken
    accepted   bytes that were accepted from writers
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from loom.errors import LoomError
from loom.model import Info
from loom.store.base import Sink
from loom.store.common import ProducerWriter
from loom.store.files.ledger import Ledger
from loom.store.places import Count, Dates, LinePlace, Mark


@dataclass(slots=True, eq=False)
class Op:
    """A change to commit: `put` is the new row of `stream`, `drop` a stream deleted by the same commit."""

    stream: "Stream"
    put: Info | None
    drop: "Stream | None"
    done: asyncio.Future[None]
    size: int = 0
    """The size of the stream at this point of the log."""
    ledger: int = 0
    """The size of its ledger."""

    def fail(self, error: LoomError) -> None:
        """Report to the caller that the change was not made."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Write:
    """Bytes of one stream to commit, at `offset`, with the entries that its ledger gets by the same commit.

    `ledger` is then the size of the ledger, and `weight` an upper bound of the entries' bytes in the log.

    A large write goes to the content file first. It includes `recent`, the bytes before its own that
    the file lacks, which start at `filed`.
    """

    stream: "Stream"
    offset: int
    chunks: list[bytes]
    size: int
    large: bool
    filed: int
    recent: list[bytes]
    count: Count | None
    entries: dict[str, str]
    ledger: int
    weight: int
    places: list[LinePlace] = field(default_factory=list)
    digest: int = 0
    error: OSError | None = None


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
        "ledger",
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
        # Bytes [taken, accepted), and the durable bytes [filed, durable).
        self.pending: list[bytes] = []
        self.recent: deque[bytes] = deque()
        self.ops: deque[Op] = deque()
        self.ledger = Ledger(info.ledger)
        self.writer: ProducerWriter | None = None
        self.sinks: list[Following] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.opened = 0
        self.error: LoomError | None = None
        self.lock = asyncio.Lock()
        # The index: whether bytes are still added, how far lines are counted (None: ask the catalog), and
        # the marks that the catalog lacks.
        self.grows = not info.state.final
        self.count: Count | None = None if info.size else Count()
        self.dates = Dates(info.created, resumed=info.size > 0)
        self.marks: list[Mark] = []

    @property
    def view(self) -> Info:
        """The row with the durable sizes, as visible outside the store."""
        return replace(self.info, size=self.durable, ledger=self.ledger.durable)

    @property
    def accepted_view(self) -> Info:
        """The row with the sizes that it has once everything accepted is durable."""
        return replace(self.info, size=self.accepted, ledger=self.ledger.accepted)

    @property
    def untaken(self) -> bool:
        """True if no commit cycle has taken some of what was accepted."""
        return bool(self.pending or self.ledger.pending)

    @property
    def idle(self) -> bool:
        """True if the catalog and the content file hold everything that is held here."""
        return not (
            self.accepted > self.durable or self.recent or self.ops or self.sinks or self.opened
            or self.writer or self.waiters or self.marks or self.lock.locked() or not self.ledger.idle
        )  # fmt: skip

    @property
    def uncounted(self) -> bool:
        """True if the content file holds bytes whose lines are not counted yet."""
        return self.grows and (self.count is None or self.count.offset < self.filed)

    def take_bytes(self, *, large: bool) -> Write:
        """Move everything pending into a write for the next commit."""
        chunks, self.pending = self.pending, []
        size = self.accepted - self.taken
        if not large and len(chunks) > 1:
            chunks = [b"".join(chunks)]
        recent = list(self.recent) if large else []
        write = Write(
            self, self.taken, chunks, size, large, self.filed, recent, self.count,
            self.ledger.pending, self.ledger.accepted, self.ledger.weight,
        )  # fmt: skip
        self.taken = self.accepted
        self.ledger.take()
        return write

    async def wait_progress(self) -> None:
        """Wait until something of this stream becomes durable, or its writer is lost."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """End every `wait_progress`."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def lose_writer(self, error: LoomError) -> None:
        """Take the right to append from the producer, if there is one."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.lose(error)
        self.wake()

    def add_count(self, count: Count, places: Sequence[LinePlace]) -> None:
        """Record how far lines are counted, and the places found, unless another thread counted further."""
        if self.count is None or self.count.offset < count.offset:
            self.count = count
            self.marks += places

    def add_moment(self, now: float) -> None:
        """Record that the bytes that become durable next arrived now."""
        if moment := self.dates.arrived(now, self.durable):
            self.marks.append(moment)

    def add_durable(self, chunks: list[bytes], *, filed: bool) -> None:
        """Show `chunks`, which have become durable. `filed` says that the content file holds every byte."""
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

    def add_filed(self, start: int, size: int) -> None:
        """Record that the content file holds [start, start + size), unless a large write was faster."""
        if self.filed != start:
            return
        self.filed += size
        while size > 0:
            size -= len(self.recent.popleft())

    def lose_content(self) -> None:
        """Drop recent bytes: the content file was cut or removed, so they cannot be written after its end."""
        self.recent.clear()
        self.filed = self.durable

    def slice(self, start: int, limit: int) -> bytes:
        """Return up to `limit` recent bytes from `start`, which is `filed` or after it."""
        offset = self.filed
        for chunk in self.recent:
            if offset <= start < offset + len(chunk):
                return chunk[start - offset : start - offset + limit]
            offset += len(chunk)
        return b""

    def set_row(self, info: Info) -> None:
        """Show the new row, which has become durable."""
        changed = info.state is not self.info.state
        self.info = info
        if changed:
            for sink in tuple(self.sinks):
                sink.on_change(self.view)
                if info.state.final:
                    sink.close()
        self.wake()

    def halt(self, error: LoomError) -> None:
        """Drop everything that is not durable; report `error` to the writer and to waiting callers."""
        self.pending = []
        self.accepted = self.taken = self.durable
        self.ledger.drop(error)
        ops, self.ops = self.ops, deque()
        for op in ops:
            op.fail(error)
        self.lose_writer(error)

    def end(self, error: LoomError) -> None:
        """Halt the stream permanently, and report `error` to its followers too."""
        self.error = error
        self.halt(error)
        for sink in tuple(self.sinks):
            sink.on_gone(error)


class Following:
    """A sink on a stream, until it is closed or the stream ends."""

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
        if self._open:
            self._sink.on_bytes(offset, data)

    def on_change(self, info: Info) -> None:
        if self._open:
            self._sink.on_change(info)

    def on_gone(self, error: LoomError) -> None:
        if self._open:
            self.close()
            self._sink.on_gone(error)

    def close(self) -> None:
        """Feed the sink no more. May be repeated."""
        if self._open:
            self._open = False
            self._stream.sinks.remove(self)
            self._on_close(self._stream)

"""One key: its bytes, its producer, its followers. Knows no other stream and no id.

Everything in a Stream is durable, except the bytes that its writer has accepted since the last commit.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from loom.errors import LoomError, StreamDamaged
from loom.model import Clock, Info, Patch
from loom.store.base import Content, Sink
from loom.store.common import Member, ProducerWriter, targets
from loom.store.memory.commit import Commits
from loom.store.places import Count, Dates, LinePlace, Moment, thinned

PIECE = 256 * 1024


class Follower(Member[Sink]):
    """A Following. The follower of a final stream is never notified."""

    def __init__(self, stream: "Stream", sink: Sink) -> None:
        super().__init__({} if stream.info.state.final else stream.followers, sink)
        self.info = stream.info


class Stream:
    """One key, as stored durably."""

    def __init__(self, info: Info, clock: Clock) -> None:
        self.info = info
        self.data = bytearray()
        self.ledger: dict[str, str] = {}
        self.places: list[LinePlace] = []
        self.moments = [Moment(info.created, 0)]
        self.writer: MemoryWriter | None = None
        self.followers: dict[Member[Sink], None] = {}
        self._clock = clock
        self._count = Count()
        self._dates = Dates(info.created)

    def flush(self) -> None:
        """Make durable what the writer has accepted, and show it in one piece."""
        if self.writer:
            self.add(self.writer.take())

    def add(self, data: bytes) -> None:
        """Make bytes durable and show them."""
        if data:
            offset = self.info.size
            self._index(offset, data)
            self.data += data
            self.info = replace(self.info, size=offset + len(data))
            for sink in targets(self.followers):
                sink.on_bytes(offset, data)

    def _index(self, offset: int, data: bytes) -> None:
        if moment := self._dates.arrived(self._clock(), offset):
            self.moments.append(moment)
        if self._dates.coarser():
            self.moments = thinned(self.moments, self._dates.grain)
        self._count, places = self._count.after([data])
        self.places += places

    def lose_writer(self, error: LoomError) -> None:
        """Take the stream from its writer. What the writer has accepted is kept."""
        if self.writer:
            self.writer.lose(error)
            self.flush()
            self.writer = None

    def turn(self, info: Info) -> None:
        """Replace the row; followers are notified of a new state."""
        before, self.info = self.info, info
        if info.state is not before.state:
            for sink in targets(self.followers):
                sink.on_change(info)
        if info.state.final:
            self.followers.clear()

    def end(self, error: LoomError) -> None:
        """Notify the followers that nothing follows."""
        for sink in targets(self.followers):
            sink.on_gone(error)
        self.followers.clear()


class MemoryWriter(ProducerWriter):
    """Holds the accepted bytes until a commit takes them."""

    def __init__(
        self,
        stream: Stream,
        commits: Commits,
        end: Callable[["MemoryWriter", Patch], Awaitable[Info]],
        *,
        replaced: bool = False,
    ) -> None:
        super().__init__(stream.info, replaced=replaced)
        self.stream = stream
        self.in_flight = 0
        self._commits = commits
        self._end_stream = end
        self._durable = stream.info.size
        self._pending: list[bytes] = []

    @property
    def accepted(self) -> int:
        return self._durable + self.in_flight

    @property
    def durable(self) -> int:
        return self._durable

    def _accept(self, data: bytes) -> None:
        self._pending.append(data)
        self.in_flight += len(data)
        self._commits.stored += len(data)
        self._commits.mark(self)

    def flush(self) -> None:
        """Make the accepted bytes durable. A commit calls this."""
        self.stream.flush()

    def take(self) -> bytes:
        """Return the bytes in flight, which are durable from now on."""
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self._durable += self.in_flight
        self.in_flight = 0
        return data

    async def wait_for_room(self) -> None:
        self.check()
        while self._commits.crowded(self):
            await self._commits.wait_commit()
            self.check()

    async def wait_durable(self, offset: int) -> int:
        while self._durable < offset:
            self.check()
            await self._commits.wait_commit()
        return self._durable

    async def _end(self, patch: Patch) -> Info:
        return await self._end_stream(self, patch)


class MemoryContent(Content):
    """Shares the bytes of its stream, and so keeps them after a delete."""

    def __init__(self, stream: Stream) -> None:
        self.key = stream.info.key
        self._data = stream.data

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if not 0 <= start <= stop <= len(self._data):
            raise StreamDamaged(f"There are no bytes [{start}, {stop}): the stream has {len(self._data)}.")
        for offset in range(start, stop, PIECE):
            yield bytes(self._data[offset : min(offset + PIECE, stop)])

    def close(self) -> None:
        self._data = bytearray()

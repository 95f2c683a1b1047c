"""One key: its bytes, its producer, its followers. Knows no other stream and no id.

Everything of a stream is durable but what its writer has accepted since the last commit.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from loom.errors import LoomError, StreamDamaged
from loom.model import Clock, Info, Patch, State
from loom.store.base import Content, Sink, Writer
from loom.store.memory.commit import Commits
from loom.store.places import Count, Dates, LinePlace, Moment, thinned

T = TypeVar("T")

PIECE = 256 * 1024


class Member(Generic[T]):
    """A subscription: `target` is told of things for as long as this is one of `members`."""

    def __init__(self, members: "dict[Member[T], None]", target: T) -> None:
        self._members = members
        self.target = target
        members[self] = None

    def close(self) -> None:
        """See Subscription."""
        self._members.pop(self, None)


def targets(members: dict[Member[T], None]) -> Iterator[T]:
    """Whom to tell; who leaves while others are told is left out."""
    for member in list(members):
        if member in members:
            yield member.target


class Follower(Member[Sink]):
    """See Following. Who follows a final stream is told nothing."""

    def __init__(self, stream: "Stream", sink: Sink) -> None:
        super().__init__({} if stream.info.state.final else stream.followers, sink)
        self.info = stream.info


class Stream:
    """One key as it durably is."""

    def __init__(self, info: Info, clock: Clock) -> None:
        self.info = info
        self.places: list[LinePlace] = []
        self.moments = [Moment(info.created, 0)]
        self._clock = clock
        self._count = Count()
        self._dates = Dates(info.created)
        self.data = bytearray()
        self.writer: MemoryWriter | None = None
        self.followers: dict[Member[Sink], None] = {}

    def drain(self) -> None:
        """What the writer has accepted becomes durable, and is shown in one piece."""
        if self.writer and (data := self.writer.take()):
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
        self._count, places = self._count.behind([data])
        self.places += places

    def lose_writer(self, error: LoomError) -> None:
        """Nothing more is accepted; what was accepted is kept."""
        if self.writer:
            self.writer.lose(error)
            self.drain()
            self.writer = None

    def turn(self, info: Info) -> None:
        """The stream is `info` now; its followers hear of another state."""
        before, self.info = self.info, info
        if info.state is not before.state:
            for sink in targets(self.followers):
                sink.on_change(info)
        if info.state.final:
            self.followers.clear()

    def gone(self, error: LoomError) -> None:
        """Nothing follows."""
        for sink in targets(self.followers):
            sink.on_gone(error)
        self.followers.clear()


class MemoryWriter(Writer):
    """Holds what was accepted until a commit takes it."""

    def __init__(
        self,
        stream: Stream,
        commits: Commits,
        end: Callable[["MemoryWriter", Patch], Awaitable[Info]],
        *,
        replaced: bool = False,
    ) -> None:
        self.info = stream.info
        self.replaced = replaced
        self.stream = stream
        self.in_flight = 0
        self.closed = False
        self._commits = commits
        self._end = end
        self._durable = stream.info.size
        self._pending: list[bytes] = []
        self._lost: LoomError | None = None
        self._callbacks: list[Callable[[LoomError], None]] = []

    @property
    def accepted(self) -> int:
        """See Writer."""
        return self._durable + self.in_flight

    @property
    def durable(self) -> int:
        """See Writer."""
        return self._durable

    def append(self, data: bytes) -> None:
        """See Writer."""
        self.check()
        if self.closed:
            raise RuntimeError("append after close")
        if data:
            self._pending.append(data)
            self.in_flight += len(data)
            self._commits.stored += len(data)
            self._commits.grow(self)

    def take(self) -> bytes:
        """All that is in flight, durable from now on."""
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self._durable += self.in_flight
        self.in_flight = 0
        return data

    async def wait_for_room(self) -> None:
        """See Writer."""
        self.check()
        while self._commits.crowded(self):
            await self._commits.made()
            self.check()

    async def wait_durable(self, offset: int) -> int:
        """See Writer."""
        while self._durable < offset:
            self.check()
            await self._commits.made()
        return self._durable

    async def close(self, patch: Patch) -> Info:
        """See Writer."""
        self.check()
        if self.closed:
            raise RuntimeError("close after close")
        if patch.state in (None, State.LIVE):
            raise ValueError(f"a writer cannot leave its stream {patch.state}")
        self.closed = True
        return await self._end(self, patch)

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """See Writer."""
        if self._lost:
            callback(self._lost)
        else:
            self._callbacks.append(callback)

    def lose(self, error: LoomError) -> None:
        """From here on nothing is accepted. The first reason stays."""
        if not self._lost:
            self._lost = error
            for callback in self._callbacks:
                callback(error)

    def check(self) -> None:
        """Raises what this writer was lost to."""
        if self._lost:
            raise self._lost.with_traceback(None)


class MemoryContent(Content):
    """Shares the bytes of its stream, which so outlive it."""

    def __init__(self, stream: Stream) -> None:
        self.key = stream.info.key
        self._data = stream.data

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """See Content."""
        if not 0 <= start <= stop <= len(self._data):
            raise StreamDamaged(f"There are no bytes [{start}, {stop}): the stream has {len(self._data)}.")
        for offset in range(start, stop, PIECE):
            yield bytes(self._data[offset : min(offset + PIECE, stop)])

    def close(self) -> None:
        """See Content."""
        self._data = bytearray()

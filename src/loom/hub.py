"""Tails: the recent durable bytes of each followed stream, shared by all who follow it.

Owns the only buffer of shown bytes and the wake-up of followers. Fed by `Store.follow` alone; knows no
concrete store, no HTTP, and nothing of who follows or why. Nothing is queued for a follower: it holds an
offset and takes what it finds there, so one that stands still costs nothing but its place.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from loom.errors import LoomError
from loom.model import Info
from loom.store.base import Following, Store

BUDGET = 64 << 20
TAIL_LIMIT = 1 << 20
CHUNK = 256 << 10
"""No chunk is longer; what comes longer is cut once, for everyone."""
JOINED = 64 << 10
"""Smaller chunks are joined up to this for a follower that lags among them."""
CHUNK_COST = 64
"""What a chunk of no bytes costs in memory; counted, so that a ring of single bytes is bounded too."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """`held` is what all rings hold, in bytes, within `budget`."""

    tails: int
    followers: int
    held: int
    budget: int


class Tail:
    """The end of one stream: bytes [start, end) are at hand, `end` is the durable size.

    Valid between `Hub.attach` and `Hub.detach`. It is the `Sink` of its subscription.
    """

    def __init__(self, key: str, hub: "Hub") -> None:
        self.key = key
        self.start = -1
        self.end = -1
        self.error: LoomError | None = None
        """Why nothing follows although the stream has not ended."""
        self.held = 0
        self.listeners: set[Callable[[Tail], None]] = set()
        """Called at every growth, turn and end; for those who follow many tails at once."""
        self._hub = hub
        self._info: Info | None = None
        self._chunks: deque[bytes] = deque()
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def info(self) -> Info:
        """The stream as it was at its latest turn; its `size` may be behind `end`."""
        assert self._info is not None, "not attached"
        return self._info

    @property
    def ended(self) -> bool:
        """Nothing follows: the state is final, or `error` is set."""
        return self.error is not None or (self._info is not None and self._info.state.final)

    def take(self, offset: int, limit: int = JOINED) -> bytes | None:
        """Bytes from `offset` on, which must be below `end`; None if they are older than the ring.

        Where a chunk begins at `offset` this is that very object, unless the next ones fit into `limit` too.
        """
        last = self._chunks[-1] if self._chunks else b""
        if offset == self.end - len(last):
            return last or None
        if offset < self.start:
            return None
        found = []
        begin = self.end
        for chunk in reversed(self._chunks):
            found.append(chunk)
            begin -= len(chunk)
            if begin <= offset:
                break
        first = found.pop()[offset - begin :]
        room = limit - len(first)
        pieces = [first]
        while found and len(found[-1]) <= room:
            room -= len(found[-1])
            pieces.append(found.pop())
        return b"".join(pieces)

    async def grown(self, offset: int) -> None:
        """Wait until there are bytes at `offset` or nothing follows."""
        while self.end <= offset and not self.ended:
            waiter = self._hub.loop.create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    def begin(self, info: Info) -> None:
        """The subscription stands. It may have been fed already."""
        if self._info is None:
            self._info = info
        if self.end < 0:
            self.start = self.end = info.size

    def grow(self, offset: int, data: bytes) -> None:
        if self.end < 0:
            self.start = self.end = offset
        assert offset == self.end, "the store fed a gap or a repeat"
        for at in range(0, len(data), CHUNK):
            chunk = data[at : at + CHUNK]
            self._chunks.append(chunk)
            self.held += len(chunk) + CHUNK_COST
        self.end += len(data)
        self._hub.grew(self)
        self._wake()

    def turn(self, info: Info) -> None:
        self._info = info
        self._wake()

    def gone(self, error: LoomError) -> None:
        if not self.ended:
            self.error = error
        self._wake()

    def evict(self) -> int:
        """Let the oldest chunk go; returns what that frees."""
        chunk = self._chunks.popleft()
        self.start += len(chunk)
        freed = len(chunk) + CHUNK_COST
        self.held -= freed
        return freed

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for listener in tuple(self.listeners):
            listener(self)


class _Entry:
    """A tail, who holds it, and its subscription, which is shared from the moment it is asked for."""

    def __init__(self, tail: Tail, following: asyncio.Task[Following]) -> None:
        self.tail = tail
        self.following = following
        self.users = 0

    def close(self) -> None:
        if self.following.done():
            _unsubscribe(self.following)
        else:
            self.following.add_done_callback(_unsubscribe)
            self.following.cancel()


def _unsubscribe(following: asyncio.Task[Following]) -> None:
    if not following.cancelled() and following.exception() is None:
        following.result().close()


class Hub:
    """The tails of all followed streams, one for each key, within one budget of bytes."""

    def __init__(self, store: Store, budget: int = BUDGET, *, tail_limit: int = TAIL_LIMIT) -> None:
        self.closed: LoomError | None = None
        self.on_close: set[Callable[[], None]] = set()
        self._store = store
        self._budget = budget
        self._tail_limit = tail_limit
        self._held = 0
        self._entries: dict[str, _Entry] = {}
        self._grown: OrderedDict[Tail, None] = OrderedDict()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def attach(self, key: str) -> Tail:
        """Join the tail of a stream; every success needs one `detach`.

        Raises StreamNotFound, or what made the tail end before its time (StreamGone, StoreStopped).
        """
        if self.closed is not None:
            raise self.closed
        entry = self._entries.get(key)
        if entry is None:
            tail = Tail(key, self)
            entry = self._entries[key] = _Entry(tail, asyncio.create_task(self._follow(tail)))
        entry.users += 1
        try:
            if not entry.following.done():
                await asyncio.shield(entry.following)
            else:
                entry.following.result()
            if entry.tail.error is not None:
                raise entry.tail.error
        except BaseException:
            self.detach(entry.tail)
            raise
        return entry.tail

    def detach(self, tail: Tail) -> None:
        """Leave a tail; the last to go ends its subscription and frees its bytes."""
        entry = self._entries[tail.key]
        entry.users -= 1
        if not entry.users:
            del self._entries[tail.key]
            entry.close()
            self._grown.pop(tail, None)
            self._held -= tail.held

    def close(self, error: LoomError) -> None:
        """End every tail with `error`; whoever attaches from now on gets it too."""
        self.closed = error
        for entry in tuple(self._entries.values()):
            entry.tail.gone(error)
        for callback in tuple(self.on_close):
            callback()

    def statistics(self) -> HubStatistics:
        """How full it is."""
        followers = sum(entry.users for entry in self._entries.values())
        return HubStatistics(len(self._entries), followers, self._held, self._budget)

    def grew(self, tail: Tail) -> None:
        """Keep within the limits: the tail's own first, then all tails', the longest quiet ones paying first."""

    async def _follow(self, tail: Tail) -> Following:
        following = await self._store.follow(tail.key, tail)
        tail.begin(following.info)
        return following

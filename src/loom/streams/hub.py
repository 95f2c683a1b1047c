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
"""No chunk is longer; what comes longer is cut up once, for everyone."""
JOINED = 64 << 10
"""Smaller chunks are joined up to this for a follower that lags among them."""
CHUNK_COST = 64
"""What a chunk costs in memory beside its bytes: counted, so that a ring of single bytes is bounded too."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """`held` is what all rings hold, in bytes; at most `budget`."""

    tails: int
    followers: int
    held: int
    budget: int


class Tail:
    """The end of one stream: bytes [start, end) are at hand, `end` is the durable size.

    Valid from `Hub.attach` to `Hub.detach`. It is the sink of its subscription; only the store feeds it.
    """

    def __init__(self, key: str, hub: "Hub") -> None:
        self.key = key
        self.start = -1
        self.end = -1
        self.error: LoomError | None = None
        """Set once nothing follows because the stream is gone or the store stopped."""
        self.listeners: set[Callable[[Tail], None]] = set()
        """Called at every growth, turn and end: for those who follow many tails at once."""
        self.held = 0
        self.users = 0
        self.following: asyncio.Task[Following]
        self._hub = hub
        self._info: Info | None = None
        self._chunks: deque[bytes] = deque()
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def info(self) -> Info:
        """The stream as it was at its latest turn; its `size` may be behind `end`."""
        assert self._info is not None, "not attached yet"
        return self._info

    @property
    def ended(self) -> bool:
        """Nothing follows: the state is final, or `error` is set."""
        return self.error is not None or (self._info is not None and self._info.state.final)

    def take(self, offset: int, limit: int = JOINED) -> bytes | None:
        """Bytes from `offset` on, which must be below `end`; None if the ring does not go back that far.

        Where a chunk begins at `offset` this is that very object, unless the next ones fit into `limit` too.
        """
        if offset < self.start or not self._chunks:
            return None
        newest = self._chunks[-1]
        if offset == self.end - len(newest):
            return newest
        later = []
        begin = self.end
        for chunk in reversed(self._chunks):
            later.append(chunk)
            begin -= len(chunk)
            if begin <= offset:
                break
        taken = [later.pop()[offset - begin :]]
        room = limit - len(taken[0])
        while later and len(later[-1]) <= room:
            room -= len(later[-1])
            taken.append(later.pop())
        return b"".join(taken)

    async def grown(self, offset: int) -> None:
        """Wait until there are bytes at `offset` or nothing follows."""
        while self.end <= offset and not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    def begin(self, info: Info) -> None:
        """The subscription stands; it may have been fed before we hear of that."""
        if self._info is None:
            self._info = info
        if self.end < 0:
            self.start = self.end = info.size

    def on_bytes(self, offset: int, data: bytes) -> None:
        if not self.users or self.error is not None:
            return
        if self.end < 0:
            self.start = self.end = offset
        assert offset == self.end, "the store fed a gap or a repeat"
        before = self.held
        for at in range(0, len(data), CHUNK):
            self._chunks.append(data[at : at + CHUNK])
            self.held += len(self._chunks[-1]) + CHUNK_COST
        self.end += len(data)
        self._hub.grew(self, self.held - before)
        self._tell()

    def on_change(self, info: Info) -> None:
        self._info = info
        self._tell()

    def on_gone(self, error: LoomError) -> None:
        self.error = self.error or error
        self._tell()

    def evict(self) -> int:
        """Let the oldest chunk go; returns what that frees."""
        chunk = self._chunks.popleft()
        self.start += len(chunk)
        freed = len(chunk) + CHUNK_COST
        self.held -= freed
        return freed

    def close(self) -> None:
        """End the subscription, also one that is still on its way, and free what is held."""
        self._chunks.clear()
        self.start = self.end
        if self.following.done():
            _unsubscribe(self.following)
        else:
            self.following.add_done_callback(_unsubscribe)
            self.following.cancel()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for listener in tuple(self.listeners):
            listener(self)


class Hub:
    """The tails of all followed streams, one for each key, within one budget of bytes."""

    def __init__(self, store: Store, budget: int = BUDGET, *, tail_limit: int = TAIL_LIMIT) -> None:
        self.closed: LoomError | None = None
        self.listeners: set[Callable[[], None]] = set()
        """Called once, when the hub closes."""
        self._store = store
        self._budget = budget
        self._tail_limit = tail_limit
        self._held = 0
        self._tails: dict[str, Tail] = {}
        self._grown: OrderedDict[Tail, None] = OrderedDict()  # those that hold bytes, the longest quiet first

    async def attach(self, key: str) -> Tail:
        """Join the tail of a stream; each success needs one `detach`.

        Raises StreamNotFound, or what has ended the tail before its time: StreamGone, StoreStopped.
        """
        if self.closed is not None:
            raise self.closed.with_traceback(None)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail(key, self)
            tail.following = asyncio.create_task(self._follow(tail))
        tail.users += 1
        try:
            # Shared and shielded: whoever asked first may leave while others wait for the same subscription.
            await asyncio.shield(tail.following)
            if tail.error is not None:
                raise tail.error.with_traceback(None)
        except BaseException:
            self.detach(tail)
            raise
        return tail

    def detach(self, tail: Tail) -> None:
        """Leave a tail; the last to go ends its subscription and frees its bytes."""
        tail.users -= 1
        if not tail.users:
            del self._tails[tail.key]
            self._grown.pop(tail, None)
            self._held -= tail.held
            tail.close()

    def close(self, error: LoomError) -> None:
        """End every tail with `error`, which also meets whoever attaches from now on. May be repeated."""
        self.closed = self.closed or error
        for tail in tuple(self._tails.values()):
            tail.on_gone(error)
        for listener in tuple(self.listeners):
            listener()

    def statistics(self) -> HubStatistics:
        """How full it is."""
        users = sum(tail.users for tail in self._tails.values())
        return HubStatistics(len(self._tails), users, self._held, self._budget)

    def grew(self, tail: Tail, size: int) -> None:
        """Keep the limits: first the tail's own, then that of all, for which the longest quiet pay first."""
        self._held += size
        self._grown[tail] = None
        self._grown.move_to_end(tail)
        while tail.held > self._tail_limit:
            self._held -= tail.evict()
        while self._held > self._budget:
            quietest = next(iter(self._grown))
            self._held -= quietest.evict()
            if not quietest.held:
                del self._grown[quietest]

    async def _follow(self, tail: Tail) -> Following:
        following = await self._store.follow(tail.key, tail)
        tail.begin(following.info)
        return following


def _unsubscribe(following: asyncio.Task[Following]) -> None:
    if not following.cancelled() and following.exception() is None:
        following.result().close()

"""Tails: the newest durable bytes of each followed stream, shared by all its followers.

Owns the only buffer of visible bytes and the wake-up of followers. `Store.follow` alone feeds it. Knows no
concrete store, no HTTP, and no follower. Nothing is queued for a follower: it holds an offset, alone or with
others of the `crowd`, and takes bytes from there. A stuck follower costs no memory.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from loom.errors import LoomError
from loom.model import Info
from loom.store.base import Following, Store
from loom.streams.crowd import AT_ONCE, Crowd, Turns

BUDGET = 64 << 20
TAIL_LIMIT = 1 << 20
CHUNK = 256 << 10
"""The longest chunk. Longer data is split once, for all followers."""
JOINED = 64 << 10
"""A follower that lags takes smaller chunks joined, up to this size."""
CHUNK_COST = 64
"""Memory that a chunk needs besides its bytes. It is counted, so a ring of single bytes is bounded too."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """`held` is the memory of all rings in bytes; at most `budget`."""

    tails: int
    followers: int
    held: int
    budget: int


class Tail:
    """The end of one stream. The ring holds bytes [start, end); `end` is the durable size.

    Valid from `Hub.attach` to `Hub.detach`. It is the sink of its subscription; only the store feeds it.
    """

    def __init__(self, key: str, hub: "Hub") -> None:
        self.key = key
        self.start = -1
        self.end = -1
        self.error: LoomError | None = None
        """Set once nothing follows because the stream is gone or the store stopped."""
        self.listeners: set[Callable[[Tail], None]] = set()
        """Called after new bytes, a change of state and the end, for consumers of many tails at once."""
        self.crowd = Crowd(self, hub.turns)
        """The followers that have caught up, where the server can write to many at once."""
        self.held = 0
        self.users = 0
        self.following: asyncio.Task[Following]
        self._hub = hub
        self._info: Info | None = None
        self._chunks: deque[bytes] = deque()
        self._waiters: dict[asyncio.Future[None], None] = {}

    @property
    def info(self) -> Info:
        """The stream as it was at its latest change of state. Its `size` may be less than `end`."""
        assert self._info is not None, "not attached yet"
        return self._info

    @property
    def ended(self) -> bool:
        """Nothing follows: the state is final, or `error` is set."""
        return self.error is not None or (self._info is not None and self._info.state.final)

    def take(self, offset: int, limit: int = JOINED) -> bytes | None:
        """Return bytes from `offset` on, which must be less than `end`; None if they have left the ring.

        The result is one chunk or its rest, joined with the next chunks while all of it fits into `limit`. A
        whole chunk is returned as the object that the store passed, not as a copy.
        """
        if offset < self.start or not self._chunks:
            return None
        # The usual case: the follower is up to date and takes the newest chunk.
        newest = self._chunks[-1]
        if offset == self.end - len(newest):
            return newest
        # Look for the chunk backwards: followers are mostly near the end.
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

    async def wait_for_bytes(self, offset: int) -> None:
        """Wait until there are bytes at `offset` or nothing follows."""
        while self.end <= offset and not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    def begin(self, info: Info) -> None:
        """Set where the ring starts, unless the store fed this sink before it returned the subscription."""
        if self._info is None:
            self._info = info
        if self.end < 0:
            self.start = self.end = info.size

    def on_bytes(self, offset: int, data: bytes) -> None:
        # An abandoned or ended tail must not grow: nobody would free its memory.
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
        # Keep the limits before notifying: a listener runs at once and may take bytes.
        self._hub.account(self, self.held - before)
        self._notify()

    def on_change(self, info: Info) -> None:
        self._info = info
        self._notify()

    def on_gone(self, error: LoomError) -> None:
        self.error = self.error or error
        self._notify()

    def evict(self) -> int:
        """Drop the oldest chunk; return the memory freed. A follower that is not past it lags from now on."""
        chunk = self._chunks.popleft()
        self.start += len(chunk)
        freed = len(chunk) + CHUNK_COST
        self.held -= freed
        return freed

    def close(self) -> None:
        """End the subscription, even one that is still being made, and free the ring."""
        self._chunks.clear()
        self.start = self.end
        if self.following.done():
            _unsubscribe(self.following)
        else:
            # Cancelling may come too late: if the subscription is made all the same, it is closed.
            self.following.add_done_callback(_unsubscribe)
            self.following.cancel()

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.crowd.on_change()
        for listener in tuple(self.listeners):
            listener(self)


class Hub:
    """The tails of all followed streams, one per key, within one budget of memory."""

    def __init__(
        self, store: Store, budget: int = BUDGET, *, tail_limit: int = TAIL_LIMIT, at_once: int = AT_ONCE
    ) -> None:
        self.closed: LoomError | None = None
        self.listeners: set[Callable[[], None]] = set()
        """Called once, when the hub closes."""
        self.turns = Turns(at_once)
        self._store = store
        self._budget = budget
        self._tail_limit = tail_limit
        self._held = 0
        self._tails: dict[str, Tail] = {}
        self._grown: OrderedDict[Tail, None] = OrderedDict()  # tails that hold bytes, longest quiet first

    async def attach(self, key: str) -> Tail:
        """Attach to the tail of a stream; each success needs one `detach`.

        Raises StreamNotFound, or the error that ended the tail early: StreamGone, StoreStopped.
        """
        if self.closed is not None:
            raise self.closed.with_traceback(None)
        # The first follower subscribes. Those that arrive before the subscription stands await the same task.
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail(key, self)
            tail.following = asyncio.create_task(self._follow(tail))
        # Count before waiting, so that the tail is kept, and takes bytes, while this follower waits.
        tail.users += 1
        try:
            # Shielded: the follower that subscribed may disconnect while others wait for its task.
            await asyncio.shield(tail.following)
            if tail.error is not None:
                raise tail.error.with_traceback(None)
        except BaseException:
            self.detach(tail)
            raise
        return tail

    def detach(self, tail: Tail) -> None:
        """Detach from a tail. The last follower ends its subscription and frees its bytes."""
        tail.users -= 1
        if not tail.users:
            del self._tails[tail.key]
            self._grown.pop(tail, None)
            self._held -= tail.held
            tail.close()

    def close(self, error: LoomError) -> None:
        """End every tail with `error`, and refuse to attach with it from now on. May be repeated."""
        self.closed = self.closed or error
        for tail in tuple(self._tails.values()):
            tail.on_gone(error)
        for listener in tuple(self.listeners):
            listener()

    def statistics(self) -> HubStatistics:
        """Return how full the hub is."""
        users = sum(tail.users for tail in self._tails.values())
        return HubStatistics(len(self._tails), users, self._held, self._budget)

    def account(self, tail: Tail, size: int) -> None:
        """Add `size` to the memory of a tail that grew, then evict chunks until the limits hold again."""
        self._held += size
        self._grown[tail] = None
        self._grown.move_to_end(tail)
        while tail.held > self._tail_limit:
            self._held -= tail.evict()
        # For the budget of all, the tails that have been quiet longest pay first.
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

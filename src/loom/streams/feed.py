"""The feed of changes: which streams were created, closed and deleted, for consumers that reconnect.

Owns a ring of the newest changes, bounded in bytes, and their ids. Nothing is queued for a consumer: it holds
a position and takes changes from the ring. A consumer whose position has left the ring is notified of that.
Knows the store by its contract.
"""

import asyncio
import secrets
from collections import deque

from loom.errors import LoomError
from loom.model import Change, Info
from loom.store.base import Store, Subscription

BUDGET = 16 << 20
COST = 1 << 10
"""Memory that a change needs besides its texts, in bytes."""
BATCH = 100
"""The most changes that a consumer takes at once."""


class Feed:
    """The newest changes since the first consumer joined, up to `budget` bytes of them.

    Changes are numbered from 1. The id of a change is `<epoch>:<number>`. The epoch belongs to this process,
    so an id that another process gave out is recognized as unknown.
    """

    def __init__(self, store: Store, budget: int = BUDGET) -> None:
        self._store = store
        self._budget = budget
        self._epoch = secrets.token_hex(6)
        self.latest = 0
        """The number of the newest change."""
        self._held = 0
        self._changes: deque[Change] = deque()
        self._next = asyncio.Event()  # set by the next change, which then puts a new event here
        self._watching: Subscription | None = None
        self._error: LoomError | None = None

    def join(self, last: str = "") -> "Position":
        """Return the position after the change with the id `last`, by default after the newest.

        Raises StoreStopped.
        """
        self.check()
        if self._watching is None:
            self._watching = self._store.watch(self._on_change)
        return Position(self, self._number(last) if last else self.latest)

    def close(self, error: LoomError) -> None:
        """End the feed: `error` is raised for every consumer. May be repeated."""
        self._error = self._error or error
        if self._watching is not None:
            self._watching.close()
        self._next.set()

    def check(self) -> None:
        """Raise the error that closed the feed."""
        if self._error is not None:
            raise self._error.with_traceback(None)

    def id(self, number: int) -> str:
        """Return the id of a change."""
        return f"{self._epoch}:{number}"

    def _number(self, id: str) -> int | None:
        epoch, _, number = id.partition(":")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 18):
            return None
        return int(number) if int(number) <= self.latest else None

    def after(self, number: int | None) -> list[tuple[int, Change]] | None:
        """Return the next changes with their numbers, or None if some have left the ring."""
        first = self.latest - len(self._changes) + 1
        if number is None or number + 1 < first:
            return None
        numbers = range(number + 1, min(self.latest, number + BATCH) + 1)
        return [(each, self._changes[each - first]) for each in numbers]

    async def wait_for_change(self) -> None:
        """Wait until the next change happens or the feed is closed."""
        await self._next.wait()

    def _on_change(self, change: Change) -> None:
        self.latest += 1
        self._changes.append(change)
        self._held += _cost(change.info)
        while self._held > self._budget:
            self._held -= _cost(self._changes.popleft().info)
        # Consumers that wait hold the old event. Those that come later wait for the next change.
        happened, self._next = self._next, asyncio.Event()
        happened.set()


class Position:
    """The position of one consumer: the `number` of the last change it took, None if that is unknown.

    A consumer may stop at any time and resume from `id` with another Position. It misses nothing as long as
    the ring still holds the change after it.
    """

    def __init__(self, feed: Feed, number: int | None) -> None:
        self._feed = feed
        self.number = number

    @property
    def id(self) -> str | None:
        """The id to resume from, None if unknown."""
        return None if self.number is None else self._feed.id(self.number)

    async def next(self) -> list[tuple[str, Change]] | None:
        """Wait for changes and return some with their ids.

        Returns None if the position is unknown or has left the ring. It is then moved to the newest change,
        from which the next call continues. Raises StoreStopped.
        """
        while True:
            # Nothing is awaited between looking for changes and waiting, so no change is missed.
            self._feed.check()
            found = self._feed.after(self.number)
            if found is None:
                self.number = self._feed.latest
                return None
            if found:
                self.number = found[-1][0]
                return [(self._feed.id(number), change) for number, change in found]
            await self._feed.wait_for_change()


def _cost(info: Info) -> int:
    return COST + len(info.id) + len(info.metadata) + len(info.reason) + len(info.content_type)

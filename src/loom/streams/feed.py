"""The feed of changes: which streams were created, closed and deleted, for consumers that reconnect.

Owns a ring of the newest changes, bounded in bytes, and their ids. Nothing is queued for a consumer: it holds
a position and takes changes from the ring. A consumer whose position has left the ring is notified.
Knows the store by its contract.
"""

import asyncio
import secrets
from collections import deque

from loom.errors import LoomError
from loom.model import Change, Info
from loom.store.base import Store, Subscription
from loom.wire.rows import encode_row
from loom.wire.sse import encode

BUDGET = 16 << 20
COST = 2 << 10
"""Memory that a change and its event need besides the texts in them, in bytes."""
BATCH = 100
"""The most changes that a consumer takes at once."""


class Entry:
    """A change in the feed, and its id."""

    __slots__ = ("_encoded", "change", "id")

    def __init__(self, id: str, change: Change) -> None:
        self.id = id
        self.change = change
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The change as an event: encoded once, when the first consumer takes it, for all of them."""
        if self._encoded is None:
            self._encoded = encode(encode_row(self.change.info), name=self.change.kind, id=self.id)
        return self._encoded


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
        self._entries: deque[Entry] = deque()
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

    def after(self, number: int | None) -> list[Entry] | None:
        """Return the next changes, or None if some have left the ring."""
        first = self.latest - len(self._entries) + 1
        if number is None or number + 1 < first:
            return None
        begin = number + 1 - first
        return [self._entries[at] for at in range(begin, min(begin + BATCH, len(self._entries)))]

    async def wait_for_change(self) -> None:
        """Wait until the next change happens or the feed is closed."""
        await self._next.wait()

    def _on_change(self, change: Change) -> None:
        self.latest += 1
        self._entries.append(Entry(self.id(self.latest), change))
        self._held += _cost(change.info)
        while self._held > self._budget:
            self._held -= _cost(self._entries.popleft().change.info)
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

    async def next(self) -> list[Entry] | None:
        """Wait for changes and return some.

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
                assert self.number is not None
                self.number += len(found)
                return found
            await self._feed.wait_for_change()


def _cost(info: Info) -> int:
    # Once for the row, once for its event.
    return COST + 2 * (len(info.id) + len(info.metadata) + len(info.reason) + len(info.content_type))

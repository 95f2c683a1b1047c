"""The feed: what happened to streams as a whole, for consumers who come and go and must miss nothing.

Owns a ring of the newest changes, bounded in bytes, and their ids, `<epoch>:<number>`: numbers count from 1,
the epoch is of this process, so that an id of another is not mistaken. Nothing is queued for a consumer: it
holds a number, and one that falls behind the ring is told so. Knows the store by its contract.
"""

import asyncio
import secrets
from collections import deque

from loom.errors import LoomError
from loom.model import Change, Info
from loom.store.base import Store, Subscription

BUDGET = 16 << 20
COST = 1 << 10
"""What a change costs in memory beside its texts."""
BATCH = 100


class Feed:
    """The newest changes since the first consumer came, as many as cost `budget` bytes together."""

    def __init__(self, store: Store, budget: int = BUDGET) -> None:
        self._store = store
        self._budget = budget
        self._epoch = secrets.token_hex(6)
        self._latest = 0
        self._held = 0
        self._changes: deque[Change] = deque()
        self._news = asyncio.Event()  # each change has its own
        self._watching: Subscription | None = None
        self._error: LoomError | None = None

    def join(self, last: str = "") -> "Place":
        """A place behind the change with the id `last`; without one at the present. Raises StoreStopped."""
        self.check()
        if self._watching is None:
            self._watching = self._store.watch(self._changed)
        return Place(self, self._number(last) if last else self._latest)

    def close(self, error: LoomError) -> None:
        """Nothing comes any more, and who waits is told `error`. May be repeated."""
        self._error = self._error or error
        if self._watching is not None:
            self._watching.close()
        self._news.set()

    def check(self) -> None:
        """Raise what has closed the feed."""
        if self._error is not None:
            raise self._error.with_traceback(None)

    def id(self, number: int) -> str:
        """The id of a change."""
        return f"{self._epoch}:{number}"

    def _number(self, id: str) -> int | None:
        epoch, _, number = id.partition(":")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 18):
            return None
        return int(number) if int(number) <= self._latest else None

    def behind(self, number: int | None) -> list[tuple[int, Change]] | None:
        """The next changes and their numbers, none if there are none yet; None if some are forgotten."""
        first = self._latest - len(self._changes) + 1
        if number is None or number + 1 < first:
            return None
        numbers = range(number + 1, min(self._latest, number + BATCH) + 1)
        return [(each, self._changes[each - first]) for each in numbers]

    @property
    def latest(self) -> int:
        """The number of the newest change."""
        return self._latest

    async def news(self) -> None:
        """Wait for the next change, or the end."""
        await self._news.wait()

    def _changed(self, change: Change) -> None:
        self._latest += 1
        self._changes.append(change)
        self._held += _cost(change.info)
        while self._held > self._budget:
            self._held -= _cost(self._changes.popleft().info)
        news, self._news = self._news, asyncio.Event()
        news.set()


class Place:
    """Where one consumer is. `number` is of the change it has seen last, None where that is not known."""

    def __init__(self, feed: Feed, number: int | None) -> None:
        self._feed = feed
        self.number = number

    @property
    def id(self) -> str | None:
        """From which to go on at another time, None where that is not known."""
        return None if self.number is None else self._feed.id(self.number)

    async def next(self) -> list[tuple[str, Change]] | None:
        """Some changes and their ids, as soon as there are any; or None, once: this place is not known or not
        any more, and what comes follows on the present. Raises StoreStopped."""
        while True:
            self._feed.check()
            found = self._feed.behind(self.number)
            if found is None:
                self.number = self._feed.latest
                return None
            if found:
                self.number = found[-1][0]
                return [(self._feed.id(number), change) for number, change in found]
            await self._feed.news()


def _cost(info: Info) -> int:
    return COST + len(info.id) + len(info.metadata) + len(info.reason) + len(info.content_type)

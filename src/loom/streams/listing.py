"""The use cases over all streams that match a query: find, count, delete.

Knows the store by its contract.
"""

import asyncio
from collections.abc import Callable, Iterable

from loom.errors import StreamNotFound
from loom.ids import number_of
from loom.model import COUNTED, Folder, Info, Query
from loom.store.base import Store

BATCH = 500
"""Streams deleted concurrently, so that few commits make all of them durable."""


class Listing:
    """The streams of one store. `check` raises once the service is stopping.

    Every method raises StoreStopped, Busy.
    """

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    async def find(self, query: Query, limit: int) -> tuple[list[Info], int | None]:
        """Return up to `limit` streams, newest first, and the `below` of the next page if there is one."""
        self._check()
        found: list[Info] = []
        async for info in self._store.find(query):
            if len(found) == limit:
                return found, number_of(found[-1].key)
            found.append(info)
        return found, None

    async def total(self, query: Query, visible: Callable[[str], bool]) -> int:
        """Return how many streams match and have a visible id, at most COUNTED."""
        self._check()
        total = 0
        async for info in self._store.find(query):
            total += visible(info.id)
            if total == COUNTED:
                break
        return total

    async def folders(self, prefix: str) -> tuple[int, list[Folder]]:
        """Return how many streams are under a prefix, and their folders; see Store.folders."""
        self._check()
        return await self._store.folders(prefix)

    async def count(self, query: Query) -> tuple[int, int]:
        """Return how many streams match, and a `below` that excludes every stream created later."""
        self._check()
        count = below = 0
        async for info in self._store.find(query):
            below = below or number_of(info.key) + 1
            count += 1
        return count, below

    async def delete(self, query: Query) -> int:
        """Delete the matching streams and return how many, once all deletions are durable.

        `query.below` must exclude streams that are created meanwhile.
        """
        deleted = 0
        # A listing may miss streams that change during it, so list until nothing is found.
        while True:
            found = 0
            batch: list[str] = []
            async for info in self._store.find(query):
                found += 1
                batch.append(info.key)
                if len(batch) == BATCH:
                    deleted += await self._delete(batch)
                    batch.clear()
            deleted += await self._delete(batch)
            if not found:
                return deleted

    async def _delete(self, keys: Iterable[str]) -> int:
        self._check()
        outcomes = await asyncio.gather(*map(self._store.delete, keys), return_exceptions=True)
        for error in outcomes:
            if error is not None and not isinstance(error, StreamNotFound):
                raise error
        return outcomes.count(None)

"""How long shared streams live: until nobody has used them for their `ttl`, or until they expire.

A use is noted in memory only, so that a read writes nothing. The sweeper stores the later deadline, or
deletes the stream. Notes are lost with the process; every stream then lives for at least its `ttl` again.
"""

import math
from contextlib import suppress

from loom.errors import StreamNotFound
from loom.model import Clock, Info, Patch
from loom.store import rules
from loom.store.base import Store

KEPT = 1000
"""Streams whose uses are kept, at least, before those that do not matter are dropped."""


class Lifetimes:
    """When shared streams were used, as far as the store does not know it yet."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._begun = clock()
        self._until: dict[str, float] = {}
        self._most = KEPT

    def use(self, info: Info) -> None:
        """Note that a stream is read or written now."""
        if rules.slides(info):
            now = self._clock()
            self._until[info.key] = now + (info.ttl or 0)
            if len(self._until) > self._most:
                # Times that have passed, such as those of deleted streams, matter no more.
                self._until = {key: until for key, until in self._until.items() if until > now}
                self._most = max(KEPT, 2 * len(self._until))

    def _end(self, info: Info) -> float:
        """Return the time at which the stream is deleted, infinity for one that has none."""
        end = rules.expires_at(info) if info.framing else math.inf
        if rules.slides(info):
            until = self._until.get(info.key, self._begun + (info.ttl or 0))
            end = min(end, max(rules.due_at(info), until))
        return end

    async def info(self, id: str) -> Info:
        """Return the stream of an id. One whose life is over is deleted first. Raises StreamNotFound."""
        info = await self._store.info(id)
        if self._clock() >= self._end(info):
            with suppress(StreamNotFound):
                await self._store.delete(info.key)
            raise StreamNotFound(id)
        return info

    async def settle(self, info: Info) -> None:
        """Delete a stream whose deadline has passed, or store its later deadline.

        Raises Conflict, StreamNotFound, StoreStopped.
        """
        end = self._end(info)
        if self._clock() >= end:
            await self._store.delete(info.key)
            return
        await self._store.change(info.key, Patch(deadline=end), version=info.version)

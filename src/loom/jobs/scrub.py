"""Check the integrity of stored streams: read each again from time to time, slowly, and compare its digest.

Owns which streams are known to be damaged. That is not stored: after a restart the next round finds them
again. Knows the store by its contract; nothing of HTTP.
"""

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import structlog

from loom.errors import Busy, StreamDamaged, StreamGone, StreamNotFound
from loom.jobs.digests import hash_range, text_of
from loom.model import Change, ChangeKind, Info, Query, State
from loom.store.base import Store

SLICE = 1 << 20
"""Bytes read at once, followed by a pause that keeps to the rate."""
SETTLING = 60.0
"""The longest delay of the first round in seconds. A start has more urgent reads to do."""
NICEST = 19

logger = structlog.get_logger("loom")


class Scrub:
    """Checks all complete streams every `interval` seconds, at no more than `rate` bytes a second."""

    def __init__(self, store: Store, *, interval: float, rate: int) -> None:
        self._store = store
        self._interval = interval
        self._rate = rate
        self._damaged: dict[str, str] = {}
        # On Linux each thread has its own niceness.
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="loom-scrub", initializer=os.nice, initargs=(NICEST,)
        )

    @property
    def damaged(self) -> int:
        """The number of streams known to be damaged."""
        return len(self._damaged)

    def check(self, info: Info) -> None:
        """Raise StreamDamaged if the stream is known to be damaged."""
        if fault := self._damaged.get(info.key):
            raise StreamDamaged(fault)

    async def run(self) -> None:
        """Check round after round, until cancelled."""
        watching = self._store.watch(self._on_change)
        try:
            await asyncio.sleep(min(SETTLING, self._interval))
            while True:
                await self.round()
                await asyncio.sleep(self._interval)
        finally:
            watching.close()
            self._thread.shutdown(wait=False)

    async def round(self) -> None:
        """Check every complete stream that has a digest. Raises StoreStopped."""
        async for info in self._store.find(Query(states=frozenset({State.COMPLETE}))):
            if info.digest is not None:
                try:
                    self._note(info, await self._digest(info) == info.digest)
                except StreamDamaged:
                    self._note(info, False)
                except (StreamNotFound, StreamGone, Busy):
                    pass

    async def _digest(self, info: Info) -> str:
        sha = hashlib.sha256()
        async with await self._store.open(info.key) as content:
            for start in range(0, info.size, SLICE):
                stop = min(start + SLICE, info.size)
                await hash_range(content, sha, start, stop, self._thread)
                await asyncio.sleep((stop - start) / self._rate)
        return text_of(sha.digest())

    def _note(self, info: Info, good: bool) -> None:
        if good:
            self._damaged.pop(info.key, None)
        elif info.key not in self._damaged:
            logger.error(
                "The stored bytes of a stream are damaged.", stream=info.id, key=info.key, size=info.size
            )
            self._damaged[info.key] = (
                f"The stored bytes of the stream with ID {info.id} are damaged. "
                "Restore them from a backup, or delete the stream."
            )

    def _on_change(self, change: Change) -> None:
        if change.kind is ChangeKind.DELETED:
            self._damaged.pop(change.info.key, None)

"""Acts on deadlines: a stream whose producer did not come back in time is aborted, one that has expired is
deleted, and only once it is final.

Owns no time of its own: the deadlines are in the store, which also decides, by compare-and-set, whether a
stream is still as it was seen. Knows no concrete store; there is no timer for any single stream.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from loom.errors import Conflict, LoomError, StoreStopped, StreamNotFound
from loom.model import Clock, Info
from loom.store import rules
from loom.store.base import Store

logger = structlog.get_logger("loom")

INTERVAL = 1.0


class Sweeper:
    """One task for all streams. `sleep` is how it waits between two looks."""

    def __init__(
        self, store: Store, clock: Clock, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Look about once a second, until cancelled or the store has stopped."""
        while True:
            try:
                while await self.sweep():
                    pass
            except StoreStopped:
                return
            except Exception as error:
                logger.exception("the sweeper failed and goes on", error=str(error))
            await self._sleep(INTERVAL)

    async def sweep(self) -> int:
        """Act on what is due now, as far as one look shows it; returns on how many streams."""
        aborted = 0
        for info in await self._store.due(self._clock()):
            aborted += await self._abort(info)
        expired = await self._store.expired(self._clock())
        deleted = sum(await asyncio.gather(*map(self._delete, expired)))
        if deleted:
            logger.info("expired streams were deleted", count=deleted)
        return aborted + deleted

    async def _delete(self, info: Info) -> bool:
        try:
            await self._store.delete(info.key)  # a stream that has replaced it has another key
        except StreamNotFound:
            return False
        except StoreStopped:
            raise
        except LoomError as error:
            logger.warning("an expired stream is not deleted", stream=info.id, error=str(error))
            return False
        return True

    async def _abort(self, info: Info) -> bool:
        patch = rules.overdue(info)
        if patch is None:
            return False
        try:
            await self._store.change(info.key, patch, version=info.version)
        except (Conflict, StreamNotFound):
            return False  # somebody was faster: resumed, ended or deleted
        except StoreStopped:
            raise
        except LoomError as error:
            logger.warning("a stream past its deadline is not aborted", stream=info.id, error=str(error))
            return False
        return True

"""Act on deadlines: abort streams whose producer did not resume in time, delete streams that have expired or
that nobody used.

The deadlines are in the store, and no stream has a timer. The store also decides, by compare-and-set, whether
a stream is still as the sweeper saw it. Knows the store by its contract.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from loom.errors import Conflict, LoomError, StoreStopped, StreamNotFound
from loom.jobs.lifetimes import Lifetimes
from loom.model import Clock, Info
from loom.store import rules
from loom.store.base import Store

logger = structlog.get_logger("loom")

INTERVAL = 1.0


class Sweeper:
    """One task for all streams. `sleep` waits between two sweeps."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lifetimes: Lifetimes | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lifetimes = lifetimes or Lifetimes(store, clock)
        self._sleep = sleep

    async def run(self) -> None:
        """Sweep about once a second, until cancelled or the store has stopped."""
        while True:
            try:
                # One sweep handles some hundred streams: repeat until there are none left.
                while await self.sweep():
                    pass
            except StoreStopped:
                return
            except Exception as error:
                logger.exception("The sweeper failed; it retries in a second.", error=str(error))
            await self._sleep(INTERVAL)

    async def sweep(self) -> int:
        """Act on some of the streams that are due now; return how many of them changed or were deleted."""
        due = await self._store.due(self._clock())
        lives = (self._act(info, self._lifetimes.settle(info)) for info in due if rules.slides(info))
        aborted = sum(await asyncio.gather(*lives))
        for info in due:
            if not rules.slides(info) and (patch := rules.overdue(info)) is not None:
                aborted += await self._act(info, self._store.change(info.key, patch, version=info.version))
        # A stream that replaced an expired one has another key, so it is not deleted in its place.
        expired = await self._store.expired(self._clock())
        deleted = sum(
            await asyncio.gather(*(self._act(info, self._store.delete(info.key)) for info in expired))
        )
        if deleted:
            logger.info("Expired streams were deleted.", count=deleted)
        return aborted + deleted

    async def _act(self, info: Info, action: Awaitable[object]) -> bool:
        """Await a change of a stream; return False if it is not needed any more or has failed."""
        try:
            await action
        except (Conflict, StreamNotFound):
            return False  # resumed, ended or deleted since it was listed
        except StoreStopped:
            raise
        except LoomError as error:
            logger.warning(
                "A stream could not be swept; the next sweep retries.", stream=info.id, error=str(error)
            )
            return False
        return True

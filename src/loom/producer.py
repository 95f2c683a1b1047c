"""One connection that writes. Owns how it ends: complete, left open, lost or cut, once and for good.

Knows the store by its contract; nothing of HTTP.
"""

import asyncio
from collections.abc import Callable

import structlog

from loom.errors import Fenced, LoomError, StreamGone
from loom.model import Clock, Info, Patch, State
from loom.store.base import Writer

logger = structlog.get_logger("loom")


class Producer:
    """One connection that writes. It ends once, by whichever of `complete` and `lose` comes first."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        ended: Callable[["Producer"], None],
        *,
        open_window: float,
    ) -> None:
        self.info = writer.info
        """The stream as it was when this producer came to it."""
        self.replaced = writer.replaced
        self._writer = writer
        self._clock = clock
        self._ended = ended
        self._open_window = open_window
        self._error: LoomError | None = None
        self._callbacks: list[Callable[[LoomError], None]] = []
        self._closing: asyncio.Task[Info] | None = None
        writer.on_lost(self._stop)

    async def take(self, data: bytes) -> None:
        """Append, then wait until there is room for more. Raises WriterLost, StoreStopped."""
        self._check()
        self._writer.append(data)
        await self._writer.room()

    async def complete(self) -> Info:
        """The producer said it is done: returns once every byte and the end are durable.

        Goes on where the caller is cancelled. Raises WriterLost, StoreStopped; it is not complete then.
        """
        self._check()
        return await self._close(Patch(state=State.COMPLETE))

    async def leave_open(self) -> Info:
        """The producer is done for now, and the stream waits for the next one; otherwise as `complete`."""
        self._check()
        return await self._close(Patch(state=State.OPEN, deadline=self._clock() + self._open_window))

    @property
    def offset(self) -> int:
        """The offset behind the last byte taken."""
        return self._writer.accepted

    async def durable(self, *, beyond: int) -> int:
        """Wait until more than `beyond` bytes are durable; returns how many. Raises as `take`."""
        return await self._writer.flushed(beyond + 1)

    async def lose(self, reason: str) -> None:
        """The producer vanished: keep every byte taken; it may come back within the stream's resume window.

        Waits for the end that is already under way, if there is one. Never raises WriterLost or StoreStopped.
        """
        deadline = self._clock() + self.info.resume_window
        try:
            await self._close(Patch(state=State.INTERRUPTED, deadline=deadline, reason=reason))
        except (Fenced, StreamGone):
            pass
        except LoomError as error:
            logger.warning("the loss of a producer is not stored", stream=self.info.id, error=str(error))

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """Call back once, at once if it already is so, when this producer may not go on."""
        if self._error is not None:
            callback(self._error)
        else:
            self._callbacks.append(callback)

    async def cut(self, error: LoomError, reason: str) -> None:
        """End it from our side, unless it is ending by itself: its connection is told, its bytes are kept."""
        if self._closing is None:
            self._stop(error)
        await self.lose(reason)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _stop(self, error: LoomError) -> None:
        if self._error is None:
            self._error = error
            self._ended(self)
            for callback in self._callbacks:
                callback(error)

    async def _close(self, patch: Patch) -> Info:
        if self._closing is None:
            self._closing = asyncio.create_task(self._finish(patch))
        return await asyncio.shield(self._closing)

    async def _finish(self, patch: Patch) -> Info:
        try:
            return await self._writer.close(patch)
        finally:
            self._ended(self)

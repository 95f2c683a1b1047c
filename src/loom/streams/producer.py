"""One connection that writes. Owns how it ends: complete, left open, lost or cut, once and for good.

Knows the store by its contract; nothing of HTTP.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from loom.errors import DigestMismatch, Fenced, LoomError, SizeLimit, StreamGone
from loom.jobs.digests import Digests, text_of
from loom.model import Clock, Info, Patch, State
from loom.store import rules
from loom.store.base import Writer
from loom.streams.limits import REASON, Room

HASHED_HERE = 64 << 10
"""Up to so many bytes a stream is hashed as they come, some tens of microseconds in all: the many small ones
have their digest with their end, and need neither a look back nor a commit of its own."""

MISMATCH = "its bytes do not have the digest that its producer told"

logger = structlog.get_logger("loom")


class Producer:
    """One connection that writes. It ends once, by whichever of `complete` and `lose` comes first."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        ended: Callable[["Producer"], None],
        digests: Digests,
        *,
        room: Room,
        open_window: float,
    ) -> None:
        self.info = writer.info
        """The stream as it was when this producer came to it."""
        self.replaced = writer.replaced
        self._writer = writer
        self._clock = clock
        self._ended = ended
        self._digests = digests
        self._room = room
        self._open_window = open_window
        self._sha = None if writer.info.size else hashlib.sha256()
        self._error: LoomError | None = None
        self._callbacks: list[Callable[[LoomError], None]] = []
        self._closing: asyncio.Task[Info] | None = None
        writer.on_lost(self._stop)

    async def take(self, data: bytes) -> None:
        """Append, then wait until there is room for more.

        Where a limit is reached, bytes up to it are kept and the stream is aborted; for want of space in the
        store it is left as it is if this producer has brought nothing yet. Raises WriterLost, StoreStopped,
        and at a limit SizeLimit, StorageFull.
        """
        self._check()
        size, limit = self._room.fits(self._writer.accepted, len(data))
        self._writer.append(data[:size])
        if limit is not None:
            if self._writer.accepted > self.info.size or isinstance(limit, SizeLimit):
                await self._closed_by(self._writer.close(Patch(state=State.ABORTED, reason=REASON)))
            raise limit
        if self._writer.accepted > HASHED_HERE:
            self._sha = None
        if self._sha is not None:
            self._sha.update(data)
        await self._writer.wait_for_room()
        self._digests.grown(self._writer.key, self._writer.durable)

    async def complete(self, digest: str | None = None) -> Info:
        """The producer said it is done: returns once every byte and the end are durable.

        If its bytes do not have the digest that is given, the stream is aborted. Goes on where the caller is
        cancelled. Raises WriterLost, StoreStopped, DigestMismatch; it is not complete then.
        """
        self._check()
        info = await self._closed_by(self._complete(digest))
        if info.state is State.ABORTED:
            raise DigestMismatch("The stored bytes do not have this Stream-Digest; send them all again.")
        return info

    async def leave_open(self) -> Info:
        """The producer is done for now, and the stream waits for the next one; otherwise as `complete`."""
        self._check()
        deadline = self._clock() + self._open_window
        return await self._closed_by(self._writer.close(Patch(state=State.OPEN, deadline=deadline)))

    @property
    def offset(self) -> int:
        """The offset behind the last byte taken."""
        return self._writer.accepted

    async def durable(self, *, beyond: int) -> int:
        """Wait until more than `beyond` bytes are durable; returns how many. Raises as `take`."""
        return await self._writer.wait_durable(beyond + 1)

    async def lose(self, reason: str) -> Info | None:
        """The producer vanished: keep every byte taken; it may come back within the stream's resume window.

        Waits for the end that is already under way, if there is one. Returns what came of it. Never raises
        WriterLost or StoreStopped.
        """
        try:
            return await self._closed_by(self._writer.close(self._interrupted(reason)))
        except (Fenced, StreamGone):
            pass
        except LoomError as error:
            logger.warning("the loss of a producer is not stored", stream=self.info.id, error=str(error))
        return None

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

    def _interrupted(self, reason: str) -> Patch:
        return rules.lost(self.info, reason, self._clock())

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _stop(self, error: LoomError) -> None:
        if self._error is None:
            self._error = error
            self._ended(self)
            for callback in self._callbacks:
                callback(error)

    async def _closed_by(self, end: Coroutine[Any, Any, Info]) -> Info:
        """What the first end comes to; any other is dropped."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._finish(end))
        else:
            end.close()
        return await asyncio.shield(self._closing)

    async def _finish(self, end: Coroutine[Any, Any, Info]) -> Info:
        try:
            return await end
        finally:
            self._ended(self)

    async def _complete(self, wanted: str | None) -> Info:
        """Store the end. Only who wants the bytes compared waits until they are hashed."""
        digest = None if self._sha is None else text_of(self._sha.digest())
        if wanted is not None and digest is None:
            size = self._writer.accepted
            await self._writer.wait_durable(size)
            try:
                digest = await self._digests.of(self._writer.key, size)
            except LoomError:  # its producer may come back to end it
                await self._writer.close(self._interrupted("its bytes could not be compared"))
                raise
        if wanted not in (None, digest):
            return await self._writer.close(Patch(state=State.ABORTED, reason=MISMATCH))
        return await self._writer.close(Patch(state=State.COMPLETE, digest=digest))

"""One connection that appends to a stream. Owns how it ends: complete, left open, lost or cut; exactly once.

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
from loom.streams.redaction import Redactions

HASHED_HERE = 64 << 10
"""A stream up to this size is hashed as its bytes are appended, which takes some tens of microseconds. Its
digest is then stored with its end. A longer one is read back by a job, and its digest needs a commit of its
own."""

SILENCE = 0.1
"""Seconds without a byte after which the beginning of a line is stored."""
HOLD = 1.0
"""Seconds after which it is stored in any case."""

MISMATCH = "its bytes do not match the digest that its producer sent"

logger = structlog.get_logger("loom")


class Producer:
    """One connection that appends. The first of `complete`, `leave_open`, `lose` and `cut` ends it."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        on_end: Callable[["Producer"], None],
        digests: Digests,
        *,
        room: Room,
        redactions: Redactions,
        open_window: float,
    ) -> None:
        self.info = writer.info
        """The stream as it was when this producer attached to it."""
        self.replaced = writer.replaced
        self._writer = writer
        self._clock = clock
        self._on_end = on_end
        self._digests = digests
        self._room = room
        self._open_window = open_window
        self._redactions = redactions
        self._redactor = redactions.redactor(writer.info)
        self._held_since = 0.0
        self._releasing: asyncio.TimerHandle | None = None
        self._sha = None if writer.info.size else hashlib.sha256()
        self._error: LoomError | None = None
        self._callbacks: list[Callable[[LoomError], None]] = []
        self._closing: asyncio.Task[Info] | None = None
        writer.on_lost(self._stop)

    async def take(self, data: bytes) -> None:
        """Append bytes, redacted, then wait until there is room for more. The end of a line may be held.

        At a limit, the bytes up to the limit are kept and the stream is aborted. If only the store is full
        and this producer has appended nothing, the stream stays as it is. Raises WriterLost, StoreStopped,
        and at a limit SizeLimit or StorageFull.
        """
        self._check()
        if self._redactor is not None:
            data = self._redactor.feed(data)
            self._hold()
        await self._store(data)
        await self._writer.wait_for_room()
        self._digests.on_durable(self._writer.key, self._writer.durable)

    async def _store(self, data: bytes) -> None:
        limit = self._append(data)
        if limit is not None:
            if self._writer.accepted > self.info.size or isinstance(limit, SizeLimit):
                await self._end_with(self._writer.close(Patch(state=State.ABORTED, reason=REASON)))
            raise limit

    def _append(self, data: bytes) -> LoomError | None:
        """Append bytes as far as there is room; return the error if that is not all."""
        size, limit = self._room.fits(self._writer.accepted, len(data))
        self._writer.append(data[:size])
        if limit is None and self._writer.accepted > HASHED_HERE:
            self._sha = None
        if limit is None and self._sha is not None:
            self._sha.update(data)
        return limit

    def _hold(self) -> None:
        """Have the bytes that the redactor holds stored after a silence."""
        assert self._redactor is not None
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None
        loop = asyncio.get_running_loop()
        if not self._redactor.held:
            self._held_since = 0.0
            return
        self._held_since = self._held_since or loop.time()
        at = min(loop.time() + SILENCE, self._held_since + HOLD)
        self._releasing = loop.call_at(at, self._release)

    def _release(self) -> None:
        """Append what the redactor holds. At a limit it stays there, and the next bytes meet the limit."""
        self._releasing, self._held_since = None, 0.0
        redactor = self._redactor
        if redactor is None or self._error is not None or self._closing is not None:
            return
        if self._room.fits(self._writer.accepted, redactor.held)[1] is None:
            self._append(redactor.release())

    async def complete(self, digest: str | None = None) -> Info:
        """Complete the stream; return once every byte and the end are durable.

        If the bytes do not match `digest`, the stream is aborted instead. A cancelled caller does not stop
        the end. Raises WriterLost, StoreStopped, DigestMismatch; the stream is not complete then.
        """
        self._check()
        if self._redactor is not None:
            await self._store(self._redactor.release())
            if not self._redactor.faithful:
                # The digest is of secrets, and the stored bytes are others.
                digest = None
        info = await self._end_with(self._complete(digest))
        if info.state is State.ABORTED:
            raise DigestMismatch("The stored bytes do not match the digest. Send the whole stream again.")
        return info

    async def leave_open(self) -> Info:
        """End this producer and leave the stream open for the next one. Otherwise as `complete`."""
        self._check()
        if self._redactor is not None:
            await self._store(self._redactor.release())
            self._redactions.keep(self._writer.key, self._writer.accepted, self._redactor)
        deadline = self._clock() + self._open_window
        return await self._end_with(self._writer.close(Patch(state=State.OPEN, deadline=deadline)))

    @property
    def offset(self) -> int:
        """The offset after the last byte taken."""
        return self._writer.accepted + (0 if self._redactor is None else self._redactor.held)

    async def wait_durable(self, *, beyond: int) -> int:
        """Wait until more than `beyond` bytes are durable; return the durable size. Raises as `take`."""
        return await self._writer.wait_durable(beyond + 1)

    async def lose(self, reason: str, *, resumes: bool = False) -> Info | None:
        """Interrupt the stream because its producer disconnected; every byte taken is kept.

        Of one that `resumes`, bytes held for redaction are not kept: it sends them again, and a secret is
        then redacted as a whole. If another end is already under way, wait for that. Returns the stream as
        it ended. Never raises WriterLost or StoreStopped.
        """
        try:
            if self._redactor is not None and self._closing is None:
                if resumes:
                    self._redactor.drop()
                else:
                    self._append(self._redactor.release())
                self._redactions.keep(self._writer.key, self._writer.accepted, self._redactor)
            return await self._end_with(self._writer.close(self._interrupted(reason)))
        except (Fenced, StreamGone):
            pass
        except LoomError as error:
            logger.warning(
                "The loss of a producer could not be stored.", stream=self.info.id, error=str(error)
            )
        return None

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """Call `callback` once when this producer must stop; immediately if that is already so."""
        if self._error is not None:
            callback(self._error)
        else:
            self._callbacks.append(callback)

    async def cut(self, error: LoomError, reason: str) -> None:
        """Stop this producer with `error` and interrupt the stream, unless it is already ending."""
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
            self._on_end(self)
            for callback in self._callbacks:
                callback(error)

    async def _end_with(self, end: Coroutine[Any, Any, Info]) -> Info:
        """Run `end` unless the producer is already ending; return that first outcome."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._run(end))
        else:
            end.close()
        # A request that is cancelled must not stop the end: what was accepted is stored either way.
        return await asyncio.shield(self._closing)

    async def _run(self, end: Coroutine[Any, Any, Info]) -> Info:
        try:
            return await end
        finally:
            self._on_end(self)

    async def _complete(self, wanted: str | None) -> Info:
        """Store the end, with the digest if it is known. Compare with `wanted` first, if given."""
        digest = None if self._sha is None else text_of(self._sha.digest())
        if wanted is not None and digest is None:
            # Only a producer that sent a digest waits until a long stream is hashed.
            size = self._writer.accepted
            await self._writer.wait_durable(size)
            try:
                digest = await self._digests.of(self._writer.key, size)
            except LoomError:
                # Nothing is known to be wrong with the bytes: let the producer resume and end the stream.
                await self._writer.close(self._interrupted("its bytes could not be compared"))
                raise
        if wanted not in (None, digest):
            return await self._writer.close(Patch(state=State.ABORTED, reason=MISMATCH))
        return await self._writer.close(Patch(state=State.COMPLETE, digest=digest))

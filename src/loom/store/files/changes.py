"""Changes to streams: create, resume, close, change, delete. Owns their rules and their order.

Each change runs in a task of its own, so that a caller who goes away leaves nothing half-done. Changes to one
stream are ordered by its lock, creations of one id wait for each other.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

from loom.errors import (
    Conflict,
    EpochMismatch,
    Fenced,
    LoomError,
    OffsetMismatch,
    StorageFull,
    StoreStopped,
    StreamExists,
    StreamFailed,
    StreamFinal,
    StreamNotFound,
    VersionMismatch,
)
from loom.model import TRANSITIONS, Clock, Info, NewStream, Patch, State, new_key, repeats
from loom.store.files.commit import Commits
from loom.store.files.stream import Stream
from loom.store.files.table import Table
from loom.store.files.writer import Bounds, FilesWriter

T = TypeVar("T")
APPEND = Patch(state=State.LIVE)
logger = logging.getLogger("loom.store")


class Changes:
    """The changing half of the store's contract; `full` says whether space for new bytes is lacking."""

    def __init__(
        self, table: Table, commits: Commits, *, clock: Clock, bounds: Bounds, full: Callable[[], bool]
    ) -> None:
        self.failure: LoomError | None = None
        """Set once the store has stopped: every change raises it."""
        self._table = table
        self._commits = commits
        self._clock = clock
        self._bounds = bounds
        self._full = full
        self._closing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._names: dict[str, asyncio.Future[None]] = {}

    async def create(self, new: NewStream, *, replace: bool = False) -> FilesWriter:
        """See Store.create."""
        return await self._finish(self._create(new, replace), orphan=self._abandon)

    async def _create(self, new: NewStream, replace: bool) -> FilesWriter:
        self.check()
        if self._full():
            raise StorageFull("Too little disk space is left to take another stream.")
        while waited := self._names.get(new.id):
            await waited
        named = self._names[new.id] = asyncio.get_running_loop().create_future()
        try:
            async with AsyncExitStack() as held:
                old = self._table.by_id(new.id)
                if old is not None:
                    if not replace or repeats(new, old.info):
                        self._table.release(old)
                        raise StreamExists(new.id)
                    await held.enter_async_context(old.lock)
                    old = old if old.error is None else None
                return await self._begin(new, old)
        finally:
            del self._names[new.id]
            named.set_result(None)

    async def _begin(self, new: NewStream, old: Stream | None) -> FilesWriter:
        self.check()
        number = self._table.next_number()
        info = new.born(new_key(number), self._clock())
        stream = Stream(number, info)
        writer = self._attach(stream, info, replaced=old is not None)
        await self._commit(stream, put=info, drop=old)
        return writer

    async def resume(self, key: str, offset: int, epoch: int | None) -> FilesWriter:
        """See Store."""
        return await self._finish(self._resume(key, offset, epoch), orphan=self._abandon)

    async def _resume(self, key: str, offset: int, epoch: int | None) -> FilesWriter:
        stream = self.stream(key)
        try:
            async with stream.lock:
                return await self._take_over(stream, offset, epoch)
        finally:
            self._table.release(stream)

    async def _take_over(self, stream: Stream, offset: int, epoch: int | None) -> FilesWriter:
        self._check_open(stream)
        if epoch is not None and epoch != stream.info.epoch:
            raise EpochMismatch(stream.info.epoch, epoch)
        if self._full():
            raise StorageFull("Too little disk space is left to take more bytes.")
        stream.lose_writer(Fenced(f"Another producer took over the stream with ID {stream.info.id}."))
        while stream.durable < stream.accepted:
            await stream.moved()
        info = stream.info
        if stream.durable != offset:
            if info.state is State.LIVE:
                deadline = self._clock() + info.resume_window
                patch = Patch(state=State.INTERRUPTED, reason="fenced", deadline=deadline)
                await self._commit(stream, put=info.patched(patch, self._clock()))
            raise OffsetMismatch(stream.durable, offset)
        live = replace(
            stream.view,
            state=State.LIVE,
            reason="",
            deadline=None,
            epoch=info.epoch + 1,
            version=info.version + 1,
        )
        writer = self._attach(stream, live, replaced=False)
        await self._commit(stream, put=live)
        return writer

    def _attach(self, stream: Stream, info: Info, *, replaced: bool) -> FilesWriter:
        writer = FilesWriter(
            stream, self._commits, self._bounds, info=info, replaced=replaced, close=self._close_writer
        )
        stream.writer = writer
        return writer

    def _abandon(self, writer: FilesWriter) -> None:
        """Whoever asked for this writer is gone."""
        if writer.error is None:
            self._start(self._interrupt(writer.stream, "its producer went away", writer))

    async def _close_writer(self, writer: FilesWriter, patch: Patch) -> Info:
        if patch.state is None or patch.state is State.LIVE:
            raise ValueError("a writer closes into a state other than live")
        return await self._finish(self._close_stream(writer, patch))

    async def _close_stream(self, writer: FilesWriter, patch: Patch) -> Info:
        stream = writer.stream
        async with stream.lock:
            if writer.error:
                raise writer.error
            await self._commit(stream, put=stream.info.patched(patch, self._clock()))
            stream.writer = None
            return stream.view

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        """See Store."""
        return await self._finish(self._change(key, patch, version))

    async def _change(self, key: str, patch: Patch, version: int) -> Info:
        stream = self.stream(key)
        try:
            async with stream.lock:
                self._check_open(stream, patch)
                info = stream.info
                if info.version != version:
                    raise VersionMismatch(f"The stream with ID {info.id} was changed by someone else.")
                if patch.state and (patch.state is State.LIVE or patch.state not in TRANSITIONS[info.state]):
                    raise Conflict(
                        f"The stream with ID {info.id} is {info.state}; it cannot become {patch.state}."
                    )
                if patch.state:
                    stream.lose_writer(Fenced(f"The stream with ID {info.id} is now {patch.state}."))
                await self._commit(stream, put=info.patched(patch, self._clock()))
                return stream.view
        finally:
            self._table.release(stream)

    async def delete(self, key: str) -> None:
        """See Store."""
        await self._finish(self._delete(key))

    async def _delete(self, key: str) -> None:
        stream = self.stream(key)
        async with stream.lock:
            if stream.error:
                raise StreamNotFound(stream.info.id)
            try:
                await self._commit(stream, drop=stream)
            except StreamFailed:  # bytes before it could not be stored: they go too
                await self._commit(stream, drop=stream)

    async def _interrupt(self, stream: Stream, reason: str, writer: FilesWriter | None = None) -> None:
        """Nobody produces any more, or not this writer; what was accepted stays."""
        async with stream.lock:
            if writer is not None and stream.writer is not writer:
                return
            if stream.error is None and stream.info.state is State.LIVE:
                stream.lose_writer(
                    self.failure or StoreStopped(f"The server let go of the stream: {reason}.")
                )
                deadline = self._clock() + stream.info.resume_window
                patch = Patch(state=State.INTERRUPTED, reason=reason, deadline=deadline)
                await self._commit(stream, put=stream.info.patched(patch, self._clock()))

    async def _commit(self, stream: Stream, *, put: Info | None = None, drop: Stream | None = None) -> None:
        if self.failure:
            raise self.failure
        await self._commits.submit(stream, put=put, drop=drop)

    async def _finish(self, work: Coroutine[Any, Any, T], orphan: Callable[[T], None] | None = None) -> T:
        task = self._start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if orphan is not None:
                task.add_done_callback(
                    lambda done: done.cancelled() or done.exception() or orphan(done.result())
                )
            raise

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, LoomError):
            logger.error("a change to the store failed", exc_info=error)

    def abort(self, stream: Stream, error: LoomError, reason: str) -> None:
        """End the stream behind what was accepted, in the background; its writer is told `error`."""
        stream.lose_writer(error)
        self._start(self._abort(stream, error, reason))

    async def _abort(self, stream: Stream, error: LoomError, reason: str) -> None:
        async with stream.lock:
            if stream.error is None and not stream.info.state.final:
                stream.lose_writer(error)
                patch = Patch(state=State.ABORTED, reason=reason)
                await self._commit(stream, put=stream.info.patched(patch, self._clock()))

    async def settle(self, reason: str) -> None:
        """Take nothing more, end every producer as lost, and wait until no change is under way."""
        self._closing = True
        await self._idle()
        for stream in self._table.unfinished():
            self._start(self._interrupt(stream, reason))
        await self._idle()

    async def _idle(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stream(self, key: str) -> Stream:
        """The stream of a key. Raises StreamNotFound."""
        self.check()
        stream = self._table.by_key(key)
        if stream is None:
            raise StreamNotFound(key)
        return stream

    def check(self) -> None:
        """Raise what has stopped the store, or will soon."""
        if self.failure:
            raise self.failure.with_traceback(None)
        if self._closing:
            raise StoreStopped("The store is closing.")

    def _check_open(self, stream: Stream, patch: Patch = APPEND) -> None:
        """A change came while another was waited for."""
        self.check()
        if stream.error:
            raise StreamNotFound(stream.info.id)
        if not stream.info.takes(patch, self._clock()):
            raise StreamFinal(
                f"The stream with ID {stream.info.id} is {stream.info.state}; nothing can be added."
            )

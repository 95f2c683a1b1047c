"""Changes to streams: create, resume, close, change, delete, abort. Owns their order; `rules` defines their
effect on a row.

Each change runs in a task of its own, so that a cancelled caller leaves nothing half-done. The lock of a
stream orders its changes, and creations of one id wait for each other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

from loom.errors import LoomError, StorageFull, StreamExists, StreamFailed, StreamNotFound
from loom.ids import new_key
from loom.model import Clock, Info, NewStream, Patch
from loom.store import rules
from loom.store.base import Admit
from loom.store.files.checkpoints import Checkpoints
from loom.store.files.commit import Commits
from loom.store.files.stopping import StopState
from loom.store.files.stream import Stream
from loom.store.files.table import Table
from loom.store.files.writer import Bounds, FilesWriter

T = TypeVar("T")
logger = logging.getLogger("loom.store")


class Changes:
    """The changing half of the store's contract."""

    def __init__(
        self,
        table: Table,
        commits: Commits,
        checkpoints: Checkpoints,
        stop: StopState,
        *,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self._table = table
        self._commits = commits
        self._clock = clock
        self._bounds = bounds
        self._checkpoints = checkpoints
        self._stop = stop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._names: dict[str, asyncio.Future[None]] = {}

    async def create(self, new: NewStream, replace: bool, admit: Admit) -> FilesWriter:
        rules.check_new(new, live=True)
        return await self._finish(self._create(new, replace, admit, self._begin), orphan=self._abandon)

    async def put(self, new: NewStream, admit: Admit) -> Info:
        rules.check_new(new, live=False)
        return await self._finish(self._create(new, False, admit, self._begin_whole))

    async def _create(
        self,
        new: NewStream,
        replace: bool,
        admit: Admit,
        begin: Callable[[NewStream, Stream | None, Admit], Awaitable[T]],
    ) -> T:
        self._stop.check()
        if self._checkpoints.full:
            raise StorageFull("Too little disk space is left to take another stream.")
        while waited := self._names.get(new.id):
            await waited
        named = self._names[new.id] = asyncio.get_running_loop().create_future()
        try:
            async with AsyncExitStack() as held:
                old = self._table.by_id(new.id)
                if old is not None:
                    try:
                        rules.check_creation(new, old.info, replaces=replace)
                    except StreamExists:
                        self._table.release(old)
                        raise
                    await held.enter_async_context(self._table.locked(old))
                    # It may have been deleted while its lock was awaited.
                    old = old if old.error is None else None
                return await begin(new, old, admit)
        finally:
            del self._names[new.id]
            named.set_result(None)

    async def _begin(self, new: NewStream, old: Stream | None, admit: Admit) -> FilesWriter:
        stream = self._admit(new, old, admit)
        writer = self._attach(stream, stream.info, replaced=old is not None)
        await self._commit_new(stream, old)
        return writer

    async def _begin_whole(self, new: NewStream, old: Stream | None, admit: Admit) -> Info:
        stream = self._admit(new, old, admit)
        self._table.unsettled.add(stream.number)
        self._commits.add(stream, new.content, new.entries, rules.growth({}, new.entries))
        try:
            await self._commit_new(stream, old)
        except (StreamFailed, StorageFull) as error:
            # A crash may leave what was written of the content. The record of a delete prevents that.
            await self._commit(stream, drop=stream)
            raise StorageFull("Too little disk space is left to take this stream.") from error
        finally:
            self._table.unsettled.remove(stream.number)
        return stream.view

    def _admit(self, new: NewStream, old: Stream | None, admit: Admit) -> Stream:
        self._stop.check()
        admit(old.view if old else None)
        number = self._table.next_number()
        stream = Stream(number, rules.born(new, new_key(number), self._clock()))
        self._table.holdings.add(stream.info)
        return stream

    async def _commit_new(self, stream: Stream, old: Stream | None) -> None:
        row = stream.info
        try:
            await self._commit(stream, put=row, drop=old)
        except BaseException:
            self._table.holdings.remove(row)
            raise

    async def resume(self, key: str, offset: int, epoch: int | None, length: int | None) -> FilesWriter:
        return await self._finish(self._resume(key, offset, epoch, length), orphan=self._abandon)

    async def _resume(self, key: str, offset: int, epoch: int | None, length: int | None) -> FilesWriter:
        stream = self.stream(key)
        async with self._table.locked(stream):
            return await self._take_over(stream, offset, epoch, length)

    async def _take_over(
        self, stream: Stream, offset: int, epoch: int | None, length: int | None
    ) -> FilesWriter:
        # Refuse before anything is changed.
        self.check_there(stream)
        rules.check_takeover(stream.info, epoch)
        if self._checkpoints.full:
            raise StorageFull("Too little disk space is left to take more bytes.")
        await self._wait_to_compare(stream, offset)
        # Nothing was awaited since the comparison. Fence the old writer, so that nothing is accepted after
        # this, and wait for what was.
        stream.lose_writer(rules.fenced(stream.info))
        while stream.durable < stream.accepted:
            await stream.wait_progress()
        if stream.durable != offset:
            # Accepted bytes were lost to a failure. The size no longer moves.
            await self._put(stream, rules.interrupt(stream.view, rules.FENCED, self._clock()))
            rules.check_offset(stream.durable, offset)
        row = rules.take_over(stream.view, length, self._clock())
        writer = self._attach(stream, row, replaced=False)
        await self._commit(stream, put=row)
        return writer

    async def _wait_to_compare(self, stream: Stream, offset: int) -> None:
        """Raise OffsetMismatch unless `offset` is the end of the accepted bytes, once they are durable."""
        while (end := stream.accepted) != offset:
            while stream.durable < min(end, stream.accepted):
                await stream.wait_progress()
            if stream.durable >= end:
                rules.check_offset(end, offset)
            # Accepted bytes were lost to a failure: compare with what is left.

    def _attach(self, stream: Stream, info: Info, *, replaced: bool) -> FilesWriter:
        writer = FilesWriter(
            stream, self._commits, self._bounds, info=info, replaced=replaced, end=self._close_writer
        )
        stream.writer = writer
        return writer

    def _abandon(self, writer: FilesWriter) -> None:
        """Interrupt the stream of a writer that its caller, who was cancelled, never received."""
        if writer.lost is None:
            error = rules.cancelled(writer.info)
            self._start_on(writer.stream, self._interrupt(writer.stream, error, rules.CANCELLED, writer))

    async def _close_writer(self, writer: FilesWriter, patch: Patch) -> Info:
        return await self._finish(self._close_stream(writer, patch))

    async def _close_stream(self, writer: FilesWriter, patch: Patch) -> Info:
        stream = writer.stream
        async with self._table.locked(stream):
            writer.check()
            await self._commit(stream, put=rules.apply(stream.info, patch, self._clock()))
            stream.writer = None
            return stream.view

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        return await self._finish(self._change(key, patch, version))

    async def _change(self, key: str, patch: Patch, version: int) -> Info:
        stream = self.stream(key)
        async with self._table.locked(stream):
            self.check_there(stream)
            row = rules.change(stream.info, patch, version, self._clock())
            if patch.state:
                stream.lose_writer(rules.fenced(row, patch.state))
            await self._commit(stream, put=row)
            return stream.view

    async def delete(self, key: str) -> None:
        await self._finish(self._delete(key))

    async def _delete(self, key: str) -> None:
        stream = self.stream(key)
        async with self._table.locked(stream):
            if stream.error:
                raise StreamNotFound(stream.info.id)
            try:
                await self._commit(stream, drop=stream)
            except StreamFailed:  # bytes before the delete could not be stored: they are deleted too
                await self._commit(stream, drop=stream)

    async def _interrupt(
        self, stream: Stream, error: LoomError, reason: str, writer: FilesWriter | None = None
    ) -> None:
        """Take the stream from `writer`, or from any writer; what was accepted is kept."""
        async with self._table.locked(stream):
            if stream.error or (writer is not None and stream.writer is not writer):
                return
            stream.lose_writer(self._stop.error or error)
            await self._put(stream, rules.interrupt(stream.info, reason, self._clock()))

    def abort(self, stream: Stream, error: LoomError, reason: str) -> None:
        """End the stream at what was accepted, in the background; its writer is lost to `error`."""
        stream.lose_writer(error)
        self._start_on(stream, self._abort(stream, error, reason))

    async def _abort(self, stream: Stream, error: LoomError, reason: str) -> None:
        async with self._table.locked(stream):
            if stream.error is None:
                stream.lose_writer(error)
                await self._put(stream, rules.abort(stream.info, reason, self._clock()))

    async def _put(self, stream: Stream, row: Info) -> None:
        """Commit the row that a rule returned, unless the rule left it as it was."""
        if row.version > stream.info.version:
            await self._commit(stream, put=row)

    async def _commit(self, stream: Stream, *, put: Info | None = None, drop: Stream | None = None) -> None:
        self._stop.check_failure()
        await self._commits.submit(stream, put=put, drop=drop)

    async def _finish(self, work: Coroutine[Any, Any, T], orphan: Callable[[T], None] | None = None) -> T:
        """Run `work` to its end even if the caller is cancelled; `orphan` then receives its result."""
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

    def _start_on(self, stream: Stream, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background. The stream stays in memory from now on, before the task begins."""
        held = ExitStack()
        held.enter_context(self._table.held(stream))
        self._start(work).add_done_callback(lambda _: held.close())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, LoomError):
            logger.error("a change to the store failed", exc_info=error)

    async def settle(self) -> None:
        """Refuse new changes, interrupt every live stream, and wait until no change is running."""
        self._stop.begin_close()
        await self.wait_idle()
        for stream in self._table.live():
            self._start_on(stream, self._interrupt(stream, rules.closed(), rules.SERVER_STOPPED))
        await self.wait_idle()

    async def wait_idle(self) -> None:
        """Wait until no change is running."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stream(self, key: str) -> Stream:
        """Return the stream of a key. Raises StreamNotFound."""
        self._stop.check()
        stream = self._table.by_key(key)
        if stream is None:
            raise StreamNotFound(key)
        return stream

    def check_there(self, stream: Stream) -> None:
        """Raise if the stream was deleted or the store stopped while the stream's lock was awaited."""
        self._stop.check()
        if stream.error:
            raise StreamNotFound(stream.info.id)

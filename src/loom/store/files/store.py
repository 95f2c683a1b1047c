"""The files store: durable streams in one directory, owned by one process.

Puts the parts together and keeps the contract's rules; each part says what it owns. All state belongs
to the event loop, threads work on what it hands them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from loom.errors import (
    Busy,
    Conflict,
    Fenced,
    LoomError,
    OffsetMismatch,
    StorageFull,
    StoreStopped,
    StreamDamaged,
    StreamExists,
    StreamFailed,
    StreamFinal,
    StreamGone,
    StreamNotFound,
    VersionMismatch,
)
from loom.model import TRANSITIONS, Change, ChangeKind, Clock, Info, NewStream, Patch, Query, State
from loom.store.base import Health, Sink, Store, Subscription
from loom.store.files.commit import Batch, Commits
from loom.store.files.disk import Disk
from loom.store.files.images import OUT_OF_FILES, Images
from loom.store.files.listing import listing
from loom.store.files.log import SEGMENT_SIZE
from loom.store.files.parts import Parts, open_parts
from loom.store.files.reading import FilesContent
from loom.store.files.stream import Following, Op, Stream
from loom.store.files.table import Table, new_key
from loom.store.files.writer import Bounds, FilesWriter

T = TypeVar("T")
DUE = 500
logger = logging.getLogger("loom.store")


class FilesStore(Store):
    """See Store. Made by `FilesStore.start`."""

    def __init__(
        self, parts: Parts, *, durability: str, clock: Clock, bounds: Bounds, min_free: tuple[int, int]
    ) -> None:
        self._parts = parts
        self._durability = durability
        self._clock = clock
        self._bounds = bounds
        self._failure: LoomError | None = None
        self._failed = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watchers: list[Callable[[Change], None]] = []
        self._names: dict[str, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="loom-read")
        self._table = Table(parts.reader, parts.recovered.unfinished, parts.recovered.number)
        self._commits = Commits(
            parts.log,
            parts.content,
            flush=durability == "disk",
            on_batch=self._on_batch,
            on_failure=self._stop,
            needs_checkpoint=lambda: self._images.want_checkpoint(),
        )
        self._images = Images(
            parts.disk,
            parts.content,
            parts.catalog,
            self._table,
            min_free=min_free,
            lsn=lambda: parts.log.lsn,
            release=self._commits.release,
            on_lost=self._lose_content,
            on_failure=self._stop,
        )

    @classmethod
    async def start(
        cls,
        path: Path,
        *,
        clock: Clock,
        durability: str = "disk",
        min_free_bytes: int = 64 << 20,
        min_free_inodes: int = 1000,
        bounds: Bounds | None = None,
        disk: Disk | None = None,
        segment_size: int = SEGMENT_SIZE,
    ) -> "FilesStore":
        """Open a data directory, making it if it is not there, and recover it.

        Raises ConfigError with a sentence that says what to do.
        """
        parts = await asyncio.to_thread(
            open_parts, disk or Disk(path), clock, flush=durability == "disk", segment_size=segment_size
        )
        return cls(
            parts,
            durability=durability,
            clock=clock,
            bounds=bounds or Bounds(),
            min_free=(min_free_bytes, min_free_inodes),
        )

    # Changes: each runs in a task of its own, so that a caller who goes away leaves nothing half-done.

    async def create(self, new: NewStream, *, replace: bool = False) -> FilesWriter:
        """See Store."""
        return await self._finish(self._create(new, replace), orphan=self._abandon)

    async def _create(self, new: NewStream, replace: bool) -> FilesWriter:
        self._check()
        if self._images.full:
            raise StorageFull("Too little disk space is left to take another stream.")
        lock = self._names.setdefault(new.id, asyncio.Lock())
        try:
            async with lock, AsyncExitStack() as held:
                old = self._table.by_id(new.id)
                if old is not None:
                    if not replace:
                        self._table.release(old)
                        raise StreamExists(new.id)
                    await held.enter_async_context(old.lock)
                    old = old if old.error is None else None
                number = self._table.next_number()
                info = Info(
                    key=new_key(number),
                    id=new.id,
                    epoch=1,
                    state=State.LIVE,
                    metadata=new.metadata,
                    content_type=new.content_type,
                    created=self._clock(),
                    resume_window=new.resume_window,
                )
                stream = Stream(number, info)
                writer = self._attach(stream, epoch=1, replaced=old is not None)
                await self._commit(stream, put=info, drop=old)
                return writer
        finally:
            if not lock.locked():
                self._names.pop(new.id, None)

    async def resume(self, key: str, offset: int) -> FilesWriter:
        """See Store."""
        return await self._finish(self._resume(key, offset), orphan=self._abandon)

    async def _resume(self, key: str, offset: int) -> FilesWriter:
        stream = self._stream(key)
        async with stream.lock:
            self._check_open(stream)
            if self._images.full:
                raise StorageFull("Too little disk space is left to take more bytes.")
            stream.lose_writer(Fenced(f"Another producer took over the stream with ID {stream.info.id}."))
            while stream.durable < stream.accepted:
                await stream.moved()
            info = stream.info
            if stream.durable != offset:
                if info.state is State.LIVE:
                    deadline = self._clock() + info.resume_window
                    patch = Patch(state=State.INTERRUPTED, reason="fenced", deadline=deadline)
                    await self._commit(stream, put=self._patched(info, patch))
                raise OffsetMismatch(stream.durable)
            epoch = info.epoch + 1
            writer = self._attach(stream, epoch=epoch, replaced=False)
            live = replace(
                info, state=State.LIVE, reason="", deadline=None, epoch=epoch, version=info.version + 1
            )
            await self._commit(stream, put=live)
            return writer

    def _attach(self, stream: Stream, *, epoch: int, replaced: bool) -> FilesWriter:
        writer = FilesWriter(
            stream, self._commits, self._bounds, epoch=epoch, replaced=replaced, close=self._close_writer
        )
        stream.writer = writer
        return writer

    def _abandon(self, writer: FilesWriter) -> None:
        """Whoever asked for this writer is gone."""
        if writer.error is None:
            self._start(self._interrupt(writer.stream, "producer lost"))

    async def _close_writer(self, writer: FilesWriter, patch: Patch) -> Info:
        if patch.state is None or patch.state is State.LIVE:
            raise ValueError("a writer closes into a state other than live")
        return await self._finish(self._close_stream(writer, patch))

    async def _close_stream(self, writer: FilesWriter, patch: Patch) -> Info:
        stream = writer.stream
        async with stream.lock:
            if writer.error:
                raise writer.error
            await self._commit(stream, put=self._patched(stream.info, patch))
            stream.writer = None
            return stream.view

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        """See Store."""
        return await self._finish(self._change(key, patch, version))

    async def _change(self, key: str, patch: Patch, version: int) -> Info:
        stream = self._stream(key)
        try:
            async with stream.lock:
                self._check_open(stream)
                info = stream.info
                if info.version != version:
                    raise VersionMismatch(f"The stream with ID {info.id} was changed by someone else.")
                if patch.state and (patch.state is State.LIVE or patch.state not in TRANSITIONS[info.state]):
                    raise Conflict(
                        f"The stream with ID {info.id} is {info.state}; it cannot become {patch.state}."
                    )
                if patch.state:
                    stream.lose_writer(Fenced(f"The stream with ID {info.id} is now {patch.state}."))
                await self._commit(stream, put=self._patched(info, patch))
                return stream.view
        finally:
            self._table.release(stream)

    async def delete(self, key: str) -> None:
        """See Store."""
        await self._finish(self._delete(key))

    async def _delete(self, key: str) -> None:
        stream = self._stream(key)
        async with stream.lock:
            if stream.error:
                raise StreamNotFound(stream.info.id)
            await self._commit(stream, drop=stream)

    def _patched(self, info: Info, patch: Patch) -> Info:
        info = replace(info, version=info.version + 1, metadata=patch.metadata or info.metadata)
        if patch.state is None:
            return info
        ended = self._clock() if patch.state.final else None
        return replace(info, state=patch.state, reason=patch.reason, deadline=patch.deadline, ended=ended)

    async def _interrupt(self, stream: Stream, reason: str) -> None:
        """Nobody produces any more; what was accepted stays."""
        async with stream.lock:
            if stream.error is None and stream.info.state is State.LIVE:
                stream.lose_writer(
                    self._failure or StoreStopped(f"The server let go of the stream: {reason}.")
                )
                deadline = self._clock() + stream.info.resume_window
                patch = Patch(state=State.INTERRUPTED, reason=reason, deadline=deadline)
                await self._commit(stream, put=self._patched(stream.info, patch))

    async def _commit(self, stream: Stream, *, put: Info | None = None, drop: Stream | None = None) -> None:
        if self._failure:
            raise self._failure
        await self._commits.submit(stream, put=put, drop=drop)

    async def _finish(self, work: Coroutine[Any, Any, T], orphan: Callable[[T], None] | None = None) -> T:
        task = self._start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if orphan is not None:
                task.add_done_callback(lambda done: done.exception() or orphan(done.result()))
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

    # Looking things up, reading and following.

    async def info(self, id: str) -> Info:
        """See Store."""
        self._check()
        stream = self._table.by_id(id)
        if stream is None:
            raise StreamNotFound(id)
        info = stream.view
        self._table.release(stream)
        return info

    def find(self, query: Query) -> AsyncIterator[Info]:
        """See Store."""
        self._check()
        return listing(self._table, self._parts.catalog.path, self._threads, query)

    async def due(self, now: float) -> list[Info]:
        """See Store."""
        self._check()
        due = [
            (stream.info.deadline, stream.number, stream)
            for stream in self._table.unfinished()
            if stream.info.deadline is not None and stream.info.deadline <= now and stream.writer is None
        ]
        return [stream.view for _, _, stream in sorted(due)[:DUE]]

    async def open(self, key: str) -> FilesContent:
        """See Store."""
        self._check()
        stream = self._stream(key)
        stream.opened += 1
        files = self._parts.content
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                self._threads, lambda: files.pin(stream.number, exists=stream.filed > 0)
            )
        except OSError as error:
            stream.opened -= 1
            self._table.release(stream)
            if error.errno in OUT_OF_FILES:
                raise Busy("The server has too many files open; try again later.") from error
            raise StreamDamaged(
                f"The stored bytes of the stream with ID {stream.info.id} are missing."
            ) from error
        return FilesContent(stream, files, self._threads, self._table.release)

    async def follow(self, key: str, sink: Sink) -> Following:
        """See Store."""
        self._check()
        return Following(self._stream(key), sink, self._table.release)

    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        """See Store."""
        self._check()
        return Watching(self._watchers, callback)

    def health(self) -> Health:
        """See Store."""
        return Health("files", self._durability, self._failure is None, str(self._failure or ""))

    async def stopped(self) -> LoomError:
        """See Store."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    def _stream(self, key: str) -> Stream:
        self._check()
        stream = self._table.by_key(key)
        if stream is None:
            raise StreamNotFound(key)
        return stream

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _check_open(self, stream: Stream) -> None:
        """A change came while another was waited for."""
        self._check()
        if stream.error:
            raise StreamNotFound(stream.info.id)
        if stream.info.state.final:
            raise StreamFinal(
                f"The stream with ID {stream.info.id} is {stream.info.state}; nothing can be added."
            )

    # What the committer says: told to writers, followers and watchers once it is durable.

    def _on_batch(self, batch: Batch) -> None:
        for write in batch.writes:
            stream = write.stream
            if write.error is not None:
                self._fail_stream(stream, write.error.strerror or "unknown error", batch.ops)
            elif stream.error is None:
                stream.grown(write.chunks, filed=write.large)
                self._table.changed(stream)
                self._images.note(stream, large=write.size if write.large else 0)
        for op in batch.ops:
            if not op.done.done():
                self._apply(op)
        if self._parts.log.usage() >= 0.5:
            self._images.want_checkpoint()

    def _apply(self, op: Op) -> None:
        if op.drop is not None:
            before = op.drop.view
            self._table.drop(op.drop)
            self._commits.forget(op.drop)
            op.drop.end(StreamGone(f"The stream with ID {before.id} was deleted or replaced."))
            self._tell(ChangeKind.DELETED, before)
        if op.put is not None:
            op.stream.turn(op.put)
            self._table.changed(op.stream)
            if op.put.version == 1:
                self._tell(ChangeKind.CREATED, op.stream.view)
            elif op.put.state.final:
                self._tell(ChangeKind.CLOSED, op.stream.view)
        op.done.set_result(None)

    def _tell(self, kind: ChangeKind, info: Info) -> None:
        change = Change(kind, info)
        for callback in tuple(self._watchers):
            callback(change)

    def _lose_content(self, stream: Stream) -> None:
        logger.error("stored bytes of stream %r (key %s) are missing", stream.info.id, stream.info.key)
        stream.lose_content()
        if not stream.info.state.final:
            self._fail_stream(stream, "stored bytes are missing")

    def _fail_stream(self, stream: Stream, reason: str, ops: Sequence[Op] = ()) -> None:
        """Bytes that were accepted cannot be stored: the stream ends at its durable size."""
        error = StreamFailed(f"The stream with ID {stream.info.id} could not be stored further: {reason}.")
        for op in ops:
            if op.stream is stream:
                op.fail(error)
        self._commits.forget(stream)
        stream.halt(error)
        self._start(self._abort(stream, f"not stored: {reason}"))

    async def _abort(self, stream: Stream, reason: str) -> None:
        async with stream.lock:
            if stream.error is None and not stream.info.state.final:
                await self._commit(
                    stream, put=self._patched(stream.info, Patch(state=State.ABORTED, reason=reason))
                )

    # The end.

    def _stop(self, error: BaseException) -> None:
        if self._failure is not None:
            return
        logger.critical("the store has stopped", exc_info=error)
        self._failure = (
            error if isinstance(error, LoomError) else StoreStopped("The store has stopped: it failed.")
        )
        self._let_go(self._failure)
        self._failed.set()

    def _let_go(self, error: LoomError) -> None:
        for stream in self._table.all():
            self._commits.forget(stream)
            stream.end(error)

    async def close(self) -> None:
        """See Store."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._failure is None:
            for stream in self._table.unfinished():
                self._start(self._interrupt(stream, "server stopped"))
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._commits.drain()
        await self._images.close()
        self._commits.close()
        if self._failure is None:
            self._failure = StoreStopped("The store is closed.")
            self._let_go(self._failure)
        self._threads.shutdown()
        await asyncio.to_thread(self._parts.close)


class Watching:
    """A callback for changes, until closed."""

    def __init__(self, watchers: list[Callable[[Change], None]], callback: Callable[[Change], None]) -> None:
        self._watchers = watchers
        self._callback = callback
        self._open = True
        watchers.append(callback)

    def close(self) -> None:
        """Call no more. May be repeated."""
        if self._open:
            self._open = False
            self._watchers.remove(self._callback)

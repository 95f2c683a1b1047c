"""The files store: durable streams in one directory, owned by one process.

Puts the parts together and keeps the contract's rules; each part says what it owns. All state belongs
to the event loop, threads work on what it hands them.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from loom.errors import (
    Busy,
    LoomError,
    StoreStopped,
    StreamDamaged,
    StreamFailed,
    StreamNotFound,
)
from loom.model import Change, ChangeKind, Clock, Info, NewStream, Patch, Query
from loom.store import rules
from loom.store.base import Health, Sink, Store, Subscription, Usage
from loom.store.files.catalog import CatalogReader, nearest
from loom.store.files.changes import Changes
from loom.store.files.commit import Batch, Commits
from loom.store.files.content import ContentLost
from loom.store.files.disk import Disk
from loom.store.files.images import OUT_OF_FILES, Images
from loom.store.files.listing import count, expired, listing
from loom.store.files.log import SEGMENT_SIZE
from loom.store.files.parts import Parts, open_parts
from loom.store.files.reading import FilesContent
from loom.store.files.stream import Following, Op, Stream
from loom.store.files.table import Table
from loom.store.files.writer import Bounds, FilesWriter
from loom.store.places import LinePlace, Moment, offset_of

T = TypeVar("T")
logger = logging.getLogger("loom.store")


class FilesStore(Store):
    """See Store. Made by `FilesStore.start`."""

    def __init__(
        self,
        parts: Parts,
        *,
        durability: str,
        clock: Clock,
        bounds: Bounds,
        min_free: tuple[int, int],
        on_commit: Callable[[float], None],
    ) -> None:
        self._parts = parts
        self._durability = durability
        self._clock = clock
        self._failed = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._watchers: dict[Watching, None] = {}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="loom-read")
        self._table = Table(parts.reader, parts.recovered)
        self._commits = Commits(
            parts.log,
            parts.content,
            flush=durability == "disk",
            on_commit=on_commit,
            on_batch=self._on_batch,
            on_failure=self._stop,
            needs_checkpoint=lambda: self._images.want_checkpoint(),
            exhausted=lambda: self._images.exhausted,
        )
        self._images = Images(
            parts.disk,
            parts.content,
            parts.catalog,
            self._table,
            min_free=min_free,
            lsn=lambda: self._commits.lsn,
            release=self._commits.release,
            on_unwritten=self._on_unwritten,
            on_failure=self._stop,
        )
        self._changes = Changes(
            self._table, self._commits, clock=clock, bounds=bounds, full=lambda: self._images.full
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
        on_commit: Callable[[float], None] = lambda seconds: None,
    ) -> "FilesStore":
        """Open a data directory, making it if it is not there, and recover it.

        `on_commit` is told how long each commit took, in the committer thread.

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
            on_commit=on_commit,
        )

    async def create(self, new: NewStream, *, replace: bool = False) -> FilesWriter:
        """See Store."""
        return await self._changes.create(new, replace=replace)

    async def resume(self, key: str, offset: int, *, epoch: int | None = None) -> FilesWriter:
        """See Store."""
        return await self._changes.resume(key, offset, epoch)

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        """See Store."""
        return await self._changes.change(key, patch, version=version)

    async def delete(self, key: str) -> None:
        """See Store."""
        await self._changes.delete(key)

    async def info(self, id: str) -> Info:
        """See Store."""
        self._changes.check()
        stream = self._table.by_id(id)
        if stream is None:
            raise StreamNotFound(id)
        info = stream.view
        self._table.release(stream)
        return info

    def find(self, query: Query) -> AsyncIterator[Info]:
        """See Store."""
        self._changes.check()
        return listing(self._table, self._parts.catalog.path, self._threads, query)

    async def due(self, now: float) -> list[Info]:
        """See Store."""
        self._changes.check()
        due = [
            (rules.due_at(stream.info), stream.number, stream)
            for stream in self._table.unfinished()
            if rules.due_at(stream.info) <= now and stream.writer is None
        ]
        return [stream.view for _, _, stream in sorted(due)[: rules.AT_ONCE]]

    async def expired(self, now: float) -> list[Info]:
        """See Store."""
        self._changes.check()
        return await expired(self._table, self._parts.catalog.path, self._threads, now)

    async def open(self, key: str) -> FilesContent:
        """See Store."""
        stream = self._changes.stream(key)
        stream.opened += 1
        files = self._parts.content
        pinning = self._threads.submit(files.pin, stream.number, exists=stream.filed > 0)
        try:
            await asyncio.wrap_future(pinning)
        except BaseException as error:
            stream.opened -= 1
            self._table.release(stream)
            if not isinstance(error, OSError):  # the caller went away

                def unpin(done: Future[None]) -> None:
                    if not done.cancelled() and done.exception() is None:
                        files.unpin(stream.number)

                pinning.add_done_callback(unpin)
                raise
            if stream.error:
                raise StreamNotFound(stream.info.id) from error
            if error.errno in OUT_OF_FILES:
                raise Busy("The server has too many files open; try again later.") from error
            raise StreamDamaged(
                f"The stored bytes of the stream with ID {stream.info.id} are missing."
            ) from error
        return FilesContent(stream, files, self._threads, self._table.release)

    async def place(self, key: str, line: int) -> LinePlace:
        """See Store."""
        stream = self._changes.stream(key)
        place = self._parts.reader.place(stream.number, line)
        self._table.release(stream)
        return nearest(place, stream.marks, line)

    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        """See Store."""
        stream = self._changes.stream(key)
        recent = list(stream.marks)
        self._table.release(stream)

        def find() -> list[LinePlace]:
            with contextlib.closing(CatalogReader(self._parts.catalog.path)) as reader:
                return reader.places(stream.number, recent, stream.info.created, lines, count)

        return await asyncio.get_running_loop().run_in_executor(self._threads, find)

    async def offset_at(self, key: str, when: float) -> int:
        """See Store."""
        stream = self._changes.stream(key)
        size = stream.durable
        moments = [Moment(stream.info.created, 0), *self._parts.reader.moments(stream.number, when)]
        moments += [each for each in stream.marks if isinstance(each, Moment)]
        self._table.release(stream)
        return offset_of(moments, when, size)

    async def follow(self, key: str, sink: Sink) -> Following:
        """See Store."""
        return Following(self._changes.stream(key), sink, self._table.release)

    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        """See Store."""
        self._changes.check()
        return Watching(self._watchers, callback)

    def health(self) -> Health:
        """See Store."""
        return Health(
            "files", self._durability, self._changes.failure is None, str(self._changes.failure or "")
        )

    @property
    def size(self) -> int:
        """See Store."""
        return self._table.size + self._commits.in_flight

    @property
    def full(self) -> bool:
        """See Store."""
        return self._images.full

    async def usage(self) -> Usage:
        """See Store."""
        self._changes.check()
        return await count(self._table, self._parts.catalog.path, self._threads, self._parts.disk)

    async def wait_stopped(self) -> LoomError:
        """See Store."""
        await self._failed.wait()
        assert self._changes.failure is not None
        return self._changes.failure

    # What the committer says: told to writers, followers and watchers once it is durable.

    def _on_batch(self, batch: Batch) -> None:
        if self._changes.failure is not None:  # images failed meanwhile: it may be durable, nobody is told
            for op in batch.ops:
                op.fail(self._changes.failure)
            return
        now = self._clock()
        for write in batch.writes:
            stream = write.stream
            if write.error is not None:
                self._fail_stream(stream, write.error, batch.ops)
            elif stream.error is None:
                stream.arrived(now)
                stream.grown(write.chunks, filed=write.large)
                self._table.size += write.size
                if write.large and write.count is not None:
                    stream.counted(write.count, write.places)
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
            self._table.size -= before.size
            self._commits.forget(op.drop)
            op.drop.end(rules.gone(before))
            self._tell(ChangeKind.DELETED, before)
        if op.put is not None:
            ends = rules.closes(op.stream.info, op.put)
            op.stream.turn(op.put)
            self._table.changed(op.stream)
            if op.put.version == 1:
                self._tell(ChangeKind.CREATED, op.stream.view)
            elif ends:
                self._tell(ChangeKind.CLOSED, op.stream.view)
        op.done.set_result(None)

    def _tell(self, kind: ChangeKind, info: Info) -> None:
        change = Change(kind, info)
        for watching in tuple(self._watchers):
            if watching in self._watchers:
                watching.callback(change)

    def _on_unwritten(self, stream: Stream, error: OSError) -> None:
        """What is committed could not be written to the content file; it is tried again if that can help."""
        if isinstance(error, ContentLost):
            logger.error("stored bytes of stream %r (key %s) are missing", stream.info.id, stream.info.key)
            stream.lose_content()
        if error.errno not in OUT_OF_FILES:
            self._abort(stream, error)

    def _fail_stream(self, stream: Stream, error: OSError, ops: Sequence[Op]) -> None:
        """Bytes that were accepted cannot be stored: the stream ends at its durable size."""
        failed = unstored(stream, error)
        for op in ops:
            if op.stream is stream:
                op.fail(failed)
        self._commits.forget(stream)
        stream.halt(failed)
        self._abort(stream, error)

    def _abort(self, stream: Stream, error: OSError) -> None:
        self._changes.abort(stream, unstored(stream, error), f"not stored: {error.strerror}")

    # The end.

    def _stop(self, error: BaseException) -> None:
        if self._changes.failure is not None:
            return
        logger.critical("the store has stopped", exc_info=error)
        self._changes.failure = (
            error if isinstance(error, LoomError) else StoreStopped("The store has stopped: it failed.")
        )
        self._commits.halt()
        self._images.halt()
        self._let_go(self._changes.failure)
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
        await self._changes.settle()
        await self._commits.drain()
        await self._images.close()
        self._commits.close()
        if self._changes.failure is None:
            self._changes.failure = rules.closed()
            self._let_go(self._changes.failure)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._parts.close)


def unstored(stream: Stream, error: OSError) -> StreamFailed:
    """What to tell the producer."""
    return StreamFailed(f"The stream with ID {stream.info.id} could not be stored further: {error.strerror}.")


class Watching:
    """A callback for changes, until closed."""

    def __init__(self, watchers: "dict[Watching, None]", callback: Callable[[Change], None]) -> None:
        self.callback = callback
        self._watchers = watchers
        watchers[self] = None

    def close(self) -> None:
        """Call no more. May be repeated."""
        self._watchers.pop(self, None)

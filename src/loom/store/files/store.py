"""The files store: durable streams in one directory, owned by one process.

Assembles the parts; the docstring of each states what it owns. The event loop owns all state, and threads
work on what it passes to them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from loom.errors import Busy, LoomError, StreamDamaged, StreamNotFound
from loom.model import Change, Clock, Folder, Info, NewStream, Patch, Query
from loom.store.base import Admit, Decide, Health, Sink, Store, Subscription, Usage, admit_all
from loom.store.files.additions import Additions
from loom.store.files.changes import Changes
from loom.store.files.checkpoints import Checkpoints
from loom.store.files.commit import Commits
from loom.store.files.disk import Disk
from loom.store.files.images import NO_SPACE, OUT_OF_FILES, Images
from loom.store.files.listing import Lists
from loom.store.files.log import SEGMENT_SIZE
from loom.store.files.parts import Parts, open_parts
from loom.store.files.publish import Publisher, unstored
from loom.store.files.queries import nearest
from loom.store.files.reading import FilesContent
from loom.store.files.stopping import StopState
from loom.store.files.stream import Following, Stream
from loom.store.files.table import Table
from loom.store.files.writer import Bounds, FilesWriter
from loom.store.holdings import Holdings
from loom.store.places import LinePlace, Moment, offset_of


class FilesStore(Store):
    """The Store in a data directory. Made by `FilesStore.start`."""

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
        self._closing: asyncio.Task[None] | None = None
        # None of these waits for the others.
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="loom-read")
        self._listers = ThreadPoolExecutor(2, thread_name_prefix="loom-list")
        self._index_readers = ThreadPoolExecutor(2, thread_name_prefix="loom-index")
        # Each part gets the parts that it uses. Only the two callbacks below call back into the store.
        self._stop = StopState()
        self._checkpoints = Checkpoints(parts.recovered.lsn)
        self._table = Table(parts.reader, parts.recovered)
        self._lists = Lists(self._table, parts.catalog.path, self._listers)
        self._images = Images(
            parts.disk,
            parts.content,
            parts.catalog,
            self._table,
            self._checkpoints,
            self._stop,
            min_free=min_free,
            ballast=parts.log.segment_size // 2,
            on_unstored=self._on_unstored,
        )
        self._publisher = Publisher(self._table, self._images, clock, self._on_unstored)
        self._commits = Commits(
            parts.log,
            parts.content,
            self._publisher,
            self._checkpoints,
            self._stop,
            flush=durability == "disk",
            on_commit=on_commit,
        )
        self._changes = Changes(
            self._table, self._commits, self._checkpoints, self._stop, clock=clock, bounds=bounds
        )
        self._additions = Additions(
            self._changes,
            self._table,
            parts.reader,
            self._commits,
            self._checkpoints,
            clock=clock,
            bounds=bounds,
        )
        self._stop.on_stop(self._on_stop)

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
        """Open a data directory and recover it; create it where it does not exist.

        `on_commit` is called in the committer thread with the seconds that each commit took.

        Raises ConfigError, whose text says what to do.
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

    async def create(self, new: NewStream, *, replace: bool = False, admit: Admit = admit_all) -> FilesWriter:
        return await self._changes.create(new, replace, admit)

    async def put(self, new: NewStream, *, admit: Admit = admit_all) -> Info:
        return await self._changes.put(new, admit)

    async def append(self, key: str, names: Collection[str], decide: Decide) -> Info:
        return await self._additions.append(key, names, decide)

    async def resume(
        self, key: str, offset: int, *, epoch: int | None = None, length: int | None = None
    ) -> FilesWriter:
        return await self._changes.resume(key, offset, epoch, length)

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        return await self._changes.change(key, patch, version=version)

    async def delete(self, key: str) -> None:
        await self._changes.delete(key)

    async def info(self, id: str) -> Info:
        self._stop.check()
        stream = self._table.by_id(id)
        if stream is None:
            raise StreamNotFound(id)
        info = stream.view
        self._table.release(stream)
        return info

    def find(self, query: Query) -> AsyncIterator[Info]:
        self._stop.check()
        return self._lists.find(query)

    async def folders(self, prefix: str) -> tuple[int, list[Folder]]:
        self._stop.check()
        return await self._lists.folders(prefix)

    async def due(self, now: float) -> list[Info]:
        self._stop.check()
        return await self._lists.due(now)

    async def expired(self, now: float) -> list[Info]:
        self._stop.check()
        return await self._lists.expired(now)

    async def open(self, key: str) -> FilesContent:
        stream = self._changes.stream(key)
        stream.opened += 1
        files = self._parts.content
        pinning = self._readers.submit(files.pin, stream.number, exists=stream.filed > 0)
        try:
            await asyncio.wrap_future(pinning)
        except BaseException as error:
            stream.opened -= 1
            self._table.release(stream)
            if not isinstance(error, OSError):  # the caller was cancelled

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
        return FilesContent(stream, files, self._readers, self._table.release)

    async def place(self, key: str, line: int) -> LinePlace:
        with self._using(key) as stream:
            return nearest(self._parts.reader.place(stream.number, line), stream.marks, line)

    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        with self._using(key) as stream:
            recent, number, created = list(stream.marks), stream.number, stream.info.created
        return await self._lists.read(
            lambda reader: reader.places(number, recent, created, lines, count), self._index_readers
        )

    async def moments(self, key: str, offset: int) -> list[Moment]:
        with self._using(key) as stream:
            recent, number, created = list(stream.marks), stream.number, stream.info.created
        return await self._lists.read(
            lambda reader: reader.moments(number, recent, created, offset), self._index_readers
        )

    async def offset_at(self, key: str, when: float) -> int:
        with self._using(key) as stream:
            around = self._parts.reader.moments_around(stream.number, when)
            recent = [each for each in stream.marks if isinstance(each, Moment)]
            return offset_of([Moment(stream.info.created, 0), *around, *recent], when, stream.durable)

    @contextlib.contextmanager
    def _using(self, key: str) -> Iterator[Stream]:
        """Look a stream up, and keep it in memory inside the context. Raises StreamNotFound."""
        stream = self._changes.stream(key)
        with self._table.held(stream):
            yield stream

    async def follow(self, key: str, sink: Sink) -> Following:
        return Following(self._changes.stream(key), sink, self._table.release)

    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        self._stop.check()
        return self._publisher.watch(callback)

    def health(self) -> Health:
        error = self._stop.error
        return Health("files", self._durability, error is None, str(error or ""))

    @property
    def size(self) -> int:
        return self._table.size + self._commits.in_flight

    @property
    def holdings(self) -> Holdings:
        return self._table.holdings

    @property
    def full(self) -> bool:
        return self._checkpoints.full

    async def usage(self) -> Usage:
        self._stop.check()
        return await self._lists.count(self._parts.disk)

    async def wait_stopped(self) -> LoomError:
        return await self._stop.wait_stopped()

    def _on_unstored(self, stream: Stream, error: OSError) -> None:
        """Abort a stream whose bytes could not be written to its content file.

        A shared stream with too little space stays open: meanwhile nothing more is added to it.
        """
        if stream.info.framing and error.errno in NO_SPACE:
            return
        self._changes.abort(stream, unstored(stream, error), f"not stored: {error.strerror}")

    def _on_stop(self) -> None:
        """Report the end of the store to every writer and follower."""
        assert self._stop.error is not None
        for stream in self._table.all():
            self._commits.forget(stream)
            stream.end(self._stop.error)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._changes.settle()
        await self._commits.drain()
        await self._images.close()
        self._commits.close()
        self._stop.close()
        for threads in (self._readers, self._listers, self._index_readers):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self._parts.close)

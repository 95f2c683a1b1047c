"""Images and checkpoints: content files and the catalog follow the commit log, off the
acknowledgement path.

Owns the thread that writes the catalog. An image writes what the log has made durable; a checkpoint
also flushes it, and releases the log up to there. What cannot be written for want of space stays in
memory and in the log and is tried again; what cannot be flushed stops the store.
"""

import asyncio
import contextlib
import errno
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from loom.store.files.catalog import Catalog, Row
from loom.store.files.content import ContentFiles, ContentLost
from loom.store.files.disk import Disk
from loom.store.files.stream import Stream
from loom.store.files.table import Table, row_of
from loom.store.places import Count, LinePlace, Mark

INTERVAL = 1.0
HURRY = 0.05
CHECKPOINT_AGE = 30.0
CHECKPOINT_BYTES = 256 << 20
COUNTED_AT_ONCE = 32 << 20
"""Bytes that a round reads back to count lines; at most, since checkpoints wait meanwhile."""
PIECE = 1 << 20
BALLAST = "ballast"
BALLAST_SIZE = 8 << 20
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


@dataclass(slots=True, eq=False)
class Image:
    """One round: what to write, and how that went. `lsn` is the newest commit it covers, `due` asks for a
    checkpoint. Of streams that are `behind`, lines are counted on, up to what their files held before.
    """

    lsn: int
    number: int
    due: bool
    rows: list[Row]
    changed: list[Stream]
    dropped: list[int]
    writes: list[tuple[Stream, int, list[bytes], Count | None]]
    marks: dict[int, list[Mark]]
    grains: dict[int, float]
    behind: list[tuple[Stream, Count | None, int]]
    counts: dict[Stream, tuple[Count, list[LinePlace]]] = field(default_factory=dict)
    failed: dict[Stream, OSError] = field(default_factory=dict)
    checkpoint: bool = False
    told: bool = False
    exhausted: bool = False
    full: bool = False


class Images:
    """The rounds and their thread.

    `lsn` says up to where is committed, `release` is awaited after each round with the lsn of the newest
    checkpoint, `on_unwritten` is called whenever a stream's bytes could not be written, `on_failure` once
    when a flush failed.
    """

    def __init__(
        self,
        disk: Disk,
        content: ContentFiles,
        catalog: Catalog,
        table: Table,
        *,
        min_free: tuple[int, int],
        lsn: Callable[[], int],
        release: Callable[[int], Awaitable[None]],
        on_unwritten: Callable[[Stream, OSError], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.full = False
        """Too little space is left: nothing new is to be taken."""
        self.exhausted = False
        """No space is left at all: the log cannot be released."""
        self._disk = disk
        self._content = content
        self._catalog = catalog
        self._table = table
        self._min_free = min_free
        self._lsn = lsn
        self._release = release
        self._on_unwritten = on_unwritten
        self._on_failure = on_failure
        self._recent: dict[Stream, None] = {}
        self._behind: dict[Stream, None] = {}
        self._large_bytes = 0
        self._checkpoint_at = time.monotonic() + CHECKPOINT_AGE
        self._checkpoint_lsn = lsn()
        self._wanted = self._missed = False
        self._closing = self._halted = False
        self._wake = asyncio.Event()
        self._wake.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-images")
        self._task = asyncio.create_task(self._run(), name="images")

    def note(self, stream: Stream, *, large: int = 0) -> None:
        """The stream has grown, by `large` bytes that are in its content file already."""
        self._large_bytes += large
        if stream.recent:
            self._recent[stream] = None
            if stream.durable - stream.filed >= 64 << 10:
                self._wake.set()

    def want_checkpoint(self) -> None:
        """Make room in the log soon."""
        self._wanted = True
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._closing:
                await asyncio.sleep(0 if self._wanted and not self._missed else HURRY)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), INTERVAL)
                self._wake.clear()
                await self._round(loop)
            self._wanted = True
            await self._round(loop)
        except Exception as error:
            self._on_failure(error)

    def halt(self) -> None:
        """The store has stopped: a checkpoint now could release what was not written."""
        self._closing = self._halted = True
        self._wake.set()

    async def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._halted:
            return
        image = self._prepare()
        await loop.run_in_executor(self._thread, self._write, image)
        await self._apply(image)

    def _prepare(self) -> Image:
        changed, dropped = self._table.take_changes()
        recent, self._recent = list(self._recent), {}
        for stream in changed:
            if stream.uncounted:
                self._hold(stream)
        lsn = self._lsn()
        due = self._wanted or self._large_bytes > CHECKPOINT_BYTES or time.monotonic() > self._checkpoint_at
        self._wanted = False
        return Image(
            lsn=lsn,
            number=self._table.number,
            due=due and lsn > self._checkpoint_lsn,
            rows=[row_of(stream) for stream in changed],
            changed=changed,
            dropped=dropped,
            writes=[
                (stream, stream.filed, list(stream.recent), stream.count)
                for stream in recent
                if stream.recent and stream.error is None
            ],
            marks={stream.number: list(stream.marks) for stream in changed if stream.marks},
            grains={stream.number: stream.dates.grain for stream in changed if stream.dates.coarser()},
            behind=[(stream, stream.count, stream.filed) for stream in self._behind],
        )

    def _hold(self, stream: Stream) -> None:
        """Keep the stream in memory until its lines are counted."""
        if stream not in self._behind:
            self._behind[stream] = None
            stream.opened += 1

    def _write(self, image: Image) -> None:
        """In the thread. Raises FlushFailed, OSError and sqlite3.Error where that has to stop the store."""
        for stream, offset, chunks, count in image.writes:
            try:
                self._content.write(stream.number, offset, chunks)
                self._content.trim()
                if count is not None and count.offset == offset:
                    image.counts[stream] = count.after(chunks)
            except OSError as error:
                if not (isinstance(error, ContentLost) or error.errno in NO_SPACE | OUT_OF_FILES):
                    raise
                image.failed[stream] = error
        for number in image.dropped:
            self._content.remove(number)
        image.exhausted = any(error.errno in NO_SPACE for error in image.failed.values())
        self._count(image)
        self._flush(image)
        if image.rows or image.dropped or image.checkpoint:
            image.told = self._tell(image)
        image.checkpoint = image.checkpoint and image.told
        self._look_at_space(image)

    def _count(self, image: Image) -> None:
        """Count on, where that is not done by who writes: after a start, and where two wrote at once."""
        left = COUNTED_AT_ONCE
        for stream, count, filed in image.behind:
            if stream in image.counts:
                continue
            count = count or self._catalog.counted(stream.number)
            places: list[LinePlace] = []
            with contextlib.suppress(OSError):  # who reads it is told
                while left > 0 and count.offset < filed:
                    piece = self._content.read(stream.number, count.offset, min(PIECE, filed - count.offset))
                    if not piece:
                        break
                    count, found = count.after([piece])
                    places += found
                    left -= len(piece)
            image.counts[stream] = count, places

    def _flush(self, image: Image) -> None:
        """Flush for a checkpoint and close what is too much; with no descriptor to do it with, next time."""
        unwritten = [each for each in image.failed.values() if not isinstance(each, ContentLost)]
        image.checkpoint = image.due and not unwritten
        try:
            if image.checkpoint:
                self._content.sync_all()
            self._content.trim()
        except OSError as error:
            if error.errno not in OUT_OF_FILES:
                raise
            image.checkpoint = False

    def _tell(self, image: Image) -> bool:
        lsn = image.lsn if image.checkpoint else None
        dropped = set(image.dropped)
        try:
            self._catalog.store(
                image.rows,
                image.dropped,
                image.number,
                marks={each: marks for each, marks in image.marks.items() if each not in dropped},
                grains=image.grains,
                checkpoint=lsn,
            )
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            image.exhausted = True
            return False
        return True

    def _look_at_space(self, image: Image) -> None:
        """With no space at all give up the ballast, so that ends and deletes can still be recorded."""
        space, inodes = self._disk.free()
        least, least_inodes = self._min_free
        if image.exhausted:
            self._disk.remove(BALLAST)
        elif self._disk.size(BALLAST) is None and space > least + 2 * BALLAST_SIZE:
            try:
                self._disk.reserve(BALLAST, BALLAST_SIZE)
            except OSError:
                self._disk.remove(BALLAST)
        short = space < least or (inodes is not None and inodes < least_inodes)
        image.full = image.exhausted or short

    async def _apply(self, image: Image) -> None:
        self.full, self.exhausted = image.full, image.exhausted
        for stream, (count, places) in image.counts.items():
            self._counted(stream, count, places)
        for stream, offset, chunks, _ in image.writes:
            if stream in image.failed:
                self._recent[stream] = None
                self._on_unwritten(stream, image.failed[stream])
            else:
                stream.imaged(offset, sum(map(len, chunks)))
                self.note(stream)
                self._table.release(stream)
        if image.told:
            self._forget_marks(image)
            self._table.told(image.dropped)
        else:
            self._table.give_back()
        self._missed = image.due and not image.checkpoint
        self._wanted = self._wanted or self._missed
        if image.checkpoint:
            self._large_bytes = 0
            self._checkpoint_at = time.monotonic() + CHECKPOINT_AGE
            self._checkpoint_lsn = image.lsn
        await self._release(self._checkpoint_lsn)

    def _counted(self, stream: Stream, count: Count, places: list[LinePlace]) -> None:
        before = stream.count
        stream.counted(count, places)
        if stream.error is None and stream.marks:
            self._table.changed(stream)
        if stream in self._behind and (
            stream.error is not None or not stream.uncounted or stream.count == before
        ):
            del self._behind[stream]
            stream.opened -= 1
            self._table.release(stream)

    def _forget_marks(self, image: Image) -> None:
        for stream in image.changed:
            del stream.marks[: len(image.marks.get(stream.number, ()))]

    async def close(self) -> None:
        """Write and flush a last round, so that the next start has nothing to replay; end the thread."""
        self._closing = True
        self._wake.set()
        await self._task
        self._thread.shutdown(wait=False)

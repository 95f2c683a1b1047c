"""Images and checkpoints: content files and the catalog follow the commit log, while producers are
acknowledged by the log alone.

Owns the thread that writes the catalog. A round writes what the log has made durable, once a second or
sooner. A checkpoint is a round that also flushes: everything up to its commit is then durable without the
log, whose segments may be reused. What cannot be written for lack of space stays in memory and in the log,
and the next round retries. A failed flush stops the store.
"""

import asyncio
import contextlib
import errno
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from loom.store.files.catalog import Catalog
from loom.store.files.checkpoints import Checkpoints
from loom.store.files.content import ContentFiles, ContentLost
from loom.store.files.disk import Disk
from loom.store.files.schema import Row
from loom.store.files.stopping import StopState
from loom.store.files.stream import Stream
from loom.store.files.table import Table, row_of
from loom.store.places import Count, LinePlace, Mark

INTERVAL = 1.0
HURRY = 0.05
CHECKPOINT_AGE = 30.0
CHECKPOINT_BYTES = 256 << 20
EARLY = 64 << 10
"""Bytes of one stream that are not in its content file and start a round before the interval ends."""
COUNTED_AT_ONCE = 32 << 20
"""Bytes that one round reads back at most to count lines, since checkpoints wait meanwhile."""
PIECE = 1 << 20
BALLAST = "ballast"
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
logger = logging.getLogger("loom.store")


@dataclass(slots=True, eq=False)
class Image:
    """One round: what to write, as the event loop took it, then the results of the thread.

    `lsn` is the newest commit that the image covers, `due` requests a checkpoint. Lines of `uncounted`
    streams are counted up to what their files held when the image was taken.
    """

    lsn: int
    number: int
    settled: int
    due: bool
    rows: list[Row]
    changed: list[Stream]
    dropped: list[int]
    writes: list[tuple[Stream, int, list[bytes], Count | None]]
    entries: dict[int, dict[str, str]]
    marks: dict[int, list[Mark]]
    grains: dict[int, float]
    uncounted: list[tuple[Stream, Count | None, int]]
    counts: dict[Stream, tuple[Count, list[LinePlace]]] = field(default_factory=dict)
    failed: dict[Stream, OSError] = field(default_factory=dict)
    checkpoint: bool = False
    stored: bool = False
    """The catalog has the rows."""
    exhausted: bool = False
    full: bool = False


class Images:
    """The rounds and their thread. `on_unstored` is called for a stream whose bytes could not be written."""

    def __init__(
        self,
        disk: Disk,
        content: ContentFiles,
        catalog: Catalog,
        table: Table,
        checkpoints: Checkpoints,
        stop: StopState,
        *,
        min_free: tuple[int, int],
        ballast: int,
        on_unstored: Callable[[Stream, OSError], None],
    ) -> None:
        self._disk = disk
        self._content = content
        self._catalog = catalog
        self._table = table
        self._checkpoints = checkpoints
        self._stop = stop
        self._min_free = min_free
        self._ballast = ballast
        self._on_unstored = on_unstored
        self._recent: dict[Stream, None] = {}
        self._uncounted: dict[Stream, None] = {}
        self._large_bytes = 0
        self._checkpoint_at = time.monotonic() + CHECKPOINT_AGE
        self._missed = False
        self._unindexed = True
        self._closing = False
        checkpoints.work.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-images")
        stop.on_stop(self._halt)
        self._task = asyncio.create_task(self._run(), name="images")

    def note(self, stream: Stream, *, large: int = 0) -> None:
        """Take note of durable bytes; `large` of them are in the content file already, but not flushed."""
        self._large_bytes += large
        if stream.recent:
            self._recent[stream] = None
            if stream.durable - stream.filed >= EARLY:
                self._checkpoints.work.set()

    async def _run(self) -> None:
        work = self._checkpoints.work
        try:
            while not self._closing:
                # Rounds have a pause between them, except that cycles may be waiting for this checkpoint. One
                # that was just missed has its pause: its reason, such as a full disk, will not be gone yet.
                await asyncio.sleep(0 if self._checkpoints.requested and not self._missed else HURRY)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(work.wait(), INTERVAL)
                work.clear()
                await self._round()
            self._checkpoints.request()
            await self._round()
            # That round may have counted lines. No later start would count those of a stream that has ended.
            await self._round()
        except Exception as error:
            self._stop.fail(error)

    def _halt(self) -> None:
        """Write nothing more."""
        self._closing = True
        self._checkpoints.work.set()

    async def _round(self) -> None:
        # After a failure a checkpoint could release segments whose bytes are nowhere else.
        if self._stop.error is None:
            image = self._prepare()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, image)
            self._apply(image)

    def _prepare(self) -> Image:
        """Take a consistent state: rows, bytes and the lsn they belong to, without an await between them."""
        changed, dropped = self._table.take_changes()
        recent, self._recent = list(self._recent), {}
        for stream in changed:
            if stream.uncounted:
                self._hold(stream)
        # Not the lsn of the log: the thread may have made durable what memory does not show yet, and a
        # checkpoint of that commit would release bytes that no image has.
        lsn = self._checkpoints.applied
        due = (
            self._checkpoints.requested
            or self._large_bytes > CHECKPOINT_BYTES
            or time.monotonic() > self._checkpoint_at
        )
        self._checkpoints.requested = False
        return Image(
            lsn=lsn,
            number=self._table.number,
            settled=self._table.settled,
            due=due and lsn > self._checkpoints.reached,
            rows=[row_of(stream) for stream in changed],
            changed=changed,
            dropped=dropped,
            writes=[
                (stream, stream.filed, list(stream.recent), stream.count)
                for stream in recent
                if stream.recent and stream.error is None
            ],
            entries={stream.number: dict(stream.ledger.ahead) for stream in changed if stream.ledger.ahead},
            marks={stream.number: list(stream.marks) for stream in changed if stream.marks},
            grains={stream.number: stream.dates.grain for stream in changed if stream.dates.coarser()},
            uncounted=[(stream, stream.count, stream.filed) for stream in self._uncounted],
        )

    def _hold(self, stream: Stream) -> None:
        """Keep the stream in memory until its lines are counted."""
        if stream not in self._uncounted:
            self._uncounted[stream] = None
            stream.opened += 1

    def _write(self, image: Image) -> None:
        """Write the image, in the thread. Raises FlushFailed, OSError and sqlite3.Error to stop the store.

        Order matters: content is written and flushed before the catalog commits that a checkpoint was
        reached, since from that commit on recovery starts after it.
        """
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
        # The log has the delete, so a crash between here and the catalog brings no stream back.
        for number in image.dropped:
            self._content.remove(number)
        image.exhausted = any(error.errno in NO_SPACE for error in image.failed.values())
        self._count(image)
        self._flush(image)
        if image.rows or image.dropped or image.checkpoint:
            image.stored = self._store(image)
        if not image.exhausted and self._unindexed:
            self._fill_members(image)
        image.checkpoint = image.checkpoint and image.stored
        self._look_at_space(image)

    def _count(self, image: Image) -> None:
        """Count lines that no writer has counted: after a start, and where two threads wrote at once."""
        left = COUNTED_AT_ONCE
        for stream, count, filed in image.uncounted:
            if stream in image.counts:
                continue
            count = count or self._catalog.counted(stream.number)
            places: list[LinePlace] = []
            with contextlib.suppress(OSError):  # reported to the readers of the stream
                while left > 0 and count.offset < filed:
                    piece = self._content.read(stream.number, count.offset, min(PIECE, filed - count.offset))
                    if not piece:
                        break
                    count, found = count.after([piece])
                    places += found
                    left -= len(piece)
            image.counts[stream] = count, places

    def _flush(self, image: Image) -> None:
        """Flush content for a checkpoint, and close spare files. Without a descriptor, do so next time."""
        # Bytes that are not in the file are in the log alone. Lost content is in neither and delays nothing.
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

    def _store(self, image: Image) -> bool:
        """Store the rows in the catalog; return False if the disk is full."""
        try:
            self._catalog.store(
                image.rows,
                image.dropped,
                image.number,
                settled=image.settled,
                entries=image.entries,
                marks=image.marks,
                grains=image.grains,
                checkpoint=image.lsn if image.checkpoint else None,
            )
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            image.exhausted = True
            return False
        return True

    def _fill_members(self, image: Image) -> None:
        """Bring the index of metadata forward, after the upgrade of a directory of an older version."""
        try:
            self._unindexed = self._catalog.fill_members()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            image.exhausted = True

    def _look_at_space(self, image: Image) -> None:
        """Release the ballast once no space is left, so that ends and deletes can still be recorded."""
        space, inodes = self._disk.free()
        least, least_inodes = self._min_free
        if image.exhausted:
            self._disk.remove(BALLAST)
        elif self._disk.size(BALLAST) is None and space > least + 2 * self._ballast:
            try:
                self._disk.reserve(BALLAST, self._ballast)
            except OSError:
                self._disk.remove(BALLAST)
        short = space < least or (inodes is not None and inodes < least_inodes)
        image.full = image.exhausted or short

    def _apply(self, image: Image) -> None:
        """Release what the image holds, and report the round."""
        for stream, (count, places) in image.counts.items():
            self._add_count(stream, count, places)
        self._checkpoints.full, self._checkpoints.exhausted = image.full, image.exhausted
        for stream, offset, chunks, _ in image.writes:
            if stream in image.failed:
                self._recent[stream] = None
                self._report_unwritten(stream, image.failed[stream])
            else:
                stream.add_filed(offset, sum(map(len, chunks)))
                self.note(stream)
                self._table.release(stream)
        if image.stored:
            for stream in image.changed:
                del stream.marks[: len(image.marks.get(stream.number, ()))]
                stream.ledger.forget(image.entries.get(stream.number, {}))
            self._table.caught_up(image.dropped)
        else:
            self._table.give_back()
        self._missed = image.due and not image.checkpoint
        self._checkpoints.requested |= self._missed
        if image.checkpoint:
            self._large_bytes = 0
            self._checkpoint_at = time.monotonic() + CHECKPOINT_AGE
            self._checkpoints.reached = image.lsn
        self._checkpoints.wake()
        if self._unindexed and not image.exhausted:
            self._checkpoints.work.set()

    def _report_unwritten(self, stream: Stream, error: OSError) -> None:
        """Abort a stream whose durable bytes cannot be written. For lack of descriptors, only retry."""
        if isinstance(error, ContentLost):
            logger.error("stored bytes of stream %r (key %s) are missing", stream.info.id, stream.info.key)
            stream.lose_content()
        if error.errno not in OUT_OF_FILES:
            self._on_unstored(stream, error)

    def _add_count(self, stream: Stream, count: Count, places: list[LinePlace]) -> None:
        before = stream.count
        stream.add_count(count, places)
        if stream.error is None and stream.marks:
            self._table.changed(stream)
        # Release it once there is nothing to count, or nothing that can be read.
        if stream in self._uncounted and (
            stream.error is not None or not stream.uncounted or stream.count == before
        ):
            del self._uncounted[stream]
            stream.opened -= 1
            self._table.release(stream)

    async def close(self) -> None:
        """Make a last checkpoint, so that the next start has nothing to replay; end the thread."""
        self._closing = True
        self._checkpoints.work.set()
        await self._task
        self._thread.shutdown(wait=False)

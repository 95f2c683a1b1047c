"""Commit cycles: everything that changed since the last one becomes durable in one write and one
flush.

Owns the queue of what is to be committed and the committer thread, the only one that writes the log.
The event loop puts a batch together and applies it once it is durable; in between it belongs to the
thread. What a stream has much of goes to its content file first, is flushed there by a thread of its own
beside the cycles, so that no line waits for an upload, and is recorded by range and checksum only.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from loom.errors import StoreStopped
from loom.model import Info
from loom.store.files.content import ContentFiles
from loom.store.files.log import Log
from loom.store.files.records import Delete, Extent, Put, Record, digest_of, encode, encode_append
from loom.store.files.stream import Op, Stream
from loom.store.places import Count, LinePlace

LARGE = 256 << 10
OP_SIZE = 1024
STOPPED = StoreStopped("The store has stopped; nothing was changed for certain.")


@dataclass(slots=True, eq=False)
class Write:
    """Bytes of one stream at `offset`; a large one brings what its file lacks before them, from `filed`."""

    stream: Stream
    offset: int
    chunks: list[bytes]
    size: int
    large: bool
    filed: int
    recent: list[bytes]
    count: Count | None
    places: list[LinePlace] = field(default_factory=list)
    digest: int = 0
    error: OSError | None = None


@dataclass(slots=True)
class Batch:
    """What one cycle makes durable. Operations come behind all bytes."""

    writes: list[Write] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    lsn: int = 0


class Commits:
    """The queue and its thread.

    `on_commit` is told in the thread how many seconds each took, `on_batch` is called on the loop for each
    durable batch, `on_failure` once if the log or a flush failed: nothing is committed after that.
    `needs_checkpoint` is called while the log has no room. If `exhausted` says that none will come, the disk
    being full, bytes fail and what is left is for ends and deletes.
    """

    def __init__(
        self,
        log: Log,
        content: ContentFiles,
        *,
        flush: bool,
        on_commit: Callable[[float], None],
        on_batch: Callable[[Batch], None],
        on_failure: Callable[[BaseException], None],
        needs_checkpoint: Callable[[], None],
        exhausted: Callable[[], bool],
    ) -> None:
        self.in_flight = 0
        self.lsn = log.lsn
        """The newest commit that has been applied; the thread's may be ahead."""
        self._log = log
        self._content = content
        self._flush = flush
        self._on_commit = on_commit
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._needs_checkpoint = needs_checkpoint
        self._exhausted = exhausted
        self._budget = log.segment_size // 5
        self._large = min(LARGE, self._budget)
        self._marked: dict[Stream, None] = {}
        self._filing: dict[Stream, None] = {}  # large writes under way, up to their record
        self._filed: list[Write] = []  # those to be recorded
        self._behind: dict[Stream, None] = {}  # what waits for one of them
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._turns: list[asyncio.Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-commit")
        self._filer = ThreadPoolExecutor(1, thread_name_prefix="loom-file")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = self._halted = False
        self._task = asyncio.create_task(self._run(), name="commit cycles")

    def append(self, stream: Stream, data: bytes) -> None:
        """Queue bytes behind what the stream already has."""
        stream.pending.append(data)
        stream.accepted += len(data)
        self.in_flight += len(data)
        self._mark(stream)

    def submit(
        self, stream: Stream, *, put: Info | None = None, drop: Stream | None = None
    ) -> asyncio.Future[None]:
        """Queue a change behind what the stream already has; the future is done once it has been applied."""
        op = Op(stream, put, drop, asyncio.get_running_loop().create_future())
        if self._task.done():
            op.fail(STOPPED)
        else:
            stream.ops.append(op)
            self._mark(stream)
        return op.done

    def forget(self, stream: Stream) -> None:
        """Drop the stream's pending bytes: it has ended."""
        self.in_flight -= stream.accepted - stream.taken
        self._marked.pop(stream, None)
        self._behind.pop(stream, None)

    async def turn(self) -> None:
        """Wait for the end of a cycle."""
        waiter = asyncio.get_running_loop().create_future()
        self._turns.append(waiter)
        await waiter

    def _mark(self, stream: Stream) -> None:
        if stream in self._filing:
            self._behind[stream] = None
        else:
            self._marked[stream] = None
            self._work.set()

    async def _run(self) -> None:
        batch = Batch()
        loop = asyncio.get_running_loop()
        try:
            while not (self._closing and not self._marked and not self._filing):
                await self._work.wait()
                self._work.clear()
                while self._marked or self._filed:
                    batch = self._take(room=await self._make_room())
                    await loop.run_in_executor(self._thread, self._commit, batch)
                    self._apply(batch)
        except Exception as error:
            for op in batch.ops:
                op.fail(STOPPED)
            self._on_failure(error)
        finally:
            self._wake_turns()

    def halt(self) -> None:
        """The store has stopped: commit nothing more, not even what waits for room in the log."""
        self._closing = self._halted = True
        for stream in (*self._marked, *self._behind):
            for op in stream.ops:
                op.fail(STOPPED)
        for waiting in (self._marked, self._behind, self._filing, self._filed):
            waiting.clear()
        self._work.set()
        self._room.set()

    async def _make_room(self) -> bool:
        """Wait until the log can take a batch; False if it can take no bytes for want of disk space."""
        while not self._halted and not self._log.room(self._log.segment_size // 4 * 3):
            if self._exhausted() and self._log.room(self._budget):
                return False
            self._room.clear()
            self._needs_checkpoint()
            await self._room.wait()
        return True

    def _take(self, *, room: bool) -> Batch:
        batch = Batch(self._filed)
        self._filed = []
        if room:  # before any operation may drop one of them
            for stream in [each for each in self._marked if each.accepted - each.taken >= self._large]:
                if stream not in self._filing:
                    self._file(stream)
        small = ops = self._budget
        for stream in tuple(self._marked):
            if stream in self._filing or (stream.ops and stream.ops[0].drop in self._filing):
                self._behind[stream] = self._marked.pop(stream)
                continue
            size = stream.accepted - stream.taken
            if size and not room:
                batch.writes.append(self._take_bytes(stream, size, large=True))
                batch.writes[-1].error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            elif 0 < size <= small:
                small -= size
                batch.writes.append(self._take_bytes(stream, size, large=False))
            while stream.ops and not stream.pending and ops > 0:
                op = stream.ops.popleft()
                op.size = stream.taken
                ops -= most_bytes(op)
                batch.ops.append(op)
            if not stream.pending and not stream.ops:
                del self._marked[stream]
            if small <= 0 or ops <= 0:
                break
        return batch

    def _take_bytes(self, stream: Stream, size: int, *, large: bool) -> Write:
        chunks, stream.pending = stream.pending, []
        if not large and len(chunks) > 1:
            chunks = [b"".join(chunks)]
        write = Write(
            stream,
            stream.taken,
            chunks,
            size,
            large,
            stream.filed,
            list(stream.recent) if large else [],
            stream.count,
        )
        stream.taken += size
        return write

    def _commit(self, batch: Batch) -> None:
        """In the thread: make the batch durable, but for writes that have failed."""
        failed = {write.stream for write in batch.writes if write.error}
        parts: list[bytes] = []
        for write in batch.writes:
            number = write.stream.number
            if not write.large:
                parts += encode_append(number, write.offset, write.chunks)
            elif write.error is None:
                parts += encode(Extent(number, write.offset, write.size, write.digest))
        for op in batch.ops:
            if op.stream not in failed:
                for record in records_of(op):
                    parts += encode(record)
        if parts:
            begun = time.perf_counter()
            batch.lsn = self._log.append([b"".join(parts)])
            self._on_commit(time.perf_counter() - begun)

    def _file(self, stream: Stream) -> None:
        """Bring much to its content file; until it is recorded, what comes behind it waits."""
        self._filing[stream] = None
        write = self._take_bytes(stream, stream.accepted - stream.taken, large=True)
        task = asyncio.create_task(self._record(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, write: Write) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._filer, self._write_content, write)
        except Exception as error:
            self._on_failure(error)
        if not self._halted:
            self._filed.append(write)
            self._work.set()

    def _write_content(self, write: Write) -> None:
        """In the filing thread: make the bytes durable in the content file, or mark the write as failed."""
        number = write.stream.number
        try:
            self._content.write(number, write.filed, write.recent + write.chunks)
            if self._flush:
                self._content.sync(number)
            write.digest = digest_of(write.chunks)
            if write.count is not None and write.count.offset == write.filed:
                write.count, write.places = write.count.after(write.recent + write.chunks)
        except OSError as error:
            write.error = error
            with contextlib.suppress(OSError):
                self._content.cut(number, write.offset)

    def _apply(self, batch: Batch) -> None:
        self.lsn = batch.lsn or self.lsn
        for write in batch.writes:
            self.in_flight -= write.size
            self._filing.pop(write.stream, None)
        if any(write.large for write in batch.writes):
            self._marked |= self._behind
            self._behind.clear()
        self._on_batch(batch)
        self._wake_turns()

    def _wake_turns(self) -> None:
        turns, self._turns = self._turns, []
        for waiter in turns:
            if not waiter.done():
                waiter.set_result(None)

    async def release(self, lsn: int) -> None:
        """Up to this lsn nothing needs the log any more; who waits for room looks again."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._log.release, lsn)
        self._room.set()

    async def drain(self) -> None:
        """Commit what is queued and take nothing more."""
        self._closing = True
        self._work.set()
        await self._task
        if self._tasks:  # after a failure; the files are about to be closed
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """End the threads, which have nothing more to do."""
        self._thread.shutdown(wait=False)
        self._filer.shutdown(wait=False)


def most_bytes(op: Op) -> int:
    """What an operation takes in the log at most: JSON writes a character as up to twelve."""
    put = op.put
    texts = (put.id, put.metadata, put.content_type, put.reason, put.idempotency_key) if put else ()
    return OP_SIZE + 12 * sum(map(len, texts))


def records_of(op: Op) -> list[Record]:
    """What the log has to say of an operation: what goes before what comes."""
    records: list[Record] = []
    if op.drop is not None:
        records.append(Delete(op.drop.number))
    if op.put is not None:
        records.append(Put(op.stream.number, replace(op.put, size=op.size)))
    return records

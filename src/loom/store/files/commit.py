"""Commit cycles: everything that changed since the last one becomes durable in one write and one
flush.

Owns the queue of what is to be committed and the committer thread, the only one that writes the log.
The event loop puts a batch together and applies it once it is durable; in between it belongs to the
thread. A stream with much pending goes to its content file first, is flushed there, and is recorded by
range and checksum only.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from loom.errors import StoreStopped
from loom.model import Info
from loom.store.files.content import ContentFiles
from loom.store.files.log import Log
from loom.store.files.records import Delete, Extent, Put, Record, digest_of, encode, encode_append
from loom.store.files.stream import Op, Stream

LARGE = 256 << 10
LARGE_BATCH = 16 << 20
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
    error: OSError | None = None


@dataclass(slots=True)
class Batch:
    """What one cycle makes durable. Operations come behind all bytes."""

    writes: list[Write] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    lsn: int = 0


class Commits:
    """The queue and its thread.

    `on_batch` is called on the loop for each durable batch, `on_failure` once if the log or a flush failed:
    nothing is committed after that. `needs_checkpoint` is called while the log has no room. If `exhausted`
    says that none will come, the disk being full, bytes fail and what is left is for ends and deletes.
    """

    def __init__(
        self,
        log: Log,
        content: ContentFiles,
        *,
        flush: bool,
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
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._needs_checkpoint = needs_checkpoint
        self._exhausted = exhausted
        self._budget = log.segment_size // 5
        self._large = min(LARGE, self._budget)
        self._marked: dict[Stream, None] = {}
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._turns: list[asyncio.Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-commit")
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

    async def turn(self) -> None:
        """Wait for the end of a cycle."""
        waiter = asyncio.get_running_loop().create_future()
        self._turns.append(waiter)
        await waiter

    def _mark(self, stream: Stream) -> None:
        self._marked[stream] = None
        self._work.set()

    async def _run(self) -> None:
        batch = Batch()
        loop = asyncio.get_running_loop()
        try:
            while not (self._closing and not self._marked):
                await self._work.wait()
                self._work.clear()
                while self._marked:
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
        for stream in self._marked:
            for op in stream.ops:
                op.fail(STOPPED)
        self._marked.clear()
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
        batch = Batch()
        small = ops = self._budget
        large = LARGE_BATCH
        for stream in tuple(self._marked):
            size = stream.accepted - stream.taken
            if size and not room:
                batch.writes.append(self._take_bytes(stream, size, large=True))
                batch.writes[-1].error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            elif size >= self._large and large > 0:
                large -= size
                batch.writes.append(self._take_bytes(stream, size, large=True))
            elif 0 < size <= small and size < self._large:
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
            stream, stream.taken, chunks, size, large, stream.filed, list(stream.recent) if large else []
        )
        stream.taken += size
        return write

    def _commit(self, batch: Batch) -> None:
        """In the thread: make the batch durable, but for writes that it marks as failed."""
        large = [write for write in batch.writes if write.large]
        for write in large:
            self._try(
                write,
                lambda each: self._content.write(each.stream.number, each.filed, each.recent + each.chunks),
            )
        for write in large if self._flush else ():
            self._try(write, lambda each: self._content.sync(each.stream.number))
        failed = {write.stream for write in large if write.error}
        parts: list[bytes] = []
        for write in batch.writes:
            number = write.stream.number
            if not write.large:
                parts += encode_append(number, write.offset, write.chunks)
            elif write.error is None:
                parts += encode(Extent(number, write.offset, write.size, digest_of(write.chunks)))
        for op in batch.ops:
            if op.stream not in failed:
                for record in records_of(op):
                    parts += encode(record)
        if parts:
            batch.lsn = self._log.append([b"".join(parts)])

    def _try(self, write: Write, act: "Callable[[Write], None]") -> None:
        if write.error is None:
            try:
                act(write)
            except OSError as error:
                write.error = error
                with contextlib.suppress(OSError):
                    self._content.cut(write.stream.number, write.offset)

    def _apply(self, batch: Batch) -> None:
        self.lsn = batch.lsn or self.lsn
        for write in batch.writes:
            self.in_flight -= write.size
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

    def close(self) -> None:
        """End the thread, which has nothing more to do."""
        self._thread.shutdown(wait=False)


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

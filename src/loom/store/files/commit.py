"""Commit cycles: everything that changed since the last one becomes durable by one write and one flush.

Owns the queue of what is to be committed and the committer thread, the only one that writes the log. The
event loop assembles a batch, the thread makes it durable, the event loop applies it: in between the batch
belongs to the thread, so there is no lock.

    append, submit -> pending bytes and ops of a stream, the stream is marked
    _take          -> a batch of what is marked        (event loop)
    _commit        -> one frame of the log, flushed    (committer thread)
    _apply         -> what readers and callers see     (event loop)

A large write bypasses the log: its bytes go to the content file, flushed by a thread of its own while cycles
continue, and only their range and checksum are committed. So no short append waits for an upload.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from loom.errors import StoreStopped
from loom.model import Info
from loom.store.files.batch import Batch
from loom.store.files.checkpoints import Checkpoints
from loom.store.files.content import ContentFiles
from loom.store.files.log import Log
from loom.store.files.publish import Publisher
from loom.store.files.records import digest_of
from loom.store.files.stopping import StopState
from loom.store.files.stream import Op, Stream, Write
from loom.store.files.worker import Worker

LARGE = 256 << 10
STOPPED = StoreStopped("The store has stopped; whether anything was changed is not known.")


class Commits:
    """The queue and its threads. `on_commit` is called in a thread with the seconds that a commit took."""

    def __init__(
        self,
        log: Log,
        content: ContentFiles,
        publisher: Publisher,
        checkpoints: Checkpoints,
        stop: StopState,
        *,
        flush: bool,
        on_commit: Callable[[float], None],
    ) -> None:
        self.in_flight = 0
        """Bytes accepted and not yet durable, of all streams."""
        self._log = log
        self._content = content
        self._publisher = publisher
        self._checkpoints = checkpoints
        self._stop = stop
        self._flush = flush
        self._on_commit = on_commit
        # A frame holds at most two budgets, the entries of one ledger and one change, and must fit into three
        # quarters of a segment.
        self._budget = log.segment_size // 5
        self._large = min(LARGE, self._budget)
        self.most_entries = self._large // 2
        """Bytes of pending entries of one ledger, in the log, from which on its writers wait."""
        self._marked: dict[Stream, None] = {}
        # A stream with a large write is in `_filing` until the write's record is durable. If it has more to
        # commit, it is in `_waiting` meanwhile: in the log that record has to come first.
        self._filing: dict[Stream, None] = {}
        self._filed: list[Write] = []
        self._waiting: dict[Stream, None] = {}
        self._work = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._committer = Worker("loom-commit")
        self._filer = Worker("loom-file")
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        stop.on_stop(self._halt)
        self._task = asyncio.create_task(self._run(), name="commit cycles")

    def append(self, stream: Stream, data: bytes) -> None:
        """Queue bytes after what the stream already has queued."""
        stream.pending.append(data)
        stream.accepted += len(data)
        self.in_flight += len(data)
        self._mark(stream)

    def add(self, stream: Stream, data: Sequence[bytes], entries: Mapping[str, str], growth: int) -> None:
        """Queue bytes together with entries, by which the ledger grows. Both become durable in one frame."""
        for piece in filter(None, data):
            self.append(stream, piece)
        if entries or any(data):
            stream.ledger.add(entries, growth)
            self._mark(stream)

    def submit(
        self, stream: Stream, *, put: Info | None = None, drop: Stream | None = None
    ) -> asyncio.Future[None]:
        """Queue a change after what the stream already has queued; the future ends once it is applied."""
        op = Op(stream, put, drop, asyncio.get_running_loop().create_future())
        if self._task.done():
            op.fail(STOPPED)
        else:
            stream.ops.append(op)
            self._mark(stream)
        return op.done

    def forget(self, stream: Stream) -> None:
        """Drop the pending bytes of a stream that has ended."""
        self.in_flight -= stream.accepted - stream.taken
        self._marked.pop(stream, None)
        self._waiting.pop(stream, None)

    async def wait_cycle(self) -> None:
        """Wait until a cycle ends."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _mark(self, stream: Stream) -> None:
        if stream in self._filing:
            self._waiting[stream] = None
        else:
            self._marked[stream] = None
            self._work.set()

    async def _run(self) -> None:
        batch = Batch()
        try:
            while not (self._closing and not self._marked and not self._filing):
                await self._work.wait()
                self._work.clear()
                while self._marked or self._filed:
                    batch = self._take(room=await self._make_room())
                    # While the thread flushes, the next batch gathers: a slow disk makes larger batches.
                    await self._committer.run(partial(self._commit, batch))
                    self._apply(batch)
        except Exception as error:
            for op in batch.ops:
                op.fail(STOPPED)
            self._stop.fail(error)
        finally:
            self._wake_waiters()

    def _halt(self) -> None:
        """Commit nothing more, not even what waits for room in the log."""
        self._closing = True
        for stream in (*self._marked, *self._waiting):
            for op in stream.ops:
                op.fail(STOPPED)
        for queue in (self._marked, self._waiting, self._filing, self._filed):
            queue.clear()
        self._work.set()
        self._checkpoints.wake()

    async def _make_room(self) -> bool:
        """Wait until the log can take any batch. Return False if it takes only changes, for a full disk."""
        while self._stop.error is None:
            # Safe here without a lock: between two commits the committer thread does not touch the log.
            self._log.release(self._checkpoints.reached)
            if self._log.room(self._log.segment_size // 4 * 3):
                break
            # With a full disk no checkpoint will release a segment. What is left of the log is kept for ends
            # and deletes, which fit into one budget, and which are what frees space.
            if self._checkpoints.exhausted and self._log.room(self._budget):
                return False
            self._checkpoints.request()
            await self._checkpoints.wait_round()
        return True

    def _take(self, *, room: bool) -> Batch:
        """Assemble the next batch. Without `room`, bytes are taken only to fail."""
        batch = Batch()
        small = ops = self._budget
        # Large writes whose bytes are durable in their files. Their records come first, each with the change
        # that may belong to it: an addition that ends its stream is stored as a whole.
        while self._filed and ops > 0:
            write = self._filed.pop(0)
            batch.writes.append(write)
            ops -= write.weight
            if all(op.drop is None for op in write.stream.ops):
                ops -= batch.take_ops(write.stream)
        # Large writes begin before any other change is taken: a change that drops such a stream must find it
        # in `_filing` and wait, else its content file would be removed under the filing thread.
        if room:
            for stream in [each for each in self._marked if each.accepted - each.taken >= self._large]:
                if stream not in self._filing:
                    self._file(stream)
        for stream in tuple(self._marked):
            if small <= 0 or ops <= 0:
                break
            if stream in self._filing or (stream.ops and stream.ops[0].drop in self._filing):
                self._waiting[stream] = self._marked.pop(stream)
                continue
            size = stream.accepted - stream.taken
            if size and not room:
                batch.writes.append(stream.take_bytes(large=True))
                batch.writes[-1].error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            elif stream.untaken and size <= small:
                write = stream.take_bytes(large=False)
                batch.writes.append(write)
                small -= size
                ops -= write.weight
            ops -= batch.take_ops(stream)
            if not stream.untaken and not stream.ops:
                del self._marked[stream]
        return batch

    def _commit(self, batch: Batch) -> None:
        """Make the batch durable, except for writes that have failed. In the committer thread."""
        if frame := batch.frame():
            begun = time.perf_counter()
            batch.lsn = self._log.append([frame])
            self._on_commit(time.perf_counter() - begun)

    def _file(self, stream: Stream) -> None:
        """Begin a large write: everything pending goes to the content file."""
        self._filing[stream] = None
        write = stream.take_bytes(large=True)
        task = asyncio.create_task(self._record(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, write: Write) -> None:
        """Write to the content file, then queue its record for the next cycle."""
        try:
            await self._filer.run(partial(self._write_content, write))
        except Exception as error:
            self._stop.fail(error)
        if self._stop.error is None:
            self._filed.append(write)
            self._work.set()

    def _write_content(self, write: Write) -> None:
        """Make the bytes durable in the content file, or mark the write as failed. In the filing thread."""
        number = write.stream.number
        # The file may not have a hole: what images have not written yet goes first. They may write the same
        # bytes to the same range at the same time, which does no harm.
        chunks = write.recent + write.chunks
        try:
            self._content.write(number, write.filed, chunks)
            if self._flush:
                self._content.sync(number)
            write.digest = digest_of(write.chunks)
            if write.count is not None and write.count.offset == write.filed:
                write.count, write.places = write.count.after(chunks)
        except OSError as error:
            # A failed flush is no OSError: it stops the store.
            write.error = error
            with contextlib.suppress(OSError):
                self._content.cut(number, write.offset)

    def _apply(self, batch: Batch) -> None:
        """Show what has become durable. Nothing outside has seen it before."""
        self._checkpoints.applied = batch.lsn or self._checkpoints.applied
        for write in batch.writes:
            self.in_flight -= write.size
            self._filing.pop(write.stream, None)
        if any(write.large for write in batch.writes):
            self._marked |= self._waiting
            self._waiting.clear()
        if self._stop.error is not None:
            # Another part failed meanwhile. The batch may be durable, yet it is not shown.
            for op in batch.ops:
                op.fail(self._stop.error)
        else:
            self._show(batch)
            # Half of the segments: a checkpoint takes a while, and cycles should not wait for it.
            if self._log.usage() >= 0.5:
                self._checkpoints.request()
        self._wake_waiters()

    def _show(self, batch: Batch) -> None:
        self._publisher.show_writes(write for write in batch.writes if write.error is None)
        for write in batch.writes:
            if write.error is not None:
                self.forget(write.stream)
                self._publisher.show_failure(write.stream, write.error, batch.ops)
        for op in batch.ops:
            if not op.done.done():
                if op.drop is not None:
                    self.forget(op.drop)
                self._publisher.show_change(op)

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def drain(self) -> None:
        """Commit what is queued, and take nothing more."""
        self._closing = True
        self._work.set()
        await self._task
        if self._tasks:  # after a failure: the files are about to be closed under the filing thread
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """End the threads, which are idle."""
        self._committer.close()
        self._filer.close()

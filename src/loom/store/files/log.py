"""The commit log: preallocated segments, written once in a circle. Owns `log/`; knows frames, not
what they mean.

A segment begins with one block that says whose it is and how long; frames follow back to back, each with
the next log sequence number (lsn). A frame is written only after the one before it is durable, so an
unreadable frame with a later readable one behind it is damage, and one with nothing behind it is a torn
tail. Not so where the log was written without flushes: it then ends at the first unreadable frame.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loom.errors import ConfigError
from loom.store.files.disk import Disk
from loom.store.files.records import HEADER, MAGIC, frame, read_frame

SEGMENTS = 4
SEGMENT_SIZE = 16 << 20
BLOCK = 4096
SCAN_BYTES = 256 << 20
SCAN_COST = 256
LEAP = 1 << 24
PLAUSIBLE = 1 << 32
SEGMENT_HEADER = struct.Struct("<8sQQ")
SEGMENT_MAGIC = b"LOOMLOG1"


@dataclass(slots=True)
class Segment:
    """One file of the log. `last` is the lsn of its newest frame, 0 if it has none that matters."""

    name: str
    fd: int
    last: int = 0


class Log:
    """The log as one thread writes it. Every error of `append` but ValueError is for stopping the store.

    `flush` says whether frames are to be flushed, `flushed` whether those to be replayed were.
    """

    def __init__(
        self, disk: Disk, *, seed: int, flush: bool, flushed: bool = True, segment_size: int = SEGMENT_SIZE
    ) -> None:
        self._disk = disk
        self._seed = seed
        self._flush = flush
        self._flushed = flushed
        self.segment_size = segment_size
        self._segments: list[Segment] = []
        self._current = 0
        self._place = BLOCK
        self.lsn = 0
        """The lsn of the newest durable frame."""

    def open(self, *, fresh: bool) -> None:
        """Open the segments; those of a `fresh` log are made where missing. Raises OSError, ConfigError."""
        self._disk.make_directory("log")
        for index in range(SEGMENTS):
            name = f"log/{index:03d}"
            try:
                fd = self._disk.open(name, os.O_RDWR)
            except FileNotFoundError:
                if not fresh:
                    raise ConfigError(
                        f"{name} of the commit log is missing. Restore the whole directory from one backup."
                    ) from None
                fd = self._make(name)
            self._segments.append(Segment(name, fd))
        self.segment_size = min(self._size(segment) for segment in self._segments)

    def _make(self, name: str) -> int:
        self._disk.reserve(f"{name}.new", self.segment_size)
        fd = self._disk.open(f"{name}.new", os.O_RDWR)
        self._disk.write(fd, [SEGMENT_HEADER.pack(SEGMENT_MAGIC, self._seed, self.segment_size)], 0)
        self._disk.sync(fd)
        self._disk.rename(f"{name}.new", name)
        self._disk.sync_directory("log")
        return fd

    def _size(self, segment: Segment) -> int:
        size = os.fstat(segment.fd).st_size
        header = SEGMENT_HEADER.pack(SEGMENT_MAGIC, self._seed, size)
        if os.pread(segment.fd, len(header), 0) != header:
            raise ConfigError(
                f"{segment.name} does not belong to this data directory or is damaged. "
                "Restore the whole directory from one backup."
            )
        return size

    def replay(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Each frame with an lsn above `after`, in order.

        Raises OSError, or ConfigError where a frame is unreadable though a later one is whole.
        """
        self.lsn = after
        for segment in self._chain(after):
            yield from self._frames(memoryview(self._load(segment)), after)
        if self._flushed:
            self._refuse_damage()

    def _load(self, segment: Segment) -> mmap.mmap:
        """A copy of the segment: a mapped file would kill the process where the disk cannot be read."""
        copy = mmap.mmap(-1, self.segment_size)
        os.preadv(segment.fd, [copy], 0)
        return copy

    def _chain(self, after: int) -> Iterator[Segment]:
        """The segments to read, each beginning right behind what has been read by then."""
        firsts = {lsn: segment for segment in self._segments if (lsn := self._first(segment))}
        begin = max((lsn for lsn in firsts if lsn <= after + 1), default=None)
        while begin is not None:
            yield firsts[begin]
            begin = self.lsn + 1 if self.lsn + 1 in firsts and self.lsn + 1 > begin else None

    def _first(self, segment: Segment) -> int:
        """The lsn of a segment's first frame, 0 if there is no whole one."""
        head = os.pread(segment.fd, HEADER.size, BLOCK)
        magic, length, _, _ = HEADER.unpack(head)
        if magic != MAGIC or length > self.segment_size:
            return 0
        found = read_frame(self._seed, memoryview(os.pread(segment.fd, HEADER.size + length, BLOCK)), 0)
        return found[0] if found else 0

    def _frames(self, view: memoryview, after: int) -> Iterator[tuple[int, memoryview]]:
        place = BLOCK
        expected: int | None = None
        while (found := read_frame(self._seed, view, place)) is not None:
            lsn, payload = found
            if expected is not None and lsn != expected:
                return
            expected = lsn + 1
            place += HEADER.size + len(payload)
            if lsn > after:
                if lsn != self.lsn + 1:
                    return
                self.lsn = lsn
                yield lsn, payload

    def _refuse_damage(self) -> None:
        """Look for a whole frame behind the end. Stored bytes may imitate some, so the effort is bounded."""
        budget = SCAN_BYTES
        for segment in self._segments:
            raw = self._load(segment)
            place = raw.find(MAGIC, BLOCK, self.segment_size - HEADER.size)
            while place >= 0 and budget > 0:
                budget -= SCAN_COST
                _, length, lsn, _ = HEADER.unpack_from(raw, place)
                if (
                    self.lsn < lsn < self.lsn + PLAUSIBLE
                    and place + HEADER.size + length <= self.segment_size
                ):
                    budget -= length
                    if read_frame(self._seed, memoryview(raw), place):
                        raise ConfigError(
                            f"{segment.name} is damaged: commit {self.lsn + 1} cannot be read though commit "
                            f"{lsn} can. Restore the data directory from a backup."
                        )
                place = raw.find(MAGIC, place + 1, self.segment_size - HEADER.size)

    def reset(self) -> None:
        """Everything in the log is to be durable elsewhere: write on from a first segment.

        Numbers are left out, more than the log can hold, so that no frame which a crash left behind the end
        can ever seem to follow a new one.
        """
        self.lsn += LEAP
        for segment in self._segments:
            segment.last = 0
        self._current = 0
        self._place = BLOCK

    def room(self, size: int) -> bool:
        """Whether records of `size` bytes can be appended before a checkpoint releases a segment."""
        return self._place + HEADER.size + size <= self.segment_size or self._next().last == 0

    def usage(self) -> float:
        """The share of segments that hold what is not yet durable elsewhere."""
        return sum(1 for segment in self._segments if segment.last) / len(self._segments)

    def append(self, parts: Sequence[bytes]) -> int:
        """Write the records as one frame and make it durable; returns its lsn. Needs `room`.

        Raises OSError or FlushFailed: nothing may be appended after either.
        """
        size = HEADER.size + sum(map(len, parts))
        if self._place + size > self.segment_size:
            if self._next().last or BLOCK + size > self.segment_size:
                raise ValueError("no room in the commit log")
            self._current = (self._current + 1) % len(self._segments)
            self._place = BLOCK
        segment = self._segments[self._current]
        lsn = self.lsn + 1
        self._disk.write(segment.fd, [frame(self._seed, lsn, parts), *parts], self._place)
        if self._flush:
            self._disk.sync(segment.fd)
        self._place += size
        self.lsn = segment.last = lsn
        return lsn

    def release(self, upto: int) -> None:
        """All up to this lsn is durable elsewhere: segments that end there may be written over."""
        for index, segment in enumerate(self._segments):
            if segment.last <= upto and index != self._current:
                segment.last = 0

    def close(self) -> None:
        """Let go of the segments."""
        for segment in self._segments:
            self._disk.close(segment.fd)
        self._segments.clear()

    def _next(self) -> Segment:
        return self._segments[(self._current + 1) % len(self._segments)]

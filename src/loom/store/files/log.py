"""The commit log: preallocated segments, written one after the other in a circle. Owns `log/`; knows
frames, not what they mean.

A segment begins with one block that identifies the directory and its length. Frames follow back to back, each
with the next log sequence number (lsn). A frame is written only after the one before it is durable. So an
unreadable frame with a later whole one is damage, while one with nothing after it is a torn tail, which is
normal after a crash. A log that was written without flushes ends at its first unreadable frame.

A segment is reused once a checkpoint covers its newest frame: then its bytes are durable in content files and
catalog. It is not cleared. Old frames that remain after the new ones have lower numbers and end the replay.
"""

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
PIECE = 256 << 10
SCAN_BYTES = 256 << 20
SCAN_COST = 256
"""The search for later frames hashes at most SCAN_BYTES; each candidate counts as SCAN_COST bytes more."""
LEAP = 1 << 24
"""Numbers that a restart leaves out: more than frames fit into the log."""
PLAUSIBLE = 1 << 32
SEGMENT_HEADER = struct.Struct("<8sQQ")
SEGMENT_MAGIC = b"LOOMLOG1"


@dataclass(slots=True)
class Segment:
    """One file of the log. `last` is the lsn of its newest frame, 0 once a checkpoint covers every frame."""

    name: str
    fd: int
    last: int = 0


class Window:
    """A segment that is read from front to back. Holds a piece, or the whole frame that is looked at."""

    def __init__(self, disk: Disk, segment: Segment, size: int) -> None:
        self.segment = segment
        self.offset = BLOCK
        """Where the next frame is expected."""
        self._disk = disk
        self._size = size
        self._start = BLOCK
        self._held = b""

    def at(self, offset: int, size: int) -> memoryview:
        """Return `size` bytes from `offset`, fewer at the end. No later call may ask for bytes before it."""
        stop = self._start + len(self._held)
        assert self._start <= offset <= stop
        if stop < min(offset + size, self._size):
            self._held = self._held[offset - self._start :]
            self._start = offset
            wanted = max(size - len(self._held), PIECE)
            self._held += self._disk.read(self.segment.fd, min(wanted, self._size - stop), stop)
        return memoryview(self._held)[offset - self._start : offset - self._start + size]

    def frame(self, seed: int, offset: int) -> tuple[int, memoryview] | None:
        """Return the lsn and the records of the frame at `offset`, None if no whole frame is there."""
        head = self.at(offset, HEADER.size)
        if len(head) < HEADER.size:
            return None
        magic, length, _, _ = HEADER.unpack(head)
        if magic != MAGIC or offset + HEADER.size + length > self._size:
            return None
        return read_frame(seed, self.at(offset, HEADER.size + length), 0)


class Log:
    """The log as one thread writes it. Any error of `append`, ValueError apart, has to stop the store.

    `flush` says whether frames are flushed, `flushed` whether those that are to be replayed were.
    """

    def __init__(
        self, disk: Disk, *, seed: int, flush: bool, flushed: bool = True, segment_size: int = SEGMENT_SIZE
    ) -> None:
        self.segment_size = segment_size
        self.lsn = 0
        """The lsn of the newest durable frame."""
        self.end = BLOCK
        """Where in the current segment the next frame is written."""
        self._disk = disk
        self._seed = seed
        self._flush = flush
        self._flushed = flushed
        self._segments: list[Segment] = []
        self._current = 0
        self._budget = 0

    def open(self, *, fresh: bool) -> None:
        """Open the segments; create missing ones of a `fresh` log. Raises OSError, ConfigError."""
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
        # Written under another name first: a segment that exists is complete.
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
        if self._disk.read(segment.fd, len(header), 0) != header:
            raise ConfigError(
                f"{segment.name} does not belong to this data directory or is damaged. "
                "Restore the whole directory from one backup."
            )
        return size

    def replay(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield each frame with an lsn above `after`, in order. Every segment is read once.

        Raises OSError, and after the last frame ConfigError if an unreadable frame precedes a whole one.
        """
        self.lsn = after
        self._budget = SCAN_BYTES if self._flushed else 0
        later: dict[str, int] = {}
        for segment in self._chain(after):
            window = Window(self._disk, segment, self.segment_size)
            yield from self._frames(window, after)
            later[segment.name] = self._later(window)
        for segment in self._segments:
            if segment.name not in later:
                later[segment.name] = self._later(Window(self._disk, segment, self.segment_size))
        name, lsn = max(later.items(), key=lambda each: each[1])
        if lsn > self.lsn:
            raise ConfigError(
                f"{name} is damaged: commit {self.lsn + 1} cannot be read though commit {lsn} can. "
                "Restore the data directory from a backup."
            )

    def _chain(self, after: int) -> Iterator[Segment]:
        """Yield the segments to replay. Each begins with the commit after the last one that was replayed."""
        firsts = {lsn: segment for segment in self._segments if (lsn := self._first(segment))}
        begin = max((lsn for lsn in firsts if lsn <= after + 1), default=None)
        while begin is not None:
            yield firsts[begin]
            begin = self.lsn + 1 if self.lsn + 1 in firsts and self.lsn + 1 > begin else None

    def _first(self, segment: Segment) -> int:
        """Return the lsn in the header of a segment's first frame, 0 if there is none.

        Whether that frame is whole shows when it is replayed. A torn one ends the replay there, as it has to.
        """
        magic, _, lsn, _ = HEADER.unpack(self._disk.read(segment.fd, HEADER.size, BLOCK))
        return int(lsn) if magic == MAGIC else 0

    def _frames(self, window: Window, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield the frames of one segment that follow the last one, up to the first that does not."""
        expected: int | None = None
        while (found := window.frame(self._seed, window.offset)) is not None:
            lsn, payload = found
            # A lower number: a frame from before the segment was reused.
            if expected is not None and lsn != expected:
                return
            expected = lsn + 1
            if lsn > after:
                self.lsn = lsn
                yield lsn, payload
            window.offset += HEADER.size + len(payload)

    def _later(self, window: Window) -> int:
        """Search the rest of a segment for whole frames after the last one; return the highest lsn, or 0.

        Stored bytes may imitate frames, so the effort is bounded. None passes for a frame: hashes are seeded.
        """
        found, offset = 0, window.offset
        while self._budget > 0 and offset + HEADER.size <= self.segment_size:
            # The overlap finds a header that lies across two pieces.
            raw = bytes(window.at(offset, PIECE + HEADER.size - 1))
            at = raw.find(MAGIC, 0, len(raw) - HEADER.size + len(MAGIC))
            while at >= 0 and self._budget > 0:
                self._budget -= SCAN_COST
                _, length, lsn, _ = HEADER.unpack_from(raw, at)
                if found < lsn and self.lsn < lsn < self.lsn + PLAUSIBLE:
                    self._budget -= length
                    if window.frame(self._seed, offset + at):
                        found = lsn
                at = raw.find(MAGIC, at + 1, len(raw) - HEADER.size + len(MAGIC))
            offset += PIECE
        return found

    def reset(self) -> None:
        """Start again at the first segment. Everything in the log has to be durable elsewhere."""
        # A crash may have left frames after the end, with numbers that come next. Leaving out more numbers
        # than the log can hold, no such frame ever seems to follow a new one.
        self.lsn += LEAP
        for segment in self._segments:
            segment.last = 0
        self._current = 0
        self.end = BLOCK

    def room(self, size: int) -> bool:
        """Return True if records of `size` bytes can be appended before a checkpoint releases a segment."""
        return self.end + HEADER.size + size <= self.segment_size or self._next().last == 0

    def usage(self) -> float:
        """Return the share of segments that no checkpoint covers."""
        return sum(1 for segment in self._segments if segment.last) / len(self._segments)

    def append(self, parts: Sequence[bytes]) -> int:
        """Write the records as one frame and make it durable; return its lsn. Needs `room`.

        Raises OSError or FlushFailed: nothing may be appended after either.
        """
        size = HEADER.size + sum(map(len, parts))
        if self.end + size > self.segment_size:
            if self._next().last or BLOCK + size > self.segment_size:
                raise ValueError("no room in the commit log")
            # The next segment is reused from its first block on. What it held is durable elsewhere.
            self._current = (self._current + 1) % len(self._segments)
            self.end = BLOCK
        segment = self._segments[self._current]
        lsn = self.lsn + 1
        self._disk.write(segment.fd, [frame(self._seed, lsn, parts), *parts], self.end)
        if self._flush:
            self._disk.sync(segment.fd)
        self.end += size
        self.lsn = segment.last = lsn
        return lsn

    def release(self, upto: int) -> None:
        """Let segments be reused in which no frame is after `upto`: a checkpoint covers them."""
        # The current one too: `append` sets its `last` again, and only what comes next has to be free.
        for segment in self._segments:
            if segment.last <= upto:
                segment.last = 0

    def close(self) -> None:
        """Close the segments."""
        for segment in self._segments:
            self._disk.close(segment.fd)
        self._segments.clear()

    def _next(self) -> Segment:
        return self._segments[(self._current + 1) % len(self._segments)]

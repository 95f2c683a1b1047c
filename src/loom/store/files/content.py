"""Content files: the exact bytes of each stream and nothing else. Owns `content/` and its descriptors.

Files are named by stream number, never by id. One descriptor serves writing and reading. A file that is
pinned (in use) or dirty (written and not flushed) is never closed to make room.

Several threads use this: the lock guards the tables and is not held during reads, writes and flushes. If two
threads need the same flush, the second waits for the first. A failed flush fails every later one too, since
the kernel reports a failure only once.
"""

import contextlib
import errno
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from loom.store.files.disk import Disk, FlushFailed

FLUSHERS = 4
"""Files that are flushed at the same time."""


def content_name(number: int) -> str:
    """Return the name of a content file, relative to the data directory."""
    return f"content/{number >> 24:03x}/{(number >> 12) & 0xFFF:03x}/{number:09x}"


def number_in(name: str) -> int:
    """Return the number in a name or the beginning of one, -1 if it is not a name of this store."""
    return int(name, 16) if re.fullmatch("[0-9a-f]+", name) else -1


class ContentLost(OSError):
    """A content file lacks what was written to it: it was removed or truncated from outside."""

    def __init__(self) -> None:
        super().__init__(errno.ENOENT, "stored bytes are missing")


@dataclass(slots=True, eq=False)
class File:
    """An open content file. It is dirty while `flushed` differs from `writes`; both count writes."""

    fd: int
    writes: int = 0
    flushed: int = 0
    removed: bool = False
    flushing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dirty(self) -> bool:
        """True if it was written since the last flush."""
        return self.flushed != self.writes and not self.removed


class ContentFiles:
    """The content files of a data directory. Raises OSError, from flushes FlushFailed; may block."""

    def __init__(self, disk: Disk, *, max_open: int) -> None:
        self._disk = disk
        self._max_open = max_open
        self._files: OrderedDict[int, File] = OrderedDict()
        self._pins: dict[int, int] = {}
        self._touched: dict[str, object] = {}
        self._lock = threading.Lock()
        self._flushing_directories = threading.RLock()
        self._failed: FlushFailed | None = None

    def write(self, number: int, offset: int, parts: Sequence[bytes]) -> None:
        """Write bytes at the end of the file or before it; create the file for the first ones.

        Raises ContentLost rather than leave a hole, which would read as zeros.
        """
        try:
            with self._using(number, create=offset == 0) as file:
                if not file.removed and not self._disk.holds(file.fd, offset):
                    raise ContentLost
                with self._written(file):
                    self._disk.write(file.fd, parts, offset)
        except FileNotFoundError:
            raise ContentLost from None

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Return `size` bytes, fewer at the end, none without a file. May read from the disk."""
        try:
            with self._using(number, create=False) as file:
                return self._disk.read(file.fd, size, offset)
        except FileNotFoundError:
            return b""

    def cut(self, number: int, size: int) -> None:
        """Truncate the file to `size`. A shorter file is left as it is."""
        with self._using(number, create=False) as file:
            if self._disk.holds(file.fd, size):
                with self._written(file):
                    self._disk.truncate(file.fd, size)

    @contextlib.contextmanager
    def _written(self, file: File) -> Iterator[None]:
        """Count a write once it has ended: a flush that overlaps with it does not make it durable."""
        try:
            yield
        finally:
            with self._lock:
                file.writes += 1

    def sync(self, number: int) -> None:
        """Make one file durable, its name too."""
        self._sync_directories()
        with self._lock:
            if number not in self._files:
                return
        with self._using(number, create=False) as file, self._flushing(file.flushing):
            writes = file.writes
            if file.dirty:
                self._disk.sync(file.fd)
                with self._lock:
                    file.flushed = max(file.flushed, writes)

    @contextlib.contextmanager
    def _flushing(self, lock: contextlib.AbstractContextManager[object]) -> Iterator[None]:
        """Flush one at a time. Raises the error of any flush that failed before."""
        with lock:
            if self._failed is not None:
                raise self._failed.with_traceback(None)
            try:
                yield
            except FlushFailed as error:
                self._failed = error
                raise

    def sync_all(self) -> None:
        """Make everything written durable."""
        with self._lock:
            dirty = [number for number, file in self._files.items() if file.dirty]
        self._sync_each(dirty)
        self._sync_directories()

    def _sync_each(self, numbers: Sequence[int]) -> None:
        """Make several files durable, some at once: the file system commits what they wait for together.

        One after the other takes 5 to 20 times as long (bench/flush.py). Raises what the first failure
        raised, once no flush is running.
        """
        if len(numbers) < FLUSHERS:
            for number in numbers:
                self.sync(number)
            return
        with ThreadPoolExecutor(FLUSHERS, thread_name_prefix="loom-flush") as threads:
            for _ in threads.map(self.sync, numbers):
                pass

    def _touch(self, name: str) -> None:
        """Note a change of a directory. A new object marks each, so that one during a flush is not missed."""
        with self._lock:
            self._touched[os.path.dirname(name)] = object()

    def _sync_directories(self) -> None:
        with self._lock:
            touched = dict(self._touched)
        for name, change in touched.items():
            with self._flushing(self._flushing_directories):
                self._disk.sync_directory(name)
            with self._lock:
                if self._touched.get(name) is change:
                    del self._touched[name]

    def pin(self, number: int, *, exists: bool) -> None:
        """Keep the file open until `unpin`. With `exists` open it now, else when it is first used."""
        with self._lock:
            self._pins[number] = self._pins.get(number, 0) + 1
        if exists:
            try:
                self._file(number, create=False)
            except OSError:
                self.unpin(number)
                raise

    @property
    def pinned(self) -> int:
        """The number of files in use."""
        return len(self._pins)

    def unpin(self, number: int) -> None:
        """End a `pin`: the file may be closed."""
        with self._lock:
            self._pins[number] -= 1
            if not self._pins[number]:
                del self._pins[number]
            file = self._files.get(number)
            too_many = len(self._files) > self._max_open
        if file and (file.removed or too_many):
            self._close(number)

    def fd(self, number: int) -> int | None:
        """Return the descriptor if the file is open. It stays open while the file is pinned."""
        file = self._files.get(number)
        return file.fd if file else None

    def find(self, number: int) -> int:
        """Return the descriptor of a pinned file; open it if needed. Raises FileNotFoundError."""
        return self._file(number, create=False).fd

    def remove(self, number: int) -> None:
        """Remove the file. Its bytes stay readable for those that have it pinned."""
        if self._disk.remove(content_name(number)):
            self._touch(content_name(number))
        with self._lock:
            file = self._files.get(number)
            if file:
                file.removed = True
        self._close(number)

    def _close(self, number: int) -> None:
        """Close the file unless it is in use or dirty."""
        with self._lock:
            file = self._files.get(number)
            if file is None or file.dirty or number in self._pins:
                return
            del self._files[number]
        # Without the lock: the last close of a removed file frees its blocks, which takes 0.5 s a GiB.
        self._disk.close(file.fd)

    def remove_above(self, last: int, exists: Callable[[int], bool]) -> None:
        """Remove files of streams with higher numbers whose creation a crash has lost: they do not exist.

        Files with other names are left alone.
        """
        top = self._disk.root / "content"
        for directory, below, names in os.walk(top):
            prefix = directory[len(str(top)) :].replace("/", "")
            least = last >> (12 if prefix else 24)
            below[:] = [name for name in below if number_in(prefix + name) >= least]
            for name in names:
                if number_in(name) > last and not exists(number_in(name)):
                    self._disk.remove(f"content/{os.path.relpath(directory, top)}/{name}")

    def size(self, number: int) -> int | None:
        """Return the length of the file, None without a file. It may prove damage, never content."""
        return self._disk.size(content_name(number))

    def trim(self) -> None:
        """If too many files are open, flush and close those that were not used for longest.

        A quarter of the files is closed at once, so that short streams need a flush of many files now and
        then, not of one file each.
        """
        with self._lock:
            if len(self._files) <= self._max_open:
                return
            excess = len(self._files) - self._max_open + self._max_open // 4
            idle = (number for number in self._files if number not in self._pins)
            spare = list(itertools.islice(idle, excess))
        self._sync_each(spare)
        for number in spare:
            self._close(number)

    def close(self) -> None:
        """Close every descriptor without a flush."""
        with self._lock:
            for file in self._files.values():
                self._disk.close(file.fd)
            self._files.clear()

    @contextlib.contextmanager
    def _using(self, number: int, *, create: bool) -> Iterator[File]:
        self.pin(number, exists=False)
        try:
            yield self._file(number, create=create)
        finally:
            self.unpin(number)

    def _file(self, number: int, *, create: bool) -> File:
        with self._lock:
            file = self._files.get(number)
            if file:
                self._files.move_to_end(number)
                return file
        fd = self._open(content_name(number), create=create)
        with self._lock:
            file = self._files.setdefault(number, File(fd, removed=not self._disk.holds(fd, 0)))
        if file.fd != fd:
            self._disk.close(fd)
        return file

    def _open(self, name: str, *, create: bool) -> int:
        try:
            return self._disk.open(name, os.O_RDWR)
        except PermissionError:
            return self._disk.open(name, os.O_RDONLY)
        except FileNotFoundError:
            if not create:
                raise
        directory = os.path.dirname(name)
        for each in ("content", os.path.dirname(directory), directory):
            self._disk.make_directory(each)
        fd = self._disk.open(name, os.O_RDWR | os.O_CREAT)
        self._touch(name)
        return fd

"""Every file operation of the store except those of SQLite. Owns system calls; knows no record, no stream.

A subclass can fail, delay or record each operation: this is how faults are tested.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from loom.errors import StoreStopped

IOV_MAX = 1024
ZEROS = bytes(1 << 20)


class FlushFailed(StoreStopped):
    """The kernel could not make written bytes durable. The next flush may succeed without them: no retry."""


class Disk:
    """The data directory. Names are relative to it, offsets and sizes in bytes; all methods may block."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"  # pathlib would keep every part of every name in memory forever

    def open(self, name: str, flags: int) -> int:
        """Open a file, close-on-exec; return the descriptor. Raises OSError."""
        return os.open(self._path(name), flags | os.O_CLOEXEC, 0o640)

    def close(self, fd: int) -> None:
        """Close a descriptor. Its bytes are flushed, or no longer needed."""
        with contextlib.suppress(OSError):
            os.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer at the end of the file. Raises OSError."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        """Write `parts` in order at `offset`. Raises OSError with some, none or all of them written."""
        pending: list[bytes | memoryview] = [part for part in parts if part]
        while pending:
            written = os.pwritev(fd, pending[:IOV_MAX], offset)
            offset += written
            taken = 0
            while taken < len(pending) and written >= len(pending[taken]):
                written -= len(pending[taken])
                taken += 1
            del pending[:taken]
            if written:
                pending[0] = memoryview(pending[0])[written:]

    def sync(self, fd: int) -> None:
        """Make a file's bytes and size, or a directory's entries, durable. Raises FlushFailed."""
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise FlushFailed(f"Flushing to disk failed ({error.strerror}).") from error

    def sync_directory(self, name: str) -> None:
        """Make the entries of a directory durable. Raises FlushFailed, or OSError if it cannot be opened."""
        fd = self.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(fd)
        finally:
            self.close(fd)

    def reserve(self, name: str, size: int) -> None:
        """Create a file of `size` zero bytes, all written, so that overwriting them needs no new space."""
        fd = self.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            for offset in range(0, size, len(ZEROS)):
                self.write(fd, [ZEROS[: size - offset]], offset)
            self.sync(fd)
        finally:
            self.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Truncate the file to `size`. Raises OSError."""
        os.ftruncate(fd, size)

    def make_directory(self, name: str) -> None:
        """Create a directory and make its entry durable, unless it exists. Its parent has to exist."""
        if os.path.isdir(self._path(name)):
            return
        parent = self.open(os.path.dirname(name), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.mkdir(os.path.basename(name), 0o750, dir_fd=parent)
            self.sync(parent)
        except FileExistsError:
            self.sync(parent)
        finally:
            self.close(parent)

    def rename(self, old: str, new: str) -> None:
        """Rename a file; durable once the directory is. Raises OSError."""
        os.rename(self._path(old), self._path(new))

    def remove(self, name: str) -> bool:
        """Remove a file; return False if it does not exist. Durable once the directory is. Raises OSError."""
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int | None:
        """Return the length of a file, None if it does not exist. Raises OSError."""
        try:
            return os.stat(self._path(name)).st_size
        except FileNotFoundError:
            return None

    def holds(self, fd: int, size: int) -> bool:
        """Return True if the open file still has a name and at least `size` bytes. Raises OSError."""
        found = os.fstat(fd)
        return found.st_nlink > 0 and found.st_size >= size

    def free(self) -> tuple[int, int | None]:
        """Return the free bytes and inodes; None where the file system does not count inodes."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None

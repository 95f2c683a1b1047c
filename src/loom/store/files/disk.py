"""Every file operation of the store but SQLite's own. Owns system calls and nothing else: knows no
record, no stream.

A subclass can fail, slow down or record each of them; that is how faults are tested.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from loom.errors import StoreStopped

IOV_MAX = 1024
ZEROS = bytes(1 << 20)


class FlushFailed(StoreStopped):
    """The kernel could not make written bytes durable. It may say otherwise next time: never try again."""


class Disk:
    """The data directory. Names are relative to it, offsets and sizes in bytes; all methods may block."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"  # pathlib would keep every part of every name in memory for good

    def open(self, name: str, flags: int) -> int:
        """A descriptor, close-on-exec. Raises OSError."""
        return os.open(self._path(name), flags | os.O_CLOEXEC, 0o640)

    def close(self, fd: int) -> None:
        """Close a descriptor whose bytes are flushed or given up."""
        with contextlib.suppress(OSError):
            os.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer at the end of the file. Raises OSError."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        """All of `parts`, one after the other, at `offset`. Raises OSError with some, none or all written."""
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
        """A file of `size` zero bytes, written out, so that writing over them later needs no new space."""
        fd = self.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            for offset in range(0, size, len(ZEROS)):
                self.write(fd, [ZEROS[: size - offset]], offset)
            self.sync(fd)
        finally:
            self.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size`. Raises OSError."""
        os.ftruncate(fd, size)

    def make_directory(self, name: str) -> None:
        """A directory whose entry is durable; nothing if it is there. Its parent has to exist."""
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
        """Rename a file; durable with the directory. Raises OSError."""
        os.rename(self._path(old), self._path(new))

    def remove(self, name: str) -> bool:
        """Remove a file; False if it is not there. Durable with the directory. Raises OSError."""
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int | None:
        """The length of a file, None if it is not there. Raises OSError."""
        try:
            return os.stat(self._path(name)).st_size
        except FileNotFoundError:
            return None

    def holds(self, fd: int, size: int) -> bool:
        """Whether the open file still has its name and at least `size` bytes. Raises OSError."""
        found = os.fstat(fd)
        return found.st_nlink > 0 and found.st_size >= size

    def free(self) -> tuple[int, int | None]:
        """Bytes and inodes free for us; None where the file system does not count inodes."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None

"""Disks that fail on purpose, and short ways to set up a files store."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loom.model import Patch
from loom.store.files import FilesStore
from loom.store.files.disk import Disk, FlushFailed
from loom.store.files.writer import FilesWriter
from loom.testing.tools import ManualClock, stream

SEGMENT = 64 << 10


class QuickDisk(Disk):
    """A disk without flushes, for tests in which no power is lost."""

    def sync(self, fd: int) -> None:
        os.fstat(fd)


class FaultyDisk(QuickDisk):
    """Calls `fault` with the operation and the file before each operation; raises what it returns."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fault: Callable[[str, str], OSError | None] = lambda operation, name: None

    def _ask(self, operation: str, name: str | int) -> None:
        if isinstance(name, int):
            name = os.path.relpath(os.readlink(f"/proc/self/fd/{name}"), os.path.realpath(self.root))
        if error := self.fault(operation, name):
            raise error

    def open(self, name: str, flags: int) -> int:
        self._ask("open", name)
        return super().open(name, flags)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._ask("read", fd)
        return super().read(fd, size, offset)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        try:
            self._ask("write", fd)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # some of it may have been written
                whole = b"".join(parts)
                super().write(fd, [whole[: len(whole) // 2]], offset)
            raise
        super().write(fd, parts, offset)

    def sync(self, fd: int) -> None:
        try:
            self._ask("sync", fd)
        except OSError as error:
            raise FlushFailed(f"Flushing to disk failed ({error.strerror}).") from error

    def free(self) -> tuple[int, int | None]:
        self._ask("free", "")
        return super().free()


def failing(
    number: int, operation: str, prefix: str = "", *, times: int = 1
) -> Callable[[str, str], OSError | None]:
    """Return a fault: the next `times` such operations on files whose names begin with `prefix` fail."""
    left = times

    def fault(asked: str, name: str) -> OSError | None:
        nonlocal left
        if asked == operation and name.startswith(prefix) and left > 0:
            left -= 1
            return OSError(number, os.strerror(number))
        return None

    return fault


async def start(disk: Disk, clock: ManualClock | None = None, **options: Any) -> FilesStore:
    """Start a store with a small log that needs no free space."""
    options = {"min_free_bytes": 0, "min_free_inodes": 0, "segment_size": SEGMENT, **options}
    return await FilesStore.start(disk.root, clock=clock or ManualClock(), disk=disk, **options)


async def written(store: FilesStore, id: str, data: bytes = b"", patch: Patch | None = None) -> FilesWriter:
    """Create a stream with these bytes, closed with `patch` or live. Tests may look into its `stream`."""
    writer = await stream(store, id, data, patch)
    assert isinstance(writer, FilesWriter)
    return writer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no event announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


class Gate:
    """A fault that fails nothing: it blocks such operations until it is opened."""

    def __init__(self, disk: FaultyDisk, operation: str, prefix: str) -> None:
        self._asked = operation, prefix
        self._entered, self._opened = threading.Event(), threading.Event()
        disk.fault = self

    def __call__(self, operation: str, name: str) -> None:
        if operation == self._asked[0] and name.startswith(self._asked[1]):
            self._entered.set()
            assert self._opened.wait(30)

    async def entered(self) -> None:
        """Wait until an operation is blocked."""
        assert await asyncio.to_thread(self._entered.wait, 30)

    def open(self) -> None:
        """Unblock every operation, now and later."""
        self._opened.set()

"""Reading the bytes of a stream: from its content file, then from memory, which has what the file lacks."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from loom.errors import StreamDamaged
from loom.store.base import Content
from loom.store.files.content import ContentFiles
from loom.store.files.stream import Stream

PIECE = 256 << 10
NOT_CACHED = frozenset({errno.EAGAIN, errno.EOPNOTSUPP})


class FilesContent(Content):
    """The Content of a stream. Its file stays open until `close`."""

    def __init__(
        self, stream: Stream, files: ContentFiles, threads: Executor, on_close: Callable[[Stream], None]
    ) -> None:
        self.key = stream.info.key
        self._stream = stream
        self._files = files
        self._threads = threads
        self._on_close = on_close
        self._open = True

    def fileno(self) -> int | None:
        return self._files.fd(self._stream.number)

    @property
    def filed(self) -> int:
        return self._stream.filed

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        stream = self._stream
        while start < stop:
            if start < stream.filed:
                data = await self._read_file(start, min(stop, stream.filed) - start)
            else:
                data = stream.slice(start, min(PIECE, stop - start))
            if not data:
                raise StreamDamaged(f"Stored bytes of the stream with ID {stream.info.id} are missing.")
            start += len(data)
            yield data

    async def _read_file(self, start: int, size: int) -> bytes:
        size = min(PIECE, size)
        loop = asyncio.get_running_loop()
        fd = self.fileno()
        try:
            if fd is None:  # pinned before its first image: it was closed since it was written
                fd = await loop.run_in_executor(self._threads, self._files.find, self._stream.number)
            data = read_cached(fd, start, size)
            if data is not None:
                return data
            return await loop.run_in_executor(self._threads, os.pread, fd, size, start)
        except OSError:
            return b""

    def close(self) -> None:
        if self._open:
            self._open = False
            with contextlib.suppress(RuntimeError):  # the store is closed, with every file
                self._threads.submit(self._files.unpin, self._stream.number)
            self._stream.opened -= 1
            self._on_close(self._stream)


def read_cached(fd: int, start: int, size: int) -> bytes | None:
    """Read from the page cache; return None if a thread has to read from the disk."""
    buffer = bytearray(size)
    try:
        count = os.preadv(fd, [buffer], start, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in NOT_CACHED:
            return None
        return b""
    return bytes(memoryview(buffer)[:count])

"""The bytes of an input that are not acknowledged yet. Owns where they are: in memory, then in a spool file.

Bytes are kept in pages of 1 MiB. Up to 8 of them are in memory, those behind in slots of one nameless file,
used again once they are free: the file never takes more than what was unacknowledged at once. A full disk is
no failure: there is then room for fewer bytes. Knows nothing of servers.
"""

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

PAGE_BYTES = 1 << 20
MEMORY_BYTES = 8 << 20

T = TypeVar("T")


class Buffer:
    """Bytes [start, end) of a stream. One task appends, one reads, anyone releases.

    `limit` is how many bytes it takes at most, `directory` where the spool file is made when memory is full.
    """

    def __init__(
        self,
        *,
        start: int = 0,
        limit: int = 1 << 30,
        memory: int = MEMORY_BYTES,
        directory: Path | None = None,
    ) -> None:
        self.start = start
        """What is before it was acknowledged, and is forgotten."""
        self.end = start
        self.ended = False
        """Nothing will be appended any more."""
        self.limit = limit
        self._memory = memory
        self._directory = directory
        self._pages: dict[int, bytearray | int] = {}
        self._resident = 0
        self._disk_full = False
        self._lifted = False
        self._file: IO[bytes] | None = None
        self._slots = 0
        self._free: list[int] = []
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="loom-spool")
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self.end - self.start

    @property
    def full(self) -> bool:
        """Who appends has to wait."""
        if self._lifted:
            return False
        return self.size >= self.limit or (self._disk_full and self._resident * PAGE_BYTES >= self._memory)

    async def append(self, data: bytes) -> None:
        """Take more bytes; waits while there is no room."""
        view = memoryview(data)
        while view:
            while self.full:
                await self._change()
            number, used = divmod(self.end, PAGE_BYTES)
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = bytearray(used)
                self._resident += 1
            assert isinstance(page, bytearray), "only full pages leave memory"
            part = view[: min(PAGE_BYTES - used, PAGE_BYTES if self._lifted else self.limit - self.size)]
            page += part
            view = view[len(part) :]
            self.end += len(part)
            self._tell()
            if len(page) == PAGE_BYTES and self._resident * PAGE_BYTES > self._memory:
                await self._spill(number, page)

    def finish(self) -> None:
        """The input has ended."""
        self.ended = True
        self._tell()

    def lift(self) -> None:
        """Take all that comes, to the last byte that the disk has room for; OSError beyond it."""
        self._lifted = True
        self._tell()

    def release(self, offset: int) -> None:
        """The bytes before `offset` are safe elsewhere; one that is behind `start` changes nothing."""
        assert offset <= self.end
        for number in range(self.start // PAGE_BYTES, offset // PAGE_BYTES):
            self._drop(number)
        self.start = max(self.start, offset)
        self._disk_full = False
        self._tell()

    async def read(self, offset: int, most: int) -> bytes:
        """Bytes from `offset` on, at most so many, fewer as it comes; empty if there are none yet."""
        assert offset >= self.start
        number, at = divmod(offset, PAGE_BYTES)
        size = min(most, PAGE_BYTES - at, self.end - offset)
        if size <= 0:
            return b""
        page = self._pages[number]
        if isinstance(page, bytearray):
            with memoryview(page) as view:
                return bytes(view[at : at + size])
        return await self._in_thread(lambda: self._read(page * PAGE_BYTES + at, size))

    async def beyond(self, offset: int) -> None:
        """Wait until there are bytes behind `offset`, or there will be none."""
        while self.end <= offset and not self.ended:
            await self._change()

    def close(self) -> None:
        """Forget all; what the disk is busy with ends by itself."""
        if (file := self._file) is not None:
            self._disk.submit(file.close)
        self._disk.shutdown(wait=False)

    async def _spill(self, number: int, page: bytearray) -> None:
        """Move a full page to the file; it stays where it is if the disk is full."""
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        try:
            await self._in_thread(lambda: self._write(slot, page))
        except OSError:
            if self._lifted:
                raise
            self._disk_full = True
        else:
            if self._pages.get(number) is page:
                self._pages[number] = slot
                self._resident -= 1
                return
        self._free.append(slot)

    def _write(self, slot: int, page: bytearray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        done = 0
        while done < len(page):
            done += os.pwrite(self._file.fileno(), page[done:], slot * PAGE_BYTES + done)

    def _read(self, place: int, size: int) -> bytes:
        assert self._file is not None
        data = os.pread(self._file.fileno(), size, place)
        if not data:
            raise OSError(errno.EIO, "the spool file was cut")
        return data

    def _drop(self, number: int) -> None:
        page = self._pages.pop(number, None)
        if isinstance(page, int):
            self._free.append(page)
        elif page is not None:
            self._resident -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    async def _change(self) -> None:
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

"""The unconfirmed bytes of an input. Owns where they are kept: in memory, then in a spool file.

Bytes are kept in pages of 1 MiB. Up to 8 of them are in memory, later ones in slots of one unnamed file.
Slots are reused, so that the file never exceeds the most bytes that were unconfirmed at once. A full disk is
not a failure: the buffer then holds fewer bytes. Knows nothing of servers.
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
    """Bytes [start, end) of a stream. One task appends and one reads; any may release.

    `limit` is the most bytes held. The spool file is created in `directory` when memory is full.
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
        """The offset of the first byte held. Earlier ones are confirmed and released."""
        self.end = start
        self.ended = False
        """True if the input has ended: nothing will be appended."""
        self.limit = limit
        self._memory = memory
        self._directory = directory
        self._pages: dict[int, bytearray | int] = {}
        """By number, a page in memory or the slot of one in the file."""
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
        """The number of bytes held."""
        return self.end - self.start

    @property
    def full(self) -> bool:
        """True if an append has to wait."""
        if self._lifted:
            return False
        return self.size >= self.limit or (self._disk_full and self._resident * PAGE_BYTES >= self._memory)

    async def append(self, data: bytes) -> None:
        """Append bytes. Waits while the buffer is full."""
        view = memoryview(data)
        while view:
            while self.full:
                await self._wait_change()
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
            self._notify()
            if len(page) == PAGE_BYTES and self._resident * PAGE_BYTES > self._memory:
                await self._spill(number, page)

    def finish(self) -> None:
        """Mark the end of the input."""
        self.ended = True
        self._notify()

    def lift_limit(self) -> None:
        """Accept all further bytes. An append raises OSError if the disk is full."""
        self._lifted = True
        self._notify()

    def release(self, offset: int) -> None:
        """Forget the bytes before `offset`: they are stored elsewhere. Does nothing if they are released."""
        assert offset <= self.end
        for number in range(self.start // PAGE_BYTES, offset // PAGE_BYTES):
            self._drop(number)
        self.start = max(self.start, offset)
        self._disk_full = False
        self._notify()

    async def read(self, offset: int, most: int) -> bytes:
        """Return at most `most` bytes from `offset`, or fewer; none if there are none yet."""
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

    async def wait_beyond(self, offset: int) -> None:
        """Wait until the buffer ends after `offset`, or the input has ended."""
        while self.end <= offset and not self.ended:
            await self._wait_change()

    def close(self) -> None:
        """Drop all bytes and the file. A write to disk that has begun ends on its own."""
        if (file := self._file) is not None:
            self._disk.submit(file.close)
        self._disk.shutdown(wait=False)

    async def _spill(self, number: int, page: bytearray) -> None:
        """Move a full page to the file. It stays in memory if the disk is full."""
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        try:
            await self._in_thread(lambda: self._write(slot, page))
        except OSError:
            if self._lifted:
                raise
            self._disk_full = True
        else:
            # The page may have been released during the write.
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

    def _read(self, position: int, size: int) -> bytes:
        assert self._file is not None
        data = os.pread(self._file.fileno(), size, position)
        if not data:
            raise OSError(errno.EIO, "the spool file was truncated")
        return data

    def _drop(self, number: int) -> None:
        page = self._pages.pop(number, None)
        if isinstance(page, int):
            self._free.append(page)
        elif page is not None:
            self._resident -= 1

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    async def _wait_change(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

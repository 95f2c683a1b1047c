"""Look up where a part of a stream begins. Owns the turns that searches take.

Knows the store by its contract.
"""

import asyncio
from collections.abc import Callable

from loom.model import Info
from loom.store.base import Content, Store
from loom.store.places import MAX_LINE
from loom.streams.lines import SCAN, Read, find_last_lines, find_line
from loom.streams.ranges import MAX, LastLines, Lookup, Part, Since, WholeLines
from loom.streams.reading import read_exactly

NEAR = 256 << 10
"""Bytes at the end of a stream in which its last lines are searched backwards, before the index is used."""


class Finder:
    """Resolves lookups. `check` raises once the service is stopping."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check
        self._turn = asyncio.Lock()

    async def locate(self, info: Info, wanted: Part | Lookup) -> Part:
        """Return the wanted part of this stream; a Part is returned as it is.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """
        if isinstance(wanted, Part):
            return wanted
        by, stop, skip = wanted.by, wanted.stop, 0
        if isinstance(by, Since):
            start = await self._store.offset_at(info.key, by.when)
        elif isinstance(by, LastLines):
            start = await self._last_lines(info, by.count)
        elif isinstance(by, WholeLines):
            start = await self._line_at(info, by.start)
            if by.before is not None and stop is not None:
                stop = await self._line_at(info, max(by.before, start))
        else:
            async with await self._store.open(info.key) as content:

                async def line(number: int) -> tuple[int, int]:
                    return await self._line(
                        info.key, info.size, number, lambda *span: self._read(content, *span)
                    )

                start, skip = await line(by.number)
                if by.last is not None and stop is not None:
                    stop = min(stop, (await line(min(by.last + 1, MAX)))[0])
        # The index may know of bytes that arrived after `info` was read.
        return Part(start, None, skip) if stop is None else Part(min(start, stop), stop)

    async def _last_lines(self, info: Info, count: int) -> int:
        if not count or not info.size:
            return info.size
        async with await self._store.open(info.key) as content:

            async def read(start: int, stop: int) -> bytes:
                return await self._read(content, start, stop)

            start = await find_last_lines(read, count, info.size, most=NEAR)
            if start is not None:
                return start
            # The index may know of lines that arrived after `info` was read: then they are the last ones.
            last = await self._store.place(info.key, MAX_LINE)
            size = max(info.size, last.offset)
            ends, ended = last.line - 1, last.start
            for at in range(last.offset, size, SCAN):
                data = await read(at, min(at + SCAN, size))
                ends, ended = ends + data.count(b"\n"), data.endswith(b"\n")
            number = ends + (not ended) - count + 1
            return (await self._line(info.key, size, number, read))[0] if number > 1 else 0

    async def _line_at(self, info: Info, offset: int) -> int:
        """Return where the first line begins at `offset` or after it, or the size."""
        if not 0 < offset < info.size:
            return offset
        async with await self._store.open(info.key) as content:
            # Mostly a client continues where a line has ended, so the first look is at one byte.
            at, length = offset - 1, 1
            while at < info.size:
                data = await self._read(content, at, min(at + length, info.size))
                if (end := data.find(b"\n")) >= 0:
                    return at + end + 1
                at, length = at + len(data), SCAN
        return info.size

    async def _line(self, key: str, size: int, number: int, read: Read) -> tuple[int, int]:
        known = await self._store.place(key, number)
        return await find_line(read, number, max(size, known.offset), known)

    async def _read(self, content: Content, start: int, stop: int) -> bytes:
        """Read one piece.

        All searches together read one piece in each iteration of the event loop. So other tasks wait for one
        piece at most, however long the streams and however many the searches. Threads would not help: they
        would compete for the interpreter.
        """
        async with self._turn:
            self._check()
            data = await read_exactly(content, start, stop)
            await asyncio.sleep(0)
        return data

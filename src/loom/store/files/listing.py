"""Listing and counting streams: rows of the catalog, merged with the streams in memory. Reads only."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from loom.model import Folder, Info, Query, State
from loom.store import rules
from loom.store.base import Usage
from loom.store.files.disk import Disk
from loom.store.files.queries import CatalogReader, Page, Total, readable
from loom.store.files.schema import Row
from loom.store.files.table import Table
from loom.store.folders import Count, Tallies

T = TypeVar("T")
TURN = 100
"""Streams whose metadata is parsed before other tasks have their turn."""


class Lists:
    """Reads the catalog in threads, over a connection for each read. Every method raises Busy."""

    def __init__(self, table: Table, path: Path, threads: Executor) -> None:
        self._table = table
        self._path = path
        self._threads = threads

    async def read(self, look: Callable[[CatalogReader], T], threads: Executor | None = None) -> T:
        """Query the catalog in a thread, of those for listings by default."""

        def work() -> T:
            with readable(), contextlib.closing(CatalogReader(self._path)) as reader:
                return look(reader)

        return await asyncio.get_running_loop().run_in_executor(threads or self._threads, work)

    async def _read_current(self, prepare: Callable[[], Callable[[CatalogReader], T]]) -> T:
        """Query the catalog with what `prepare` returns; repeat if the catalog caught up meanwhile.

        Memory may then have forgotten streams that the rows, read before, do not show as they are.
        """
        while True:
            seen = self._table.caught_up_times
            found = await self.read(prepare())
            if seen == self._table.caught_up_times:
                return found

    async def find(self, query: Query) -> AsyncIterator[Info]:
        """Yield the matching streams, newest first: memory and pages merge by falling numbers."""
        table = self._table
        below = table.number + 1
        if query.below is not None:
            below = min(below, query.below)
        in_catalog = query.states != {State.LIVE}  # those are all in memory
        while below > 0:
            page = await self._page(query, below) if in_catalog else Page([], 0)
            rows = {number: info for number, info in page.rows if not table.hidden(number)}
            unparsed = replace(query, metadata=(), outcomes=frozenset())
            loaded = table.loaded(unparsed, range(page.least, below))
            for count, (number, stream) in enumerate(loaded.items()):
                if query.parses and count % TURN == TURN - 1:
                    await asyncio.sleep(0)
                if query.matches(stream.info):
                    rows[number] = stream.view
            for number in sorted(rows, reverse=True):
                yield rows[number]
            below = page.least

    async def _page(self, query: Query, below: int) -> Page:
        return await self._read_current(lambda: lambda reader: reader.page(query, below))

    async def folders(self, prefix: str) -> tuple[int, list[Folder]]:
        """Return Store.folders: what the catalog counts without the streams in memory, and those."""

        infos: list[Info] = []

        def prepare() -> Callable[[CatalogReader], dict[str, Count]]:
            nonlocal infos
            loaded = self._table.loaded(Query(prefix=prefix), range(self._table.number + 1))
            infos, known = [stream.view for stream in loaded.values()], self._table.known()
            return lambda reader: reader.folders(prefix, known)

        tallies = Tallies(prefix, await self._read_current(prepare))
        for info in infos:
            tallies.add(info)
        return tallies.result()

    async def due(self, now: float) -> list[Info]:
        """Return the streams whose deadline has passed, the earliest first."""
        return await self._earliest(rules.due_at, now, CatalogReader.due)

    async def expired(self, now: float) -> list[Info]:
        """Return the final streams that have expired, the earliest first."""
        return await self._earliest(rules.expires_at, now, CatalogReader.expired)

    async def _earliest(
        self,
        time: Callable[[Info], float],
        now: float,
        look: Callable[[CatalogReader, float, int], list[Row]],
    ) -> list[Info]:
        """Return the first streams whose `time` has come; `look` finds those in the catalog."""

        def prepare() -> Callable[[CatalogReader], list[Row]]:
            limit = rules.AT_ONCE + self._table.stale
            return lambda reader: look(reader, now, limit)

        rows = self._table.latest(await self._read_current(prepare), lambda info: time(info) <= now)
        found = [(time(info), number, info) for number, info in rows]
        return [info for _, _, info in sorted(found)[: rules.AT_ONCE]]

    async def count(self, disk: Disk) -> Usage:
        """Count the streams in memory, and those of the catalog that are not in memory."""
        streams, size = Counter[State](), 0

        def prepare() -> Callable[[CatalogReader], tuple[list[Total], int]]:
            nonlocal streams, size
            streams, size = self._table.totals()
            known = self._table.known()
            return lambda reader: (reader.totals(known), disk.free()[0])

        totals, free = await self._read_current(prepare)
        for state, number, total in totals:
            streams[state] += number
            size += total
        return Usage({state: streams[state] for state in State}, size, free)

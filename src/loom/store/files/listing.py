"""Listing and counting streams: pages of the catalog, merged with the streams in memory. Reads only.

Pages are read in threads. After each read the catalog may have caught up, and memory may have forgotten
streams that the read rows do not show as they are: the read is then repeated.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path

from loom.model import FINAL_STATES, Info, Query, State
from loom.store import rules
from loom.store.base import Usage
from loom.store.files.disk import Disk
from loom.store.files.queries import CatalogReader, Page, Total, readable
from loom.store.files.schema import Row
from loom.store.files.table import Table


async def listing(table: Table, path: Path, threads: Executor, query: Query) -> AsyncIterator[Info]:
    """Yield the matching streams, newest first: memory and pages merge by falling numbers."""
    loop = asyncio.get_running_loop()
    below = table.number + 1
    if query.below is not None:
        below = min(below, query.below)
    while below > 0:
        in_catalog = not query.states or bool(query.states & FINAL_STATES)
        page, least = Page([], 0)
        seen = None
        while in_catalog and seen != table.caught_up_times:
            seen = table.caught_up_times
            page, least = await loop.run_in_executor(threads, read_page, path, query, below)
        rows = {number: info for number, info in page if not table.hidden(number)}
        rows |= {number: row.view for number, row in table.loaded(query, range(least, below)).items()}
        for number in sorted(rows, reverse=True):
            yield rows[number]
        below = least


async def expired(table: Table, path: Path, threads: Executor, now: float) -> list[Info]:
    """Return the final streams that have expired, the earliest first."""

    def read(limit: int) -> list[Row]:
        with readable(), contextlib.closing(CatalogReader(path)) as reader:
            return reader.expired(now, limit)

    rows: list[Row] = []
    seen = None
    while seen != table.caught_up_times:
        seen = table.caught_up_times
        rows = await asyncio.get_running_loop().run_in_executor(threads, read, rules.AT_ONCE + table.dropped)
    at = rules.expires_at
    found = [(at(info), number, info) for number, info in table.latest(rows) if at(info) <= now]
    return [info for _, _, info in sorted(found)[: rules.AT_ONCE]]


def read_page(path: Path, query: Query, below: int) -> Page:
    """Return one page, read over a connection of its own. For a thread. Raises Busy."""
    with readable(), contextlib.closing(CatalogReader(path)) as reader:
        return reader.page(query, below)


async def count(table: Table, path: Path, threads: Executor, disk: Disk) -> Usage:
    """Count the streams in memory, and those of the catalog that are not in memory."""
    loop = asyncio.get_running_loop()
    seen = None
    streams, size, totals, free = Counter[State](), 0, list[Total](), 0
    while seen != table.caught_up_times:
        seen = table.caught_up_times
        streams, size = table.totals()
        totals, free = await loop.run_in_executor(threads, read_totals, path, table.known(), disk)
    for state, number, total in totals:
        streams[state] += number
        size += total
    return Usage({state: streams[state] for state in State}, size, free)


def read_totals(path: Path, known: list[int], disk: Disk) -> tuple[list[Total], int]:
    """Return the totals of all but the `known` streams, and the free bytes. For a thread. Raises Busy."""
    with readable(), contextlib.closing(CatalogReader(path)) as reader:
        return reader.totals(known), disk.free()[0]

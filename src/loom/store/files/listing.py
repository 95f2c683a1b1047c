"""Listing streams: pages of the catalog, with what memory knows better woven in. Reads only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path

from loom.model import FINAL_STATES, Info, Query
from loom.store.files.catalog import CatalogReader, Page, readable
from loom.store.files.table import Table


async def listing(table: Table, path: Path, threads: Executor, query: Query) -> AsyncIterator[Info]:
    """The matching streams, newest first: numbers fall, so memory and pages merge by them."""
    loop = asyncio.get_running_loop()
    below = table.number + 1
    if query.below is not None:
        below = min(below, query.below)
    while below > 0:
        in_catalog = not query.states or bool(query.states & FINAL_STATES)
        page, least = Page([], 0)
        told = None
        while in_catalog and told != table.told_times:  # else a row may be older than what memory forgot
            told = table.told_times
            page, least = await loop.run_in_executor(threads, read_page, path, query, below)
        rows = {number: info for number, info in page if not table.hidden(number)}
        rows |= {number: row.view for number, row in table.loaded(query, range(least, below)).items()}
        for number in sorted(rows, reverse=True):
            yield rows[number]
        below = least


def read_page(path: Path, query: Query, below: int) -> Page:
    """One page, over a connection of its own: this runs in a thread. Raises Busy."""
    with readable(), contextlib.closing(CatalogReader(path)) as reader:
        return reader.page(query, below)

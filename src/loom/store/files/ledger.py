"""The ledgers of shared streams: entries in memory that are not in the catalog yet, and the catalog's table.

An entry passes through `pending`, `storing` and `ahead`, then it is in the catalog. The newest one counts.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping

from loom.errors import LoomError
from loom.store.files.records import encode_entries


class Ledger:
    """What memory has of one ledger. Belongs to the event loop.

    `accepted` and `durable` are sizes as in `Info.ledger`. A future ends once what was added with it is
    durable, or has failed.
    """

    __slots__ = ("accepted", "ahead", "arriving", "durable", "pending", "stored", "storing", "weight")

    def __init__(self, size: int) -> None:
        self.accepted = self.durable = size
        self.pending: dict[str, str] = {}  # no commit cycle has taken them
        self.storing: dict[str, str] = {}  # a commit cycle has taken them
        self.ahead: dict[str, str] = {}  # durable, and not in the catalog
        self.arriving: asyncio.Future[None] | None = None
        self.stored: asyncio.Future[None] | None = None
        self.weight = 0
        """An upper bound of the bytes of `pending` in the log."""

    @property
    def idle(self) -> bool:
        """True if the catalog has everything."""
        return not (self.pending or self.storing or self.ahead or self.newest)

    @property
    def newest(self) -> asyncio.Future[None] | None:
        """The future of what was accepted last, None if all of it is durable."""
        return self.arriving or self.stored

    def find(self, name: str) -> str | None:
        """Return the text of an entry, None if memory does not have it."""
        for entries in (self.pending, self.storing, self.ahead):
            if name in entries:
                return entries[name]
        return None

    def add(self, entries: Mapping[str, str], growth: int) -> None:
        """Accept entries, maybe none, together with the bytes that were accepted just before."""
        if self.arriving is None:
            self.arriving = asyncio.get_running_loop().create_future()
        if entries:
            self.pending |= entries
            self.accepted += growth
            self.weight += len(encode_entries(entries))

    def take(self) -> None:
        """Note that a commit cycle has taken the pending entries."""
        self.storing, self.pending, self.weight = self.pending, {}, 0
        self.stored, self.arriving = self.arriving, None

    def settle(self, size: int) -> None:
        """Note that what a cycle has taken is durable; the ledger has this size now."""
        self.ahead |= self.storing
        self.storing, self.durable = {}, size
        stored, self.stored = self.stored, None
        if stored is not None:
            stored.set_result(None)

    def drop(self, error: LoomError) -> None:
        """Forget what is not durable, and report `error` to those who wait for it."""
        for future in (self.stored, self.arriving):
            if future is not None:
                future.set_exception(error)
                future.exception()  # the callers may all have been cancelled, which is no error
        self.stored = self.arriving = None
        self.pending, self.storing, self.weight = {}, {}, 0
        self.accepted = self.durable

    def forget(self, entries: Mapping[str, str]) -> None:
        """Note that the catalog has these entries. Newer ones of the same names are kept."""
        for name, value in entries.items():
            if self.ahead.get(name) == value:
                del self.ahead[name]


def look_up(db: sqlite3.Connection, number: int, name: str) -> str | None:
    """Return the text of an entry in the catalog."""
    row = db.execute("SELECT value FROM ledger WHERE number = ? AND name = ?", (number, name)).fetchone()
    return str(row[0]) if row else None


def keep(db: sqlite3.Connection, number: int, entries: Mapping[str, str]) -> None:
    """Store entries of one stream in the catalog."""
    rows = ((number, name, value) for name, value in entries.items())
    db.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", rows)


def remove(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove the ledgers of deleted streams from the catalog."""
    db.executemany("DELETE FROM ledger WHERE number = ?", ((each,) for each in numbers))

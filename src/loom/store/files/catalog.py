"""The writing side of the catalog: one row a stream, in SQLite. An image of the commit log, never ahead.

Owns `catalog.sqlite`. One connection, in one thread at a time, does all the writing.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from loom.model import Info
from loom.store.files import index as sparse
from loom.store.files import ledger, members
from loom.store.files.schema import (
    SELECT,
    UNFINISHED,
    UPSERT,
    Row,
    connect,
    info_of,
    migrate,
    schema_of,
    values,
)
from loom.store.holdings import Held
from loom.store.places import GRAIN, Count, Mark


class Catalog:
    """The catalog, created or migrated where needed. All methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        fresh = not path.exists()
        self._db = connect(path, read_only=False)
        try:
            schema = schema_of(self._db)
            with self._transaction(flush=True) as db:
                migrate(db, schema)
            if fresh:
                os.chmod(path, 0o640)
        except BaseException:
            self._db.close()
            raise

    def fact(self, name: str) -> int:
        """Return a fact by its name.

        seed        seeds the hashes of the log
        checkpoint  the lsn up to which no log is needed, 0 before the first checkpoint
        flushed     whether the log after that was written with flushes
        number      the last stream number that was assigned
        settled     a content file with a higher number may belong to a stream that was never created
        size        the bytes of all streams
        metadata    the bytes of the metadata of all streams
        ledgers     the sum of Info.ledger
        unindexed   the last stream number that is not in the index of metadata, 0 once all are
        """
        (value,) = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(value)

    def owners(self) -> dict[str, Held]:
        """Return the number of streams of each owner."""
        rows = self._db.execute("SELECT owner, streams, open FROM owners")
        return {owner: Held(streams, open) for owner, streams, open in rows}

    def store(
        self,
        rows: Iterable[Row],
        deletes: Sequence[int],
        number: int,
        *,
        settled: int | None = None,
        entries: Mapping[int, Mapping[str, str]] | None = None,
        marks: Mapping[int, Iterable[Mark]] | None = None,
        grains: Mapping[int, float] | None = None,
        checkpoint: int | None = None,
    ) -> None:
        """Apply changes in one transaction; with `checkpoint` they are durable on return.

        `settled` is a fact, `number` by default. `entries` are added to the ledgers of streams, `marks` to
        their index. Moments of those with `grains` are thinned to them.
        Raises sqlite3.Error with nothing applied; the same changes may be given again, with more.
        """
        with self._transaction(flush=checkpoint is not None) as db:
            rows = list(rows)
            members.forget(db, deletes)
            members.keep(db, rows)
            # Deletes first: a replaced stream has the same id as the one that replaces it.
            db.executemany("DELETE FROM streams WHERE number = ?", ((each,) for each in deletes))
            db.executemany(UPSERT, (values(*row) for row in rows))
            sparse.forget(db, deletes)
            ledger.remove(db, deletes)
            for each, added in (entries or {}).items():
                ledger.keep(db, each, added)
            for each, found in (marks or {}).items():
                sparse.keep(db, each, found)
            for each, grain in (grains or {}).items():
                sparse.thin(db, each, grain)
            db.execute("UPDATE facts SET value = ? WHERE name = 'number'", (number,))
            db.execute(
                "UPDATE facts SET value = ? WHERE name = 'settled'", (number if settled is None else settled,)
            )
            if checkpoint is not None:
                db.execute("UPDATE facts SET value = ? WHERE name = 'checkpoint'", (checkpoint,))
        if checkpoint is not None:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def fill_members(self) -> bool:
        """Add some streams of a catalog of an older version to the index of metadata, the newest first.

        Return True until all are added. Raises sqlite3.Error.
        """
        until = self.fact("unindexed")
        if until:
            with self._transaction(flush=True) as db:
                until = members.fill(db, until)
                db.execute("UPDATE facts SET value = ? WHERE name = 'unindexed'", (until,))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return until > 0

    def mend_index(self, rows: Iterable[Row], now: float) -> None:
        """Adapt the index to streams as recovery left them: drop marks after their ends, and widen the last
        moment where the arrival of later bytes may have been lost."""
        with self._transaction(flush=False) as db:
            for number, info in rows:
                known = self.rows([number]).get(number)
                until = now if info.ended is None else info.ended
                sparse.cut(db, number, info.size)
                if info.size > (known.size if known else 0) and until > info.created + GRAIN:
                    sparse.stretch(db, number, info.created, until)

    def counted(self, number: int) -> Count:
        """Return how far the lines of a stream are counted."""
        return sparse.counted(self._db, number)

    def set_fact(self, name: str, value: int) -> None:
        """Set a fact; durable on return. Raises sqlite3.Error."""
        with self._transaction(flush=True) as db:
            db.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))

    @contextlib.contextmanager
    def _transaction(self, *, flush: bool) -> Iterator[sqlite3.Connection]:
        """Run one transaction. With `flush` its commit is durable, and so is every commit before it."""
        self._db.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def rows(self, numbers: Iterable[int]) -> dict[int, Info]:
        """Return the rows of some streams."""
        found = {}
        for number in numbers:
            row = self._db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone()
            if row:
                found[number] = info_of(row)
        return found

    def every(self) -> Iterator[Row]:
        """Yield all streams, oldest first."""
        return ((row[0], info_of(row)) for row in self._db.execute(f"{SELECT} ORDER BY number"))

    def produced(self) -> list[Row]:
        """Return every stream that has or lost a producer and is not final."""
        query = f"{SELECT} WHERE {UNFINISHED} AND state IN ('live', 'interrupted')"
        return [(row[0], info_of(row)) for row in self._db.execute(query)]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

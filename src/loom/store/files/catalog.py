"""The catalog: one row a stream, in SQLite. An image of the commit log, never ahead of it; owns
`catalog.sqlite`.

One connection, in one thread at a time, does all the writing. Others are read-only and read briefly.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from loom.errors import Busy, ConfigError
from loom.model import Info, Query, State
from loom.store.files import index as sparse
from loom.store.places import GRAIN, Count, LinePlace, Mark, Moment, place_of, sample

FORMAT = 1
COLUMNS = (
    "number", "key", "id", "epoch", "state", "reason", "size", "metadata", "content_type",
    "created", "ended", "deadline", "resume_window", "idempotency_key", "length", "amended", "ttl", "expires",
    "digest", "version",
)  # fmt: skip
INFO_COLUMNS = COLUMNS[1:]
SCHEMA = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE streams (
        number INTEGER PRIMARY KEY, key TEXT NOT NULL, id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL, size INTEGER NOT NULL, metadata TEXT NOT NULL,
        content_type TEXT NOT NULL, created REAL NOT NULL, ended REAL, deadline REAL,
        resume_window REAL NOT NULL, idempotency_key TEXT NOT NULL, length INTEGER, amended INTEGER NOT NULL,
        ttl REAL, expires REAL, version INTEGER NOT NULL
    )""",
    "CREATE INDEX unfinished ON streams (state) WHERE state IN ('live', 'interrupted', 'open')",
    f"PRAGMA user_version = {FORMAT}",
)
SELECT = f"SELECT {', '.join(COLUMNS)} FROM streams"  # noqa: S608  # our own column names
UPSERT = (  # our own column names
    f"INSERT INTO streams ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT (number) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in INFO_COLUMNS)}"
)
ADDED = {"ttl": "REAL", "expires": "REAL", "digest": "TEXT"}
"""Columns that catalogs of this format may come without."""
INDEXES = (
    "CREATE INDEX IF NOT EXISTS created ON streams (created)",
    "CREATE INDEX IF NOT EXISTS expiring ON streams (expires) WHERE expires NOT NULL AND ended NOT NULL",
)
"""Indexes they may come without."""
SIZE = "INSERT INTO facts SELECT 'size', coalesce(sum(size), 0) FROM streams"
"""A fact they may come without, from when it is there kept by these triggers."""
TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON streams "  # noqa: S608
    f"BEGIN UPDATE facts SET value = value + {more} WHERE name = 'size'; END"
    for name, event, more in (
        ("came", "INSERT", "new.size"),
        ("grew", "UPDATE OF size", "new.size - old.size"),
        ("went", "DELETE", "-old.size"),
    )
)
PAGE = 500
WINDOW = 20_000
"""Rows that one page looks at, at most: some 20 ms in a thread, however many streams there are."""

Row = tuple[int, Info]


class Total(NamedTuple):
    """How many streams are in a state, and their bytes."""

    state: State
    number: int
    size: int


class Page(NamedTuple):
    """Rows of a listing, newest first: all that are wanted with a number of `least` or above."""

    rows: list[Row]
    least: int


class Condition(NamedTuple):
    """A piece of SQL and its parameters."""

    text: str
    parameters: list[object]


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection that begins and ends transactions only as told. Raises ConfigError, sqlite3.Error."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        configure(connection, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def configure(connection: sqlite3.Connection, *, read_only: bool) -> None:
    """Nothing happens by itself: not a checkpoint, and no flush but where it is asked for."""
    connection.execute("PRAGMA busy_timeout = 5000")
    if not read_only:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ConfigError("The catalog cannot use a write-ahead log here; use a local file system.")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, FORMAT):
        raise ConfigError(f"The catalog has format {version}; this version of Loom reads {FORMAT}.")


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What SQLite cannot read now, for want of descriptors as a rule, is Busy."""
    try:
        yield
    except sqlite3.Error as error:
        raise Busy("The catalog cannot be read just now; try again later.") from error


class Catalog:
    """The writing side. All methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        fresh = not path.exists()
        self._db = connect(path, read_only=False)
        if self._db.execute("PRAGMA user_version").fetchone() == (0,):
            self._create()
        self._complete()
        if fresh:
            os.chmod(path, 0o640)

    def _create(self) -> None:
        seed = int.from_bytes(os.urandom(7))
        with self._transaction(flush=True) as db:
            for statement in SCHEMA:
                db.execute(statement)
            facts = {"seed": seed, "checkpoint": 0, "number": 0, "flushed": 1}
            db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())

    def _complete(self) -> None:
        present = {row[1] for row in self._db.execute("PRAGMA table_info(streams)")}
        for name, kind in ADDED.items():
            if name not in present:
                self._db.execute(f"ALTER TABLE streams ADD COLUMN {name} {kind}")
        for statement in (*INDEXES, *sparse.TABLES):
            self._db.execute(statement)
        with self._transaction(flush=False) as db:
            if db.execute("SELECT 1 FROM facts WHERE name = 'size'").fetchone() is None:
                db.execute(SIZE)
            for trigger in TRIGGERS:
                db.execute(trigger)

    def fact(self, name: str) -> int:
        """`seed` of the log; `checkpoint`, the lsn up to which no log is needed, 0 before there is one;
        `flushed`, whether the log behind that was written with flushes; `number`, the last given; `size`, the
        bytes of all streams."""
        (value,) = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(value)

    def store(
        self,
        rows: Iterable[Row],
        deletes: Sequence[int],
        number: int,
        *,
        marks: Mapping[int, Iterable[Mark]] | None = None,
        grains: Mapping[int, float] | None = None,
        checkpoint: int | None = None,
    ) -> None:
        """Apply changes in one transaction; with `checkpoint` it is durable on return, and says so.

        `marks` go to the index of streams; moments of those with `grains` are thinned to them.

        Raises sqlite3.Error with nothing applied: call again with the same and more.
        """
        with self._transaction(flush=checkpoint is not None) as db:
            db.executemany("DELETE FROM streams WHERE number = ?", ((each,) for each in deletes))
            db.executemany(UPSERT, (values(*row) for row in rows))
            sparse.forget(db, deletes)
            for each, found in (marks or {}).items():
                sparse.keep(db, each, found)
            for each, grain in (grains or {}).items():
                sparse.thin(db, each, grain)
            db.execute("UPDATE facts SET value = ? WHERE name = 'number'", (number,))
            if checkpoint is not None:
                db.execute("UPDATE facts SET value = ? WHERE name = 'checkpoint'", (checkpoint,))
        if checkpoint is not None:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def mend_index(self, rows: Iterable[Row], now: float) -> None:
        """What the index says of streams as a start finds them: nothing of bytes that are not there, and of
        those that it may have missed no more than it knows."""
        with self._transaction(flush=False) as db:
            for number, info in rows:
                known = self.rows([number]).get(number)
                until = now if info.ended is None else info.ended
                sparse.cut(db, number, info.size)
                if info.size > (known.size if known else 0) and until > info.created + GRAIN:
                    sparse.stretch(db, number, info.created, until)

    def counted(self, number: int) -> Count:
        """How far the lines of a stream have been counted."""
        return sparse.counted(self._db, number)

    def set_fact(self, name: str, value: int) -> None:
        """Durable on return. Raises sqlite3.Error."""
        with self._transaction(flush=True) as db:
            db.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))

    @contextlib.contextmanager
    def _transaction(self, *, flush: bool) -> Iterator[sqlite3.Connection]:
        """With `flush` the commit flushes the write-ahead log, which covers every earlier commit in it."""
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
        """The rows of some streams."""
        found = {}
        for number in numbers:
            row = self._db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone()
            if row:
                found[number] = info_of(row)
        return found

    def every(self) -> Iterator[Row]:
        """All streams, oldest first."""
        return ((row[0], info_of(row)) for row in self._db.execute(f"{SELECT} ORDER BY number"))

    def unfinished(self) -> list[Row]:
        """Every stream that is not final."""
        query = f"{SELECT} WHERE state IN ('live', 'interrupted', 'open')"
        return [(row[0], info_of(row)) for row in self._db.execute(query)]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class CatalogReader:
    """A reading side: point look-ups are short enough for an event loop, pages are not. Raises Busy."""

    def __init__(self, path: Path) -> None:
        with readable():
            self._db = connect(path, read_only=True)

    def by_id(self, id: str) -> Row | None:
        """The stream of that id."""
        with readable():
            row = self._db.execute(f"{SELECT} WHERE id = ?", (id,)).fetchone()
        return (row[0], info_of(row)) if row else None

    def by_number(self, number: int) -> Row | None:
        """The stream of that number."""
        with readable():
            row = self._db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone()
        return (row[0], info_of(row)) if row else None

    @readable()
    def place(self, number: int, line: int) -> LinePlace:
        """The last place that the index has of a stream before the start of a line, or there."""
        return sparse.place_before(self._db, number, line)

    @readable()
    def moments(self, number: int, when: float) -> list[Moment]:
        """The moments next to a time."""
        return sparse.moments_around(self._db, number, when)

    @readable()
    def places(
        self, number: int, recent: Sequence[Mark], created: float, lines: tuple[int, int], count: int
    ) -> list[LinePlace]:
        """See Store.places; `recent` is what the index does not have yet."""
        moments = sparse.moments_of(self._db, number)
        moments += [mark for mark in recent if isinstance(mark, Moment)]
        return sample(
            lambda line: nearest(self.place(number, line), recent, line), moments, created, lines, count
        )

    @readable()
    def expired(self, now: float, limit: int) -> list[Row]:
        """Final streams that expire at or before `now`, the earliest first."""
        over = f"{SELECT} WHERE ended NOT NULL AND expires <= ? ORDER BY expires LIMIT ?"
        return [(row[0], info_of(row)) for row in self._db.execute(over, (now, limit))]

    @readable()
    def page(self, query: Query, below: int) -> Page:
        """The newest matching streams with a number under `below`, after a look at WINDOW rows at most."""
        wanted = [*ranges(query).values(), *filters(query)]
        index = self._narrow(query)
        least = 0 if index or not wanted else self._window(below)
        conditions = [Condition("number < ? AND number >= ?", [below, least]), *wanted]
        found = self._db.execute(
            f"{SELECT} {f'INDEXED BY {index}' if index else 'NOT INDEXED'} "
            f"WHERE {' AND '.join(each.text for each in conditions)} ORDER BY number DESC LIMIT {PAGE}",
            [parameter for each in conditions for parameter in each.parameters],
        ).fetchall()
        rows = [(row[0], info_of(row)) for row in found]
        return Page(
            [row for row in rows if query.matches(row[1])], rows[-1][0] if len(rows) == PAGE else least
        )

    def totals(self, but: Sequence[int]) -> list[Total]:
        """Of all streams but those. Looks at every row: a fifth of a second for a million."""
        query = (
            "SELECT state, count(*), sum(size) FROM streams "
            "WHERE number NOT IN (SELECT value FROM json_each(?)) GROUP BY state"
        )
        counted = self._db.execute(query, [json.dumps(but)])
        return [Total(State(state), number, size) for state, number, size in counted]

    def _narrow(self, query: Query) -> str:
        """An index by which the query has no more than WINDOW rows to look at, if there is one."""
        for index, (text, parameters) in ranges(query).items():
            few = f"SELECT 1 FROM streams INDEXED BY {index} WHERE {text} LIMIT {WINDOW + 1}"  # noqa: S608
            if self._db.execute(f"SELECT count(*) FROM ({few})", parameters).fetchone() <= (WINDOW,):  # noqa: S608
                return index
        return ""

    def _window(self, below: int) -> int:
        """The number with WINDOW rows between it and `below`, 0 if there are fewer."""
        text = f"SELECT number FROM streams WHERE number < ? ORDER BY number DESC LIMIT 1 OFFSET {WINDOW - 1}"  # noqa: S608
        row = self._db.execute(text, [below]).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def nearest(place: LinePlace, recent: Iterable[Mark], line: int) -> LinePlace:
    """The place before a line, with those that the index does not have yet."""
    places = {place, *(mark for mark in recent if isinstance(mark, LinePlace))}
    return place_of(sorted(places, key=lambda each: each.offset), line)


def ranges(query: Query) -> dict[str, Condition]:
    """What an index knows the answer to, by the index."""
    found = {}
    if query.prefix:
        end = behind(query.prefix)
        found["sqlite_autoindex_streams_1"] = Condition(
            "id >= ? AND id < ?" if end else "id >= ?", [query.prefix, end] if end else [query.prefix]
        )
    if query.created_after is not None:
        found["created"] = Condition("created > ?", [query.created_after])
    return found


def filters(query: Query) -> Iterator[Condition]:
    """What has to be looked up in each row; of metadata it lets through more than is wanted."""
    if query.states:
        yield Condition(f"state IN ({', '.join('?' * len(query.states))})", [*sorted(query.states)])
    if query.undigested:
        yield Condition("digest IS NULL", [])
    for name, text in query.metadata:
        # Where nothing is escaped, a member and a string or a literal stand as they are.
        literals = [f'"{name}"', *([] if text.startswith(("[", "{")) else [text])]
        plain = " AND ".join(["instr(metadata, ?)"] * len(literals))
        yield Condition(f"(instr(metadata, '\\') OR {plain})", [*literals])


def behind(prefix: str) -> str:
    """The least text above all that begin with `prefix`; empty if there is none."""
    prefix = prefix.rstrip("\U0010ffff")
    if not prefix:
        return ""
    following = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if following == 0xD800 else following)


def values(number: int, info: Info) -> tuple[object, ...]:
    """A row for UPSERT."""
    return (number, *(getattr(info, name) for name in INFO_COLUMNS))


def info_of(row: Sequence[object]) -> Info:
    """The stream of a SELECTed row."""
    fields = dict(zip(INFO_COLUMNS, row[1:], strict=True))
    values = {**fields, "state": State(str(fields["state"])), "amended": bool(fields["amended"])}
    return Info(**values)  # type: ignore[arg-type]  # as UPSERT wrote

"""The schema of the catalog as numbered migrations, connections to it, and its rows as values.

Migration n brings a catalog of schema n - 1 to schema n; `PRAGMA user_version` holds the number. A released
migration never changes: a change of the schema is one more migration at the end.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from loom.errors import ConfigError
from loom.model import Framing, Info, State

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (  # 1: a row a stream; facts, see Catalog.fact
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE streams (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL, id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL,
            state TEXT NOT NULL, reason TEXT NOT NULL, size INTEGER NOT NULL, metadata TEXT NOT NULL,
            content_type TEXT NOT NULL, created REAL NOT NULL, ended REAL, deadline REAL,
            resume_window REAL NOT NULL, idempotency_key TEXT NOT NULL, length INTEGER,
            amended INTEGER NOT NULL, version INTEGER NOT NULL
        )""",
        "CREATE INDEX unfinished ON streams (state) WHERE state IN ('live', 'interrupted', 'open')",
    ),
    (  # 2: listings by time; streams expire
        "CREATE INDEX IF NOT EXISTS created ON streams (created)",
        "ALTER TABLE streams ADD COLUMN ttl REAL",
        "ALTER TABLE streams ADD COLUMN expires REAL",
        "CREATE INDEX IF NOT EXISTS expiring ON streams (expires) WHERE expires NOT NULL AND ended NOT NULL",
    ),
    (  # 3: complete streams have a digest
        "ALTER TABLE streams ADD COLUMN digest TEXT",
    ),
    (  # 4: the index of lines and times
        """CREATE TABLE IF NOT EXISTS places (
            number INTEGER NOT NULL, line INTEGER NOT NULL, offset INTEGER NOT NULL, start INTEGER NOT NULL,
            PRIMARY KEY (number, line, offset)
        ) WITHOUT ROWID""",
        """CREATE TABLE IF NOT EXISTS moments (
            number INTEGER NOT NULL, time REAL NOT NULL, offset INTEGER NOT NULL, grain REAL NOT NULL,
            PRIMARY KEY (number, time, offset)
        ) WITHOUT ROWID""",
    ),
    (  # 5: the bytes of all streams, kept by triggers
        "INSERT OR IGNORE INTO facts SELECT 'size', coalesce(sum(size), 0) FROM streams",
        """CREATE TRIGGER IF NOT EXISTS came AFTER INSERT ON streams
        BEGIN UPDATE facts SET value = value + new.size WHERE name = 'size'; END""",
        """CREATE TRIGGER IF NOT EXISTS grew AFTER UPDATE OF size ON streams
        BEGIN UPDATE facts SET value = value + new.size - old.size WHERE name = 'size'; END""",
        """CREATE TRIGGER IF NOT EXISTS went AFTER DELETE ON streams
        BEGIN UPDATE facts SET value = value - old.size WHERE name = 'size'; END""",
    ),
    (  # 6: the index of metadata; Catalog.fill_members adds the streams that are stored already
        """CREATE TABLE IF NOT EXISTS members (
            code INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (code, number)
        ) WITHOUT ROWID""",
        "INSERT OR IGNORE INTO facts SELECT 'unindexed', coalesce(max(number), 0) FROM streams",
    ),
    (  # 7: outcomes in the index of metadata, which Catalog.fill_members fills again
        "UPDATE facts SET value = (SELECT coalesce(max(number), 0) FROM streams) WHERE name = 'unindexed'",
    ),
    (  # 8: streams have owners; the streams of each owner and the bytes of all metadata, kept by triggers
        "ALTER TABLE streams ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE owners (owner TEXT PRIMARY KEY, streams INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO owners SELECT owner, count(*) FROM streams GROUP BY owner",
        "INSERT INTO facts SELECT 'metadata', coalesce(sum(length(metadata)), 0) FROM streams",
        """CREATE TRIGGER described AFTER INSERT ON streams BEGIN
            UPDATE facts SET value = value + length(new.metadata) WHERE name = 'metadata';
            INSERT INTO owners VALUES (new.owner, 1) ON CONFLICT (owner) DO UPDATE SET streams = streams + 1;
        END""",
        """CREATE TRIGGER amended AFTER UPDATE OF metadata ON streams
        WHEN new.metadata <> old.metadata BEGIN
            UPDATE facts SET value = value + length(new.metadata) - length(old.metadata)
            WHERE name = 'metadata';
        END""",
        """CREATE TRIGGER disowned AFTER DELETE ON streams BEGIN
            UPDATE facts SET value = value - length(old.metadata) WHERE name = 'metadata';
            UPDATE owners SET streams = streams - 1 WHERE owner = old.owner;
            DELETE FROM owners WHERE owner = old.owner AND streams = 0;
        END""",
    ),
    (  # 9: shared streams and their ledgers, forks; the bytes of all ledgers, kept by triggers
        "ALTER TABLE streams ADD COLUMN framing TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE streams ADD COLUMN source TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE streams ADD COLUMN fork INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE streams ADD COLUMN gone INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE streams ADD COLUMN ledger INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE ledger (
            number INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (number, name)
        ) WITHOUT ROWID""",
        "INSERT INTO facts VALUES ('ledgers', 0)",
        "INSERT INTO facts SELECT 'settled', value FROM facts WHERE name = 'number'",
        """CREATE TRIGGER opened AFTER INSERT ON streams WHEN new.ledger > 0
        BEGIN UPDATE facts SET value = value + new.ledger WHERE name = 'ledgers'; END""",
        """CREATE TRIGGER entered AFTER UPDATE OF ledger ON streams WHEN new.ledger <> old.ledger
        BEGIN UPDATE facts SET value = value + new.ledger - old.ledger WHERE name = 'ledgers'; END""",
        """CREATE TRIGGER cleared AFTER DELETE ON streams WHEN old.ledger > 0
        BEGIN UPDATE facts SET value = value - old.ledger WHERE name = 'ledgers'; END""",
    ),
    (  # 10: streams at rest are not held in memory: an index of deadlines; how many each owner left open
        "CREATE INDEX due ON streams (deadline) WHERE deadline NOT NULL",
        "ALTER TABLE owners ADD COLUMN open INTEGER NOT NULL DEFAULT 0",
        """UPDATE owners SET open = found.count FROM (
            SELECT owner, count(*) AS count FROM streams WHERE state = 'open' AND framing = '' GROUP BY owner
        ) AS found WHERE found.owner = owners.owner""",
        "DROP TRIGGER described",
        """CREATE TRIGGER described AFTER INSERT ON streams BEGIN
            UPDATE facts SET value = value + length(new.metadata) WHERE name = 'metadata';
            INSERT INTO owners VALUES (new.owner, 1, new.state = 'open' AND new.framing = '')
            ON CONFLICT (owner) DO UPDATE SET streams = streams + 1, open = open + excluded.open;
        END""",
        """CREATE TRIGGER turned AFTER UPDATE OF state ON streams
        WHEN (new.state = 'open') <> (old.state = 'open') AND new.framing = '' BEGIN
            UPDATE owners SET open = open + CASE new.state WHEN 'open' THEN 1 ELSE -1 END
            WHERE owner = new.owner;
        END""",
        "DROP TRIGGER disowned",
        """CREATE TRIGGER disowned AFTER DELETE ON streams BEGIN
            UPDATE facts SET value = value - length(old.metadata) WHERE name = 'metadata';
            UPDATE owners SET streams = streams - 1, open = open - (old.state = 'open' AND old.framing = '')
            WHERE owner = old.owner;
            DELETE FROM owners WHERE owner = old.owner AND streams = 0;
        END""",
    ),
    (  # 11: shared streams expire whether or not they are final
        "DROP INDEX IF EXISTS expiring",
        """CREATE INDEX expiring ON streams (expires)
        WHERE expires NOT NULL AND (ended NOT NULL OR framing <> '')""",
    ),
)
SCHEMA = len(MIGRATIONS)
COLUMNS = (
    "number", "key", "id", "epoch", "state", "reason", "size", "metadata", "content_type",
    "created", "ended", "deadline", "resume_window", "idempotency_key", "length", "amended", "ttl", "expires",
    "digest", "owner", "framing", "source", "fork", "gone", "ledger", "version",
)  # fmt: skip
INFO_COLUMNS = COLUMNS[1:]
SELECT = f"SELECT {', '.join(COLUMNS)} FROM streams"  # noqa: S608  # our own column names
UPSERT = (  # our own column names
    f"INSERT INTO streams ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT (number) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in INFO_COLUMNS)}"
)

UNFINISHED = "state IN ('live', 'interrupted', 'open')"
"""The condition of the index `unfinished`. SQLite uses that index only where a query repeats it."""

Row = tuple[int, Info]
"""The number of a stream, and its row."""


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a connection that begins no transaction by itself. Raises ConfigError, sqlite3.Error."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        if not read_only:
            configure(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def configure(connection: sqlite3.Connection) -> None:
    """Turn off what SQLite does by itself: checkpoints, and flushes that were not requested."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigError("The catalog cannot use a write-ahead log here; use a local file system.")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = NORMAL")


def schema_of(connection: sqlite3.Connection) -> int:
    """Return the schema number, 0 for a new catalog. Raises ConfigError for one that is not known."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    if number > SCHEMA:
        raise ConfigError(
            f"The catalog was written by a later version of Loom: it has schema {number}, and this version "
            f"knows schemas up to {SCHEMA}. Use that version, or a later one."
        )
    return int(number)


def migrate(db: sqlite3.Connection, number: int) -> None:
    """Bring the catalog from schema `number` to the newest, within a transaction."""
    for statement in (each for migration in MIGRATIONS[number:] for each in migration):
        try:
            db.execute(statement)
        except sqlite3.OperationalError as error:
            # The versions that introduced 2 to 5 left the number at 1. So these migrations may find their
            # work done, in part or whole, and SQLite has no ADD COLUMN IF NOT EXISTS.
            if number != 1 or "duplicate column name" not in str(error):
                raise
    if number < SCHEMA:
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    if number == 0:
        seed = int.from_bytes(os.urandom(7))
        facts = {"seed": seed, "checkpoint": 0, "number": 0, "flushed": 1, "settled": 0}
        db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())


def values(number: int, info: Info) -> tuple[object, ...]:
    """Return the values of a row for UPSERT."""
    return (number, *(getattr(info, name) for name in INFO_COLUMNS))


def info_of(row: Sequence[object]) -> Info:
    """Return the stream of a row of SELECT."""
    fields = dict(zip(INFO_COLUMNS, row[1:], strict=True))
    values = {
        **fields,
        "state": State(str(fields["state"])),
        "framing": Framing(str(fields["framing"])),
        "amended": bool(fields["amended"]),
        "gone": bool(fields["gone"]),
    }
    return Info(**values)  # type: ignore[arg-type]  # as UPSERT wrote

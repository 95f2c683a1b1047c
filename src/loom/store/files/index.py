"""The index of lines and times: two tables of the catalog. Functions that write need a transaction.

Like the rest of the catalog it is an image of the log, never ahead of what is durable. If a crash loses a
part of the index, look-ups become less exact, and nothing else changes.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from loom.store.places import ORIGIN, Count, LinePlace, Mark, Moment, thinned

PLACE = """SELECT line, offset, start FROM places WHERE number = ? AND line <= ? AND (line < ? OR start)
    ORDER BY line DESC, offset DESC LIMIT 1"""
LAST = "SELECT line, offset FROM places WHERE number = ? ORDER BY line DESC, offset DESC LIMIT 1"
KEEP_PLACE = "INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?)"
# A stream that comes back into memory for each append keeps no more moments than one that stays there.
WIDEN = """UPDATE moments SET grain = max(grain, ?2 + ?4 - time)
    WHERE number = ?1 AND time > ?2 - ?4 AND time <= ?2 AND offset <= ?3 AND (time, offset) = (
        SELECT time, offset FROM moments WHERE number = ?1 ORDER BY time DESC, offset DESC LIMIT 1
    )"""
KEEP_MOMENT = """INSERT OR IGNORE INTO moments SELECT ?1,
    max(?2, coalesce((SELECT max(time) FROM moments WHERE number = ?1), ?2)), ?3, ?4"""
AROUND = """SELECT time, offset, grain FROM moments WHERE number = ?1 AND time IN (
    (SELECT max(time) FROM moments WHERE number = ?1 AND time <= ?2),
    (SELECT min(time) FROM moments WHERE number = ?1 AND time > ?2))"""
MOMENTS_OF = "SELECT time, offset, grain FROM moments WHERE number = ? ORDER BY time, offset"


def keep(db: sqlite3.Connection, number: int, marks: Iterable[Mark]) -> None:
    """Add marks to the index of a stream. A moment is never dated before the one it follows, even if the
    clock was set back."""
    for mark in marks:
        if isinstance(mark, LinePlace):
            db.execute(KEEP_PLACE, (number, mark.line, mark.offset, mark.start))
        elif not db.execute(WIDEN, (number, mark.time, mark.offset, mark.grain)).rowcount:
            db.execute(KEEP_MOMENT, (number, mark.time, mark.offset, mark.grain))


def forget(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Drop the index of deleted streams."""
    for table in ("places", "moments"):
        db.executemany(f"DELETE FROM {table} WHERE number = ?", ((each,) for each in numbers))  # noqa: S608


def thin(db: sqlite3.Connection, number: int, grain: float) -> None:
    """Keep fewer moments of a stream, none within `grain` of another."""
    _replace(db, number, thinned(moments_of(db, number), grain))


def stretch(db: sqlite3.Connection, number: int, created: float, now: float) -> None:
    """Widen the last moment of a stream to `now`: bytes after it arrived at some time between the two."""
    moments = moments_of(db, number) or [Moment(created, 0)]
    last = moments[-1]
    _replace(db, number, [*moments[:-1], Moment(last.time, last.offset, max(last.grain, now - last.time))])


def cut(db: sqlite3.Connection, number: int, size: int) -> None:
    """Drop marks after the end of a stream."""
    for table in ("places", "moments"):
        db.execute(f"DELETE FROM {table} WHERE number = ? AND offset > ?", (number, size))  # noqa: S608


def _replace(db: sqlite3.Connection, number: int, moments: Iterable[Moment]) -> None:
    db.execute("DELETE FROM moments WHERE number = ?", (number,))
    db.executemany(
        "INSERT INTO moments VALUES (?, ?, ?, ?)",
        [(number, each.time, each.offset, each.grain) for each in moments],
    )


def moments_of(db: sqlite3.Connection, number: int) -> list[Moment]:
    """Return every moment of a stream, the earliest first."""
    return [Moment(*row) for row in db.execute(MOMENTS_OF, (number,))]


def moments_around(db: sqlite3.Connection, number: int, when: float) -> list[Moment]:
    """Return the moments next to a time, before and after it. Short enough for an event loop."""
    return [Moment(*row) for row in db.execute(AROUND, (number, when))]


def place_before(db: sqlite3.Connection, number: int, line: int) -> LinePlace:
    """Return the last place at or before the start of a line. Short enough for an event loop."""
    row = db.execute(PLACE, (number, line, line)).fetchone()
    return LinePlace(row[0], row[1], bool(row[2])) if row else ORIGIN


def counted(db: sqlite3.Connection, number: int) -> Count:
    """Return how far the lines of a stream are counted, as far as its places show."""
    row = db.execute(LAST, (number,)).fetchone()
    return Count(row[1], row[0] - 1, row[1]) if row else Count()

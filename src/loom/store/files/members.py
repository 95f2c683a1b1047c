"""The index of metadata: from members to streams, in the catalog. Functions that write need a transaction.

A member, its name and its text, has a hash as its code. So the index gives candidates, and `Query.matches`
decides. A stream with many members has only the code MANY and is a candidate for every member. So no stream
costs more than MOST entries, each of which may lie in another page.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from loom.model import members

MOST = 32
MANY = 0
CANDIDATES = 2000
"""Streams that one page of a listing looks at, at most."""
FILLED_AT_ONCE = 20_000
UNINDEXED = "(SELECT value FROM facts WHERE name = 'unindexed')"
CODED = f"SELECT number FROM members WHERE code IN (?, {MANY})"  # noqa: S608  # our own number
CANDIDATE = f"number IN ({CODED} AND number < ? AND number >= ?)"
MAY_HAVE = f"(number <= {UNINDEXED} OR EXISTS ({CODED} AND members.number = streams.number))"
OF = "SELECT metadata FROM streams WHERE number = ?"
ADD = "INSERT OR IGNORE INTO members VALUES (?, ?)"
DROP = "DELETE FROM members WHERE code = ? AND number = ?"


class Candidates(NamedTuple):
    """The newest streams that may have a member: those with a number of `least` or above."""

    size: int
    least: int
    code: int


def code_of(name: str, text: str) -> int:
    """Return the code of a member, as a signed integer of 64 bits."""
    data = f"{len(name)}:{name}{text}".encode("utf-8", "surrogatepass")
    code = xxh3_64_intdigest(data) or 1
    return code - (code >> 63 << 64)


def codes(metadata: str) -> set[int]:
    """Return the codes of metadata."""
    found = members(metadata)
    return {MANY} if len(found) > MOST else {code_of(*each) for each in found.items()}


def keep(db: sqlite3.Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Adapt the index to the metadata that streams will have, before it is stored."""
    for number, metadata in rows:
        stored = db.execute(OF, (number,)).fetchone()
        before = stored[0] if stored else "{}"
        if metadata != before:
            old, new = codes(before), codes(metadata)
            db.executemany(DROP, ((code, number) for code in old - new))
            db.executemany(ADD, ((code, number) for code in new - old))


def forget(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Drop streams from the index, before they are deleted."""
    keep(db, ((number, "{}") for number in numbers))


def fill(db: sqlite3.Connection, until: int) -> int:
    """Add the streams numbered up to `until` that are stored already, the newest first and not all at once.

    Return the last number that is not added.
    """
    newest = "SELECT number, metadata FROM streams WHERE number <= ? ORDER BY number DESC LIMIT ?"
    rows = db.execute(newest, (until, FILLED_AT_ONCE)).fetchall()
    # In the order of the table each of its pages is written once.
    db.executemany(ADD, sorted((code, number) for number, metadata in rows for code in codes(metadata)))
    return int(rows[-1][0]) - 1 if len(rows) == FILLED_AT_ONCE else 0


def rarest(db: sqlite3.Connection, wanted: Iterable[tuple[str, str]], below: int) -> Candidates | None:
    """Return the candidates under `below` for the rarest member, None where streams are not in the index."""
    (unindexed,) = db.execute(f"SELECT {UNINDEXED}").fetchone()
    if unindexed and below <= unindexed + 1:
        return None
    many = _candidates(db, MANY, below)
    found = min(_candidates(db, code_of(*each), below) for each in wanted)
    return found._replace(least=max(found.least, many.least, unindexed + 1 if unindexed else 0))


def _candidates(db: sqlite3.Connection, code: int, below: int) -> Candidates:
    newest = "SELECT number FROM members WHERE code = ? AND number < ? ORDER BY number DESC LIMIT ?"
    size, least = db.execute(
        f"SELECT count(*), min(number) FROM ({newest})",  # noqa: S608
        (code, below, CANDIDATES),
    ).fetchone()
    return Candidates(size, least if size == CANDIDATES else 0, code)

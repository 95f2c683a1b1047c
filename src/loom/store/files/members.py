"""The index of metadata: from members to streams, in the catalog. Functions that write need a transaction.

A member, its name and its text, has a hash as its code, and so has an outcome. The index gives candidates,
and `Query.matches` decides. A stream with many members has the code MANY in their place, and is a candidate
for every member. So no stream costs more than MOST entries and one for its outcome, each of which may lie in
another page.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from loom.model import Outcome, Query, State, members, outcome_of
from loom.store.files.schema import Row

MOST = 32
MANY = 0
CANDIDATES = 2000
"""Streams that one page of a listing looks at, at most."""
FILLED_AT_ONCE = 20_000
UNINDEXED = "(SELECT value FROM facts WHERE name = 'unindexed')"
OF = "SELECT state, metadata FROM streams WHERE number = ?"
ADD = "INSERT OR IGNORE INTO members VALUES (?, ?)"
DROP = "DELETE FROM members WHERE code = ? AND number = ?"


class Candidates(NamedTuple):
    """The newest streams that may have one of `codes`: those with a number of `least` or above."""

    size: int
    least: int
    codes: list[int]


def code_of(name: str, text: str) -> int:
    """Return the code of a member, as a signed integer of 64 bits."""
    return _code(f"{len(name)}:{name}{text}")


def code_of_outcome(outcome: Outcome) -> int:
    """Return the code of an outcome, which is that of no member."""
    return _code(outcome)


def _code(text: str) -> int:
    code = xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) or 1
    return code - (code >> 63 << 64)


def codes(state: State, metadata: str) -> set[int]:
    """Return the codes of a stream."""
    found, outcome = members(metadata), outcome_of(state, metadata)
    coded = {MANY} if len(found) > MOST else {code_of(*each) for each in found.items()}
    return coded | {code_of_outcome(outcome)} if outcome else coded


def wanted(query: Query) -> list[list[int]]:
    """Return the codes that a query names. A stream must have one of each list, or MANY."""
    outcomes = [code_of_outcome(each) for each in sorted(query.outcomes)]
    return [*([code_of(*each)] for each in query.metadata), *([outcomes] if outcomes else [])]


def coded(codes: Iterable[int]) -> str:
    """Return SQL that selects the numbers of streams that may have one of these codes."""
    return f"SELECT number FROM members WHERE code IN ({', '.join(map(str, [*codes, MANY]))})"  # noqa: S608


def keep(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Adapt the index to the rows that streams will have, before they are stored."""
    for number, info in rows:
        _adapt(db, number, info.state, info.metadata)


def forget(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Drop streams from the index, before they are deleted."""
    for number in numbers:
        _adapt(db, number, State.ABORTED, "{}")


def _adapt(db: sqlite3.Connection, number: int, state: State, metadata: str) -> None:
    stored = db.execute(OF, (number,)).fetchone() or (State.LIVE, "{}")
    if (state, metadata) != stored:
        old, new = codes(State(stored[0]), stored[1]), codes(state, metadata)
        db.executemany(DROP, ((code, number) for code in old - new))
        db.executemany(ADD, ((code, number) for code in new - old))


def fill(db: sqlite3.Connection, until: int) -> int:
    """Add the streams numbered up to `until` that are stored already, the newest first and not all at once.

    Return the last number that is not added.
    """
    newest = "SELECT number, state, metadata FROM streams WHERE number <= ? ORDER BY number DESC LIMIT ?"
    rows = db.execute(newest, (until, FILLED_AT_ONCE)).fetchall()
    # In the order of the table each of its pages is written once.
    found = ((code, number) for number, state, text in rows for code in codes(State(state), text))
    db.executemany(ADD, sorted(found))
    return int(rows[-1][0]) - 1 if len(rows) == FILLED_AT_ONCE else 0


def rarest(db: sqlite3.Connection, query: Query, below: int) -> Candidates | None:
    """Return the candidates under `below` for what is the rarest of all that a query names.

    Return None if it names nothing, and where streams are not in the index.
    """
    named = wanted(query)
    (unindexed,) = db.execute(f"SELECT {UNINDEXED}").fetchone()
    if not named or (unindexed and below <= unindexed + 1):
        return None
    many = _candidates(db, [MANY], below)
    found = min(_candidates(db, each, below) for each in named)
    return found._replace(least=max(found.least, many.least, unindexed + 1 if unindexed else 0))


def _candidates(db: sqlite3.Connection, codes: list[int], below: int) -> Candidates:
    newest = "SELECT number FROM members WHERE code = ? AND number < ? ORDER BY number DESC LIMIT ?"
    total = least = 0
    for code in codes:
        size, first = db.execute(
            f"SELECT count(*), min(number) FROM ({newest})",  # noqa: S608
            (code, below, CANDIDATES),
        ).fetchone()
        total += size
        least = max(least, first if size == CANDIDATES else 0)
    return Candidates(total, least, codes)

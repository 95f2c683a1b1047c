"""The folders of the ids under a prefix, in the catalog: an index on ids answers. Reads only.

A folder is found by a look-up after the one before, and counted up to COUNTED. So the cost depends on the
number of folders, and for the newest stream of a large folder on its size: 0.1 s for a million.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from loom.ids import folder_of
from loom.model import COUNTED, FAILURES, FOLDERS, Outcome
from loom.store.files.members import code_of_outcome

INDEX = "sqlite_autoindex_streams_1"
NEWEST = 20_000
"""Streams among which the newest folders are searched, where there are more folders than a listing shows."""


class Tally(NamedTuple):
    """The streams under a prefix: how many, at most COUNTED, the number of the newest, and how many failures.

    Without streams the number is 0. The failures are 0 if there are more than FAILURES streams.
    """

    total: int
    newest: int
    failures: int


def hidden_ids(db: sqlite3.Connection, prefix: str, hidden: str) -> dict[int, str]:
    """Return the ids of stored rows under a prefix whose numbers are in `hidden`, a JSON array."""
    rows = "SELECT number, id FROM streams WHERE number IN (SELECT value FROM json_each(?))"
    return {number: id for number, id in db.execute(rows, [hidden]) if id.startswith(prefix)}


def names(db: sqlite3.Connection, prefix: str) -> list[str]:
    """Return the folders under a prefix, at most FOLDERS. Of more the newest come first."""
    found = list(islice(_each(db, prefix), FOLDERS + 1))
    if len(found) > FOLDERS:
        recent = db.execute("SELECT id FROM streams ORDER BY number DESC LIMIT ?", [NEWEST])
        newest = (folder_of(id, prefix) for (id,) in recent)
        found = list(dict.fromkeys([*(name for name in newest if name), *found]))
    return found[:FOLDERS]


def _each(db: sqlite3.Connection, prefix: str) -> Iterator[str]:
    """Yield the folders under a prefix, in the order of ids."""
    least, (inside, parameters) = prefix, within(prefix)
    # SQLite skips the streams that are in no folder.
    following = (
        f"SELECT id FROM streams INDEXED BY {INDEX} WHERE id >= ? AND {inside} "  # noqa: S608
        "AND instr(substr(id, ?), '/') ORDER BY id LIMIT 1"
    )
    while row := db.execute(following, [least, *parameters, len(prefix) + 1]).fetchone():
        name = folder_of(row[0], prefix)
        assert name is not None, "the query selects ids in folders"
        yield name
        least = after_prefix(name)


def tally(db: sqlite3.Connection, prefix: str, but: Iterable[int]) -> Tally:
    """Count the streams under a prefix, those numbered `but` left out."""
    text, parameters = within(prefix)
    others = f"number NOT IN ({', '.join(map(str, but))})"
    source = f"streams INDEXED BY {INDEX} WHERE {text} AND {others}"
    some = f"SELECT count(*), max(number) FROM (SELECT number FROM {source} LIMIT {COUNTED + 1})"  # noqa: S608
    count, newest = db.execute(some, parameters).fetchone()
    if count > COUNTED:
        recent = f"number IN (SELECT number FROM streams ORDER BY number DESC LIMIT {NEWEST})"  # noqa: S608
        late = f"SELECT max(number) FROM streams NOT INDEXED WHERE {recent} AND {text} AND {others}"  # noqa: S608
        (newest,) = db.execute(late, parameters).fetchone()
        if newest is None:
            (newest,) = db.execute(f"SELECT max(number) FROM {source}", parameters).fetchone()  # noqa: S608
    failures = 0
    if count <= FAILURES:
        coded = f"SELECT count(*) FROM members WHERE code = ? AND number IN (SELECT number FROM {source})"  # noqa: S608
        (failures,) = db.execute(coded, [code_of_outcome(Outcome.FAILURE), *parameters]).fetchone()
    return Tally(min(count, COUNTED), newest or 0, failures)


def within(prefix: str) -> tuple[str, Sequence[str]]:
    """Return the condition that an id begins with a prefix, and its parameters."""
    end = after_prefix(prefix)
    return ("id >= ? AND id < ?", [prefix, end]) if end else ("id >= ?", [prefix])


def after_prefix(prefix: str) -> str:
    """Return the least text that is greater than all with this prefix; empty if there is none."""
    prefix = prefix.rstrip("\U0010ffff")
    if not prefix:
        return ""
    following = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if following == 0xD800 else following)

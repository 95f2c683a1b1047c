"""The reading side of the catalog: look-ups, short enough for an event loop, and pages for threads."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from loom.errors import Busy
from loom.model import FINAL_STATES, Query, State
from loom.store.files import folders, ledger, members
from loom.store.files import index as sparse
from loom.store.files.schema import SELECT, UNFINISHED, Row, connect, info_of
from loom.store.folders import Count
from loom.store.places import LinePlace, Mark, Moment, arrivals, place_of, sample

PAGE = 500
WINDOW = 20_000
"""Rows that one page looks at, at most: some 20 ms in a thread, however many streams there are."""


class Total(NamedTuple):
    """The number of streams in a state, and their bytes."""

    state: State
    number: int
    size: int


class Page(NamedTuple):
    """Rows of a listing, newest first: all that match and have a number of `least` or above."""

    rows: list[Row]
    least: int


class Condition(NamedTuple):
    """A piece of SQL and its parameters."""

    text: str
    parameters: list[object]


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn an error of SQLite, which mostly means that no descriptor is left, into Busy."""
    try:
        yield
    except sqlite3.Error as error:
        raise Busy("The catalog cannot be read just now; try again later.") from error


class CatalogReader:
    """A read-only connection. Every method raises Busy."""

    def __init__(self, path: Path) -> None:
        with readable():
            self._db = connect(path, read_only=True)

    def by_id(self, id: str) -> Row | None:
        """Return the stream of that id."""
        with readable():
            row = self._db.execute(f"{SELECT} WHERE id = ?", (id,)).fetchone()
        return (row[0], info_of(row)) if row else None

    def by_number(self, number: int) -> Row | None:
        """Return the stream of that number."""
        with readable():
            row = self._db.execute(f"{SELECT} WHERE number = ?", (number,)).fetchone()
        return (row[0], info_of(row)) if row else None

    @readable()
    def entry(self, number: int, name: str) -> str | None:
        """Return the text of an entry of a ledger."""
        return ledger.look_up(self._db, number, name)

    @readable()
    def place(self, number: int, line: int) -> LinePlace:
        """Return the last place of the index at or before the start of a line."""
        return sparse.place_before(self._db, number, line)

    @readable()
    def moments_around(self, number: int, when: float) -> list[Moment]:
        """Return the moments next to a time."""
        return sparse.moments_around(self._db, number, when)

    @readable()
    def moments(self, number: int, recent: Iterable[Mark], created: float, offset: int = 0) -> list[Moment]:
        """Return the moments for Store.moments; `recent` are the marks that the index does not have yet."""
        known = sparse.moments_of(self._db, number)
        return arrivals([*known, *(each for each in recent if isinstance(each, Moment))], created, offset)

    @readable()
    def places(
        self, number: int, recent: Sequence[Mark], created: float, lines: tuple[int, int], count: int
    ) -> list[LinePlace]:
        """Return the places for Store.places; `recent` are the marks that the index does not have yet."""
        moments = self.moments(number, recent, created)
        return sample(lambda line: nearest(self.place(number, line), recent, line), moments, lines, count)

    @readable()
    def due(self, now: float, limit: int) -> list[Row]:
        """Return streams whose deadline is at or before `now`, the earliest first."""
        over = f"{SELECT} WHERE deadline <= ? ORDER BY deadline LIMIT ?"
        return [(row[0], info_of(row)) for row in self._db.execute(over, (now, limit))]

    @readable()
    def expired(self, now: float, limit: int) -> list[Row]:
        """Return final and shared streams that expire at or before `now`, the earliest first."""
        over = f"{SELECT} WHERE (ended NOT NULL OR framing <> '') AND expires <= ? ORDER BY expires LIMIT ?"
        return [(row[0], info_of(row)) for row in self._db.execute(over, (now, limit))]

    @readable()
    def page(self, query: Query, below: int) -> Page:
        """Return the newest matching streams numbered under `below`. Looks at WINDOW rows at most."""
        index, least, narrow = self._narrow(query, below)
        conditions = [narrow, *ranges(query).values(), *filters(query)]
        found = self._db.execute(
            f"{SELECT} {f'INDEXED BY {index}' if index else 'NOT INDEXED'} "
            f"WHERE {' AND '.join(each.text for each in conditions)} ORDER BY number DESC LIMIT {PAGE}",
            [parameter for each in conditions for parameter in each.parameters],
        ).fetchall()
        rows = [(row[0], info_of(row)) for row in found]
        return Page(
            [row for row in rows if query.matches(row[1])], rows[-1][0] if len(rows) == PAGE else least
        )

    @readable()
    def folders(self, prefix: str, but: Sequence[int]) -> dict[str, Count]:
        """Return the count of all streams under a prefix, and of each folder under it.

        Rows with the numbers `but` are left out, so a folder may have none.
        """
        left_out = folders.hidden_ids(self._db, prefix, json.dumps(but))
        found = {}
        for name in [prefix, *folders.names(self._db, prefix)]:
            hidden = (number for number, id in left_out.items() if id.startswith(name))
            tally = folders.tally(self._db, name, hidden)
            row = self.by_number(tally.newest)
            found[name] = Count(tally.total, row[1] if row else None, tally.failures)
        return found

    def totals(self, but: Sequence[int]) -> list[Total]:
        """Return the totals of all streams but those. Looks at every row: 0.2 s for a million."""
        query = (
            "SELECT state, count(*), sum(size) FROM streams "
            "WHERE number NOT IN (SELECT value FROM json_each(?)) GROUP BY state"
        )
        counted = self._db.execute(query, [json.dumps(but)])
        return [Total(State(state), number, size) for state, number, size in counted]

    def _narrow(self, query: Query, below: int) -> tuple[str, int, Condition]:
        """Return how a page looks at WINDOW rows or fewer: an index, the page's least number, a condition."""
        rare = members.rarest(self._db, query, below)
        within = ranges(query)
        if rare is None or rare.least:
            for index, (text, parameters) in within.items():
                few = f"SELECT 1 FROM streams INDEXED BY {index} WHERE {text} LIMIT {WINDOW + 1}"  # noqa: S608
                if self._db.execute(f"SELECT count(*) FROM ({few})", parameters).fetchone() <= (WINDOW,):  # noqa: S608
                    return index, 0, Condition("number < ?", [below])
        if rare is not None:
            newest = f"number IN ({members.coded(rare.codes)} AND number < ? AND number >= ?)"
            return "", rare.least, Condition(newest, [below, rare.least])
        if query.states and not query.states & FINAL_STATES:
            least = max(self._unfinished(state, below) for state in query.states)
            return (
                "unfinished",
                least,
                Condition(f"{UNFINISHED} AND number < ? AND number >= ?", [below, least]),
            )
        all_match = not (within or query.states or query.contains or query.undigested or query.parses)
        least = 0 if all_match else self._window(below)
        return "", least, Condition("number < ? AND number >= ?", [below, least])

    def _window(self, below: int) -> int:
        """Return the number that has WINDOW rows between it and `below`, 0 if there are fewer."""
        text = f"SELECT number FROM streams WHERE number < ? ORDER BY number DESC LIMIT 1 OFFSET {WINDOW - 1}"  # noqa: S608
        row = self._db.execute(text, [below]).fetchone()
        return int(row[0]) if row else 0

    def _unfinished(self, state: State, below: int) -> int:
        """Return what `_window` returns, for the streams in one state that is not final."""
        narrow = f"INDEXED BY unfinished WHERE {UNFINISHED} AND state = ? AND number < ?"
        text = f"SELECT number FROM streams {narrow} ORDER BY number DESC LIMIT 1 OFFSET {WINDOW - 1}"  # noqa: S608
        row = self._db.execute(text, [state, below]).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def nearest(place: LinePlace, recent: Iterable[Mark], line: int) -> LinePlace:
    """Return the place before a line, from `place` and those that the index does not have yet."""
    places = {place, *(mark for mark in recent if isinstance(mark, LinePlace))}
    return place_of(sorted(places, key=lambda each: each.offset), line)


def ranges(query: Query) -> dict[str, Condition]:
    """Return the conditions that an index can answer, by the name of the index."""
    found = {}
    if query.prefix:
        text, parameters = folders.within(query.prefix)
        found[folders.INDEX] = Condition(text, [*parameters])
    if query.created_after is not None:
        found["created"] = Condition("created > ?", [query.created_after])
    return found


def filters(query: Query) -> Iterator[Condition]:
    """Yield the conditions that look at each row. Those of metadata let some rows pass that do not match."""
    if query.states:
        yield Condition(f"state IN ({', '.join('?' * len(query.states))})", [*sorted(query.states)])
    if query.contains:
        yield Condition("instr(id, ?)", [query.contains])
    if query.undigested:
        yield Condition("digest IS NULL", [])
    for codes in members.wanted(query):
        has = f"EXISTS ({members.coded(codes)} AND members.number = streams.number)"
        yield Condition(f"(number <= {members.UNINDEXED} OR {has})", [])

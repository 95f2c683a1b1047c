"""How many streams a store has, of whom, and what they take besides their bytes. Pure.

Each store has one Holdings and keeps it current, so that a limit is checked without a query. A stream counts
from the moment its creation is admitted until its deletion is durable.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loom.model import Info, State

ROW_COST = 1024
"""Bytes that a stream counts for besides its bytes and its metadata: its row and its index entries."""


def cost(metadata: str, ledger: int = 0) -> int:
    """Return the bytes that a stream with this metadata, which is ASCII, counts for besides its bytes.

    `ledger` is the size of its ledger.
    """
    return ROW_COST + len(metadata) + ledger


@dataclass(slots=True)
class Held:
    """The streams of one owner: how many there are, and how many of them were left open for a producer."""

    streams: int = 0
    open: int = 0


class Holdings:
    """The counts. `owners` has the streams of each owner, `texts` the bytes of all metadata and ledgers.

    `find` returns the stream of an id.
    """

    def __init__(
        self,
        owners: Mapping[str, Held] | None = None,
        texts: int = 0,
        *,
        find: Callable[[str], Info | None],
    ) -> None:
        self._owners = defaultdict(Held, owners or {})
        self._find = find
        self.streams = sum(each.streams for each in self._owners.values())
        """The number of streams."""
        self.open = sum(each.open for each in self._owners.values())
        """The number of streams that were left open for a producer."""
        self.overhead = self.streams * ROW_COST + texts
        """The bytes that all streams count for besides their bytes."""

    def owned(self, owner: str) -> int:
        """Return how many streams this owner created."""
        return self._owners[owner].streams if owner in self._owners else 0

    def open_of(self, owner: str) -> int:
        """Return how many streams of this owner were left open for a producer."""
        return self._owners[owner].open if owner in self._owners else 0

    def open_or(self, ids: Iterable[str], owner: str | None = None) -> int:
        """Return how many streams are open, those of one owner or all, or have one of these ids."""
        others = 0
        for id in set(ids):
            info = self._find(id)
            counted = info is not None and is_open(info) and owner in (None, info.owner)
            others += not counted
        return others + (self.open if owner is None else self.open_of(owner))

    def add(self, info: Info) -> None:
        """Count a new stream."""
        self._count(info, 1)

    def change(self, before: Info, after: Info) -> None:
        """Count the new state and metadata of a stream."""
        self.overhead += len(after.metadata) - len(before.metadata)
        self._count_open(after.owner, is_open(after) - is_open(before))

    def grow(self, ledger: int) -> None:
        """Count the growth of a ledger."""
        self.overhead += ledger

    def remove(self, info: Info) -> None:
        """Count a stream no longer."""
        self._count(info, -1)
        if not self._owners[info.owner].streams:
            del self._owners[info.owner]

    def _count(self, info: Info, number: int) -> None:
        self._owners[info.owner].streams += number
        self.streams += number
        self.overhead += number * cost(info.metadata, info.ledger)
        self._count_open(info.owner, number * is_open(info))

    def _count_open(self, owner: str, number: int) -> None:
        self._owners[owner].open += number
        self.open += number


def is_open(info: Info) -> bool:
    """Return True for a stream that was left open for a producer: a shared stream waits for none."""
    return info.state is State.OPEN and not info.framing

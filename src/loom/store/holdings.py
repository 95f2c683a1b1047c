"""How many streams a store has, of whom, and what they take besides their bytes. Pure.

Each store has one Holdings and keeps it current, so that a limit is checked without a query. A stream counts
from the moment its creation is admitted until its deletion is durable.
"""

from collections import Counter
from collections.abc import Iterable, KeysView, Mapping

from loom.model import Info, State

ROW_COST = 1024
"""Bytes that a stream counts for besides its bytes and its metadata: its row and its index entries."""


def cost(metadata: str, ledger: int = 0) -> int:
    """Return the bytes that a stream with this metadata, which is ASCII, counts for besides its bytes.

    `ledger` is the size of its ledger.
    """
    return ROW_COST + len(metadata) + ledger


class Holdings:
    """The counts. `owners` has the number of streams of each owner, `texts` the bytes of all metadata and
    ledgers.

    `unfinished` are those of the streams that may be open.
    """

    def __init__(
        self, owners: Mapping[str, int] | None = None, texts: int = 0, unfinished: Iterable[Info] = ()
    ) -> None:
        self._owners = Counter(owners or {})
        self._open: dict[str, dict[str, None]] = {}
        self.streams = self._owners.total()
        """The number of streams."""
        self.overhead = self.streams * ROW_COST + texts
        """The bytes that all streams count for besides their bytes."""
        for info in unfinished:
            self._note(info)

    def owned(self, owner: str) -> int:
        """Return how many streams this owner created."""
        return self._owners[owner]

    def open_of(self, owner: str) -> KeysView[str]:
        """Return the ids of this owner's streams that are open: left without a producer on purpose."""
        return self._open.get(owner, {}).keys()

    def open_ids(self) -> set[str]:
        """Return the ids of all open streams."""
        return {id for ids in self._open.values() for id in ids}

    def add(self, info: Info) -> None:
        """Count a new stream."""
        self._owners[info.owner] += 1
        self.streams += 1
        self.overhead += cost(info.metadata, info.ledger)
        self._note(info)

    def change(self, before: Info, after: Info) -> None:
        """Count the new state and metadata of a stream."""
        self.overhead += len(after.metadata) - len(before.metadata)
        self._note(after)

    def grow(self, ledger: int) -> None:
        """Count the growth of a ledger."""
        self.overhead += ledger

    def remove(self, info: Info) -> None:
        """Count a stream no longer."""
        self._owners[info.owner] -= 1
        if not self._owners[info.owner]:
            del self._owners[info.owner]
        self.streams -= 1
        self.overhead -= cost(info.metadata, info.ledger)
        self._leave(info)

    def _note(self, info: Info) -> None:
        if info.state is State.OPEN:
            self._open.setdefault(info.owner, {})[info.id] = None
        else:
            self._leave(info)

    def _leave(self, info: Info) -> None:
        ids = self._open.get(info.owner, {})
        ids.pop(info.id, None)
        if not ids:
            self._open.pop(info.owner, None)

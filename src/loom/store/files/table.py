"""The streams by id and by key: those in memory, and behind them the catalog. Belongs to the event
loop.

In memory is every stream that is not final, in use, or ahead of the catalog; the rest is looked up and
forgotten again. What this table says is durable and is what everyone is told.
"""

from collections import Counter

from loom.model import FINAL_STATES, Info, Query, State, number_of
from loom.store.files.catalog import CatalogReader, Row
from loom.store.files.recovery import Recovered
from loom.store.files.stream import Stream


class Table:
    """Look-ups, and what the catalog does not know yet."""

    def __init__(self, reader: CatalogReader, recovered: Recovered) -> None:
        self.number = recovered.number
        """The last stream number given out."""
        self.size = recovered.size
        """Durable bytes of all streams."""
        self.told_times = 0
        """How often the catalog caught up."""
        self._reader = reader
        self._streams: dict[int, Stream] = {}
        self._ids: dict[str, Stream] = {}
        self._unfinished: dict[int, Stream] = {}
        self._changed: dict[int, Stream] = {}
        self._telling: dict[int, Stream] = {}
        self._dropped: set[int] = set()
        for row in recovered.unfinished:
            self._keep(Stream(*row))

    def next_number(self) -> int:
        """A number no stream ever had."""
        self.number += 1
        return self.number

    def by_id(self, id: str) -> Stream | None:
        """The stream of that id."""
        stream = self._ids.get(id)
        return stream if stream is not None else self._load(self._reader.by_id(id))

    def by_key(self, key: str) -> Stream | None:
        """The stream of that key."""
        number = number_of(key)
        stream = self._streams.get(number)
        if stream is None:
            row = self._reader.by_number(number)
            stream = self._load(row) if row is not None and row[1].key == key else None
        return stream if stream is not None and stream.info.key == key else None

    def _load(self, row: Row | None) -> Stream | None:
        if row is None or row[0] in self._dropped:
            return None
        stream = Stream(*row)
        self._keep(stream)
        return stream

    def _keep(self, stream: Stream) -> None:
        self._streams[stream.number] = stream
        self._ids[stream.info.id] = stream
        if not stream.info.state.final:
            self._unfinished[stream.number] = stream

    def changed(self, stream: Stream) -> None:
        """The stream is new, or its row or size moved: the catalog has to follow."""
        if stream.number in self._dropped:
            return
        self._changed[stream.number] = stream
        if stream.number not in self._streams:
            self._keep(stream)
        elif stream.info.state.final:
            self._unfinished.pop(stream.number, None)

    def drop(self, stream: Stream) -> None:
        """The stream is gone."""
        self._dropped.add(stream.number)
        for table in (self._streams, self._unfinished, self._changed):
            table.pop(stream.number, None)
        if self._ids.get(stream.info.id) is stream:
            del self._ids[stream.info.id]

    def unfinished(self) -> list[Stream]:
        """Every stream that is not final."""
        return list(self._unfinished.values())

    def all(self) -> list[Stream]:
        """Every stream in memory."""
        return list(self._streams.values())

    def loaded(self, query: Query, numbers: range) -> dict[int, Stream]:
        """The streams in memory that match; those the catalog has besides are in its pages."""
        streams = self._unfinished if query.states and not query.states & FINAL_STATES else self._streams
        return {
            number: stream
            for number, stream in streams.items()
            if number in numbers and query.matches(stream.info)
        }

    def latest(self, rows: list[Row]) -> list[Row]:
        """Rows of the catalog as they are by now, and those it does not know yet."""
        known = {number: info for number, info in rows if number not in self._dropped}
        ahead = self._changed | self._telling
        known |= {number: self._streams[number].view for number in known.keys() & self._streams.keys()}
        known |= {number: stream.view for number, stream in ahead.items() if number not in self._dropped}
        return list(known.items())

    @property
    def dropped(self) -> int:
        """How many streams the catalog has still to forget."""
        return len(self._dropped)

    def hidden(self, number: int) -> bool:
        """A row of the catalog that is not to be shown: memory knows better."""
        return number in self._dropped or number in self._streams

    def known(self) -> list[int]:
        """The numbers of all that `hidden` hides."""
        return [*self._dropped, *self._streams]

    def totals(self) -> tuple[Counter[State], int]:
        """The streams in memory by state, and their bytes."""
        streams = self._streams.values()
        return Counter(each.info.state for each in streams), sum(each.durable for each in streams)

    def take_changes(self) -> tuple[list[Stream], list[int]]:
        """What the catalog has to be told: streams whose rows to write, numbers of those to delete."""
        self._telling, self._changed = self._changed, {}
        return list(self._telling.values()), list(self._dropped)

    def give_back(self) -> None:
        """The catalog could not be told."""
        for number, stream in self._telling.items():
            if number not in self._dropped:
                self._changed.setdefault(number, stream)
        self._telling = {}

    def told(self, dropped: list[int]) -> None:
        """The catalog has been told what was taken."""
        self.told_times += 1
        self._dropped.difference_update(dropped)
        told, self._telling = self._telling, {}
        for stream in told.values():
            self.release(stream)

    def release(self, stream: Stream) -> None:
        """Forget the stream if the catalog can stand in for it."""
        ahead = stream.number in self._changed or stream.number in self._telling
        if ahead or not stream.info.state.final or not stream.idle:
            return
        if self._streams.pop(stream.number, None) is not None:
            del self._ids[stream.info.id]


def row_of(stream: Stream) -> Row:
    """The catalog's row for a stream as it durably is."""
    info: Info = stream.view
    return stream.number, info

"""The streams by id and by key: those in memory first, then those of the catalog. Belongs to the event loop.

In memory is every stream that is live, in use, or ahead of the catalog. Any other is looked up in the catalog
and forgotten after use. Everything in this table is durable, so it may be shown.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from loom.ids import number_of
from loom.model import Info, Query, State
from loom.store.files.queries import CatalogReader
from loom.store.files.recovery import Recovered
from loom.store.files.schema import Row
from loom.store.files.stream import Stream
from loom.store.holdings import Holdings


class Table:
    """Looks streams up, and keeps what the catalog does not have yet."""

    def __init__(self, reader: CatalogReader, recovered: Recovered) -> None:
        self.number = recovered.number
        """The last stream number that was assigned."""
        self.size = recovered.size
        """Durable bytes of all streams."""
        self.holdings = Holdings(recovered.owners, recovered.texts, find=self.look_up)
        self.caught_up_times = 0
        """How often the catalog has caught up. A read of the catalog in a thread is repeated if this changed
        meanwhile: memory may have forgotten a stream whose row was read before it was current."""
        self._reader = reader
        self._streams: dict[int, Stream] = {}
        self._ids: dict[str, Stream] = {}
        self._changed: dict[int, Stream] = {}
        self._storing: dict[int, Stream] = {}
        self._dropped: set[int] = set()
        self.unsettled: set[int] = set()
        """The numbers of streams that are being created and may have a content file already."""

    def next_number(self) -> int:
        """Return a number that no stream ever had."""
        self.number += 1
        return self.number

    @property
    def settled(self) -> int:
        """The number up to which every stream that has a content file exists."""
        return min(self.unsettled, default=self.number + 1) - 1

    def has(self, stream: Stream) -> bool:
        """Return True if the stream exists and this object stands for it."""
        return self._streams.get(stream.number) is stream

    def by_id(self, id: str) -> Stream | None:
        """Return the stream of that id."""
        stream = self._ids.get(id)
        return stream if stream is not None else self._load(self._reader.by_id(id))

    def by_key(self, key: str) -> Stream | None:
        """Return the stream of that key."""
        number = number_of(key)
        stream = self._streams.get(number)
        if stream is None:
            row = self._reader.by_number(number)
            stream = self._load(row) if row is not None and row[1].key == key else None
        return stream if stream is not None and stream.info.key == key else None

    def look_up(self, id: str) -> Info | None:
        """Return the row of a stream without keeping the stream in memory."""
        stream = self._ids.get(id)
        if stream is not None:
            return stream.view
        row = self._reader.by_id(id)
        return None if row is None or row[0] in self._dropped else row[1]

    def _load(self, row: Row | None) -> Stream | None:
        if row is None or row[0] in self._dropped:
            return None
        stream = Stream(*row)
        self._keep(stream)
        return stream

    def _keep(self, stream: Stream) -> None:
        self._streams[stream.number] = stream
        self._ids[stream.info.id] = stream

    def changed(self, stream: Stream) -> None:
        """Note that the stream is new, or that its row or size changed: the catalog has to follow."""
        if stream.number in self._dropped:
            return
        self._changed[stream.number] = stream
        if stream.number not in self._streams:
            self._keep(stream)

    def drop(self, stream: Stream) -> None:
        """Remove a stream that was deleted."""
        self._dropped.add(stream.number)
        self._changed.pop(stream.number, None)
        self._streams.pop(stream.number, None)
        if self._ids.get(stream.info.id) is stream:
            del self._ids[stream.info.id]

    def live(self) -> list[Stream]:
        """Return every live stream."""
        return [stream for stream in self._streams.values() if stream.info.state is State.LIVE]

    def all(self) -> list[Stream]:
        """Return every stream in memory."""
        return list(self._streams.values())

    def loaded(self, query: Query, numbers: range) -> dict[int, Stream]:
        """Return the streams in memory that match; all others are in the pages of the catalog."""
        return {
            number: stream
            for number, stream in self._streams.items()
            if number in numbers and query.matches(stream.info)
        }

    def latest(self, rows: list[Row], wanted: Callable[[Info], bool]) -> list[Row]:
        """Return the rows that are wanted: of `rows`, which are the catalog's, and of those that it does not
        have yet, in their current state. Streams that have a writer are left out.
        """
        stored = dict(rows)
        found = []
        for number in (stored.keys() | self._changed.keys() | self._storing.keys()) - self._dropped:
            stream = self._streams.get(number)
            if wanted(stream.info if stream else stored[number]) and not (stream and stream.writer):
                found.append((number, stream.view if stream else stored[number]))
        return found

    @property
    def stale(self) -> int:
        """The number of rows at most that the catalog has and that are not current."""
        return len(self._dropped) + len(self._changed) + len(self._storing)

    @property
    def ahead(self) -> int:
        """The number of streams whose rows the catalog does not have, those that it is storing left out."""
        return len(self._changed)

    def hidden(self, number: int) -> bool:
        """Return True for a row of the catalog that is replaced by what is in memory."""
        return number in self._dropped or number in self._streams

    def known(self) -> list[int]:
        """Return every number for which `hidden` is True."""
        return [*self._dropped, *self._streams]

    def totals(self) -> tuple[Counter[State], int]:
        """Return the number of streams in memory by state, and the bytes of all."""
        streams = self._streams.values()
        return Counter(each.info.state for each in streams), sum(each.durable for each in streams)

    def take_changes(self) -> tuple[list[Stream], list[int]]:
        """Return the streams whose rows the catalog has to store, and the numbers of rows to delete."""
        self._storing, self._changed = self._changed, {}
        return list(self._storing.values()), list(self._dropped)

    def give_back(self) -> None:
        """Keep for the next round the changes that were taken and could not be stored."""
        for number, stream in self._storing.items():
            if number not in self._dropped:
                self._changed.setdefault(number, stream)
        self._storing = {}

    def caught_up(self, dropped: list[int]) -> None:
        """Note that the catalog has stored what was taken; forget the streams that may be looked up there."""
        self.caught_up_times += 1
        self._dropped.difference_update(dropped)
        stored, self._storing = self._storing, {}
        for stream in stored.values():
            self.release(stream)

    def release(self, stream: Stream) -> None:
        """Forget the stream if it is not live, unused, and in the catalog as it is."""
        ahead = stream.number in self._changed or stream.number in self._storing
        if self.has(stream) and not ahead and stream.info.state is not State.LIVE and stream.idle:
            del self._streams[stream.number], self._ids[stream.info.id]

    @contextlib.contextmanager
    def held(self, stream: Stream) -> Iterator[None]:
        """Keep the stream in memory inside the context."""
        stream.opened += 1
        try:
            yield
        finally:
            stream.opened -= 1
            self.release(stream)

    @contextlib.asynccontextmanager
    async def locked(self, stream: Stream) -> AsyncIterator[None]:
        """Hold the lock of the stream inside the context. The stream stays in memory from now on, so that all
        who wait for the lock have the same object."""
        with self.held(stream):
            async with stream.lock:
                yield


def row_of(stream: Stream) -> Row:
    """Return the row of the catalog for the durable state of a stream."""
    return stream.number, stream.view

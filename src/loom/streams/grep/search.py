"""Search one stream: stored bytes, then new ones as they arrive. Owns the order of steps and the limits.

Knows the streams by the service, and the processes by `Workers`. Between two steps a search holds no worker,
so a client that does not read its results, or a stream in which nothing happens, costs none.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from dataclasses import replace as updated
from time import monotonic
from types import TracebackType
from typing import Self

from loom.errors import LoomError, StoreStopped, StreamAborted, StreamDamaged, StreamGone
from loom.model import Info
from loom.streams.grep.query import Query
from loom.streams.grep.steps import Origin, Result, Step
from loom.streams.grep.times import Times
from loom.streams.grep.workers import Workers
from loom.streams.ranges import MAX, Part
from loom.streams.reading import FileSlice, Piece, Reading
from loom.streams.service import Choose, Service
from loom.wire.matches import SearchEnd, SearchProgress, encode

PLACES = 200
"""Places of the index that are looked up to find the number of the first line."""
BATCH = 256 << 10
"""The most new bytes that are searched in one step."""
QUIET = 1.0
"""Seconds without a result after which the progress is reported."""


OnCaughtUp = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Counts:
    """What the searches of this server have done so far."""

    ended: dict[str, int] = field(default_factory=dict)
    searched: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many seconds of work and how many bytes one search may take; 0: no limit."""

    seconds: float = 0.0
    size: int = 0


class _Replaced(Exception):
    """The id belongs to another stream by now."""


class Grep:
    """All searches of a server."""

    def __init__(self, service: Service, workers: Workers, bounds: Bounds = Bounds()) -> None:
        self._service = service
        self.workers = workers
        self.bounds = bounds
        self.counts = Counts()

    async def check(self, query: Query) -> None:
        """Raise BadRequest if the pattern is invalid, SearchFailed if there is no worker."""
        await self.workers.do(Step(query=query))

    async def open(self, id: str, choose: Choose, query: Query) -> "Search":
        """Open the part of a stream that `choose` returns, to search it.

        Raises what `check` and Service.read do.
        """
        await self.check(query)
        while True:
            info, part = await self._service.locate(id, choose)
            index = await self._service.index(id, (1, MAX), PLACES)
            places = [place for place in index.places if place.start and place.offset <= part.start]
            first = max(places, key=lambda place: place.offset, default=None)
            offset, line = (first.offset, first.line) if first else (0, 1)
            whole = Part(offset, part.stop)

            def same(now: Info, key: str = info.key, whole: Part = whole) -> Part:
                if now.key != key:
                    raise _Replaced
                return whole

            if index.info.key != info.key:
                continue
            try:
                reading = await self._service.read(id, same)
            except _Replaced:
                continue
            return Search(self, reading, query, Origin(offset, line, part.start, part.skip))

    async def times(self, info: Info, offset: int) -> tuple[Times, int]:
        """Return when the bytes of a stream arrived, and up to where that is known.

        If another stream has its id by now, nothing is known, and never will be.
        """
        try:
            arrivals = await self._service.arrivals(info.id, offset)
        except LoomError:
            return Times(), MAX
        if arrivals.info.key != info.key:
            return Times(), MAX
        return Times.of(arrivals.moments), arrivals.info.size

    @property
    def stopped(self) -> bool:
        """True once the server stops."""
        return not self._service.health().ready


class Search:
    """A search of one stream; an async context manager. It ends as the reading of its part does."""

    def __init__(self, grep: Grep, reading: Reading, query: Query, origin: Origin) -> None:
        self.reading = reading
        self._grep = grep
        self._query = query
        self._origin = origin
        self._times, self._known = Times(), 0
        self._latest = Result(next=origin.start)
        self._read = 0
        self._seconds = 0.0
        self._quiet_since = monotonic()

    @property
    def _searched(self) -> int:
        """Bytes searched: without those that were only counted, from a place of the index to the start."""
        return max(0, self._read - (self._origin.start - self._origin.offset))

    def progress(self) -> bytes:
        """Return how far the search has come, as a line of JSON."""
        self._quiet_since = monotonic()
        return encode(asdict(SearchProgress(self._searched, self._latest.next)))

    async def output(self, on_caught_up: OnCaughtUp) -> AsyncGenerator[bytes, None]:
        """Yield lines of JSON (`wire.matches`); the last one is the end.

        `on_caught_up` is called once all stored bytes are searched and the search waits for new ones.
        """
        ended, reason = "end", ""
        try:
            async with aclosing(self._batches(on_caught_up)) as batches:
                async for batch in batches:
                    async for output in self._search(batch):
                        yield output
                    if ended := self._limit():
                        break
                else:
                    ended = "end"
        except StreamAborted:
            ended = "end"
        except LoomError as error:
            ended, reason = _ENDS.get(type(error), "failed"), str(error)
        if ended == "end":
            unended = self._latest.next
            try:
                async for output in self._search(b"", last=True):
                    yield output
            except LoomError as error:
                ended, reason = _ENDS.get(type(error), "failed"), str(error)
            if not self.reading.latest.state.final:
                # The last line may become longer: it is searched again from its beginning.
                self._latest = updated(self._latest, next=unended)
        yield self._end(ended, reason)

    def _end(self, ended: str, reason: str) -> bytes:
        self._grep.counts.ended[ended] = self._grep.counts.ended.get(ended, 0) + 1
        info, latest = self.reading.latest, self._latest
        following = None if ended == "gone" else latest.next
        size = max(info.size, self.reading.offset)
        end = SearchEnd(
            ended, latest.matches, self._searched, following, info.state, size, reason or info.reason
        )
        return encode(asdict(end))

    async def _batches(self, on_caught_up: OnCaughtUp) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of the reading, short ones joined: a step costs more than a short piece."""
        batch: list[bytes] = []
        size, caught_up = 0, False
        async with aclosing(self.reading.pieces(slices=True)) as pieces:
            async for piece in pieces:
                whole = isinstance(piece, FileSlice)
                if isinstance(piece, bytes):
                    batch.append(piece)
                    size += len(piece)
                if batch and (whole or size >= BATCH or not self.reading.available):
                    yield b"".join(batch)
                    batch, size = [], 0
                if isinstance(piece, FileSlice):
                    yield piece
                if not caught_up and not self.reading.available:
                    caught_up = True
                    await on_caught_up()

    async def _search(self, piece: Piece, *, last: bool = False) -> AsyncGenerator[bytes, None]:
        """Search one piece, in as many steps as it takes, and yield what is found."""
        start, stop = (piece.start, piece.stop) if isinstance(piece, FileSlice) else (0, len(piece))
        begun = False
        while not begun or start < stop or self._latest.paused:
            begun = True
            if self._grep.stopped:
                raise StoreStopped("The server is stopping.")
            result = await self._step(piece, start, stop, last=last)
            start += result.consumed
            if result.output:
                self._quiet_since = monotonic()
                yield result.output
            elif monotonic() - self._quiet_since > QUIET:
                yield self.progress()
            if self._limit():
                return

    async def _step(self, piece: Piece, start: int, stop: int, *, last: bool) -> Result:
        latest = self._latest
        times = await self._times_to(stop if isinstance(piece, FileSlice) else self.reading.offset)
        descriptor, data = None, b""
        if not latest.paused:
            if isinstance(piece, FileSlice):
                descriptor = piece.fileno
            else:
                data = piece
        step = Step(
            query=self._query,
            origin=self._origin,
            state=latest.state,
            data=data,
            offset=start,
            size=stop - start,
            last=last,
            times=times,
        )
        result = self._latest = await self._grep.workers.do(step, descriptor)
        if result.short:
            raise StreamDamaged("Stored bytes of the stream are missing.")
        self._read += result.consumed
        self._seconds += result.seconds
        self._grep.counts.searched += result.consumed
        return result

    async def _times_to(self, stop: int) -> Times:
        """Return the times of the lines that begin before `stop` and are not passed yet."""
        begin = self._latest.next
        if stop > self._known:
            times, self._known = await self._grep.times(self.reading.info, begin)
            self._times = times if self._known < MAX else self._times
        return self._times.within(begin, stop)

    def _limit(self) -> str:
        """Return which limit is reached, empty without one."""
        bounds = self._grep.bounds
        if self._latest.done:
            return "limit"
        # A search that has not begun yet would continue where it is, for ever.
        if bounds.seconds and self._searched and self._seconds >= bounds.seconds:
            return "time"
        if bounds.size and self._searched >= bounds.size:
            return "bytes"
        return ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reading.close()


_ENDS: dict[type[LoomError], str] = {StreamGone: "gone", StoreStopped: "stopped"}

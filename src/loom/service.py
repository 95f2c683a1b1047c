"""The use cases: produce a stream, read one. Owns the follow loop from stored bytes to live ones, and policy.

Knows the store and the hub by their contracts; nothing of HTTP, tokens or settings.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from dataclasses import replace as updated
from types import TracebackType
from typing import Self, TypeVar

import structlog

from loom.errors import Fenced, LoomError, StoreStopped, StreamAborted, StreamGone, StreamNotFound
from loom.hub import Hub, Tail
from loom.model import Clock, Info, NewStream, Patch, Query, State, number_of
from loom.ranges import WHOLE, Part, Search, skip_lines
from loom.store.base import Content, Health, Store, Writer

logger = structlog.get_logger("loom")

PIECE = 256 << 10
SHORTEST_SLICE = 64 << 10
"""Setting up zero-copy for less costs more than it saves."""
LONGEST_SLICE = 4 << 20
"""A longer one would keep a follower from seeing that it is cut."""


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes [start, stop) of an open descriptor; valid until the next piece is asked for."""

    fileno: int
    start: int
    stop: int


Piece = bytes | FileSlice
Choose = Callable[[Info], Part | Search]
"""Says which part of a stream is meant, as the stream is now; may refuse it with an error of its own."""

T = TypeVar("T")

DELETED_AT_ONCE = 500

STOPPED = "the server stopped"


class Producer:
    """One connection that writes. It ends once, by whichever of `complete` and `lose` comes first."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        ended: Callable[["Producer"], None],
        *,
        open_window: float,
    ) -> None:
        self.info = writer.info
        """The stream as it was when this producer came to it."""
        self.replaced = writer.replaced
        self._writer = writer
        self._clock = clock
        self._ended = ended
        self._open_window = open_window
        self._error: LoomError | None = None
        self._callbacks: list[Callable[[LoomError], None]] = []
        self._closing: asyncio.Task[Info] | None = None
        writer.on_lost(self._stop)

    async def take(self, data: bytes) -> None:
        """Append, then wait until there is room for more. Raises WriterLost, StoreStopped."""
        self._check()
        self._writer.append(data)
        await self._writer.room()

    async def complete(self) -> Info:
        """The producer said it is done: returns once every byte and the end are durable.

        Goes on where the caller is cancelled. Raises WriterLost, StoreStopped; it is not complete then.
        """
        self._check()
        return await self._close(Patch(state=State.COMPLETE))

    async def leave_open(self) -> Info:
        """The producer is done for now, and the stream waits for the next one; otherwise as `complete`."""
        self._check()
        return await self._close(Patch(state=State.OPEN, deadline=self._clock() + self._open_window))

    @property
    def offset(self) -> int:
        """The offset behind the last byte taken."""
        return self._writer.accepted

    async def durable(self, *, beyond: int) -> int:
        """Wait until more than `beyond` bytes are durable; returns how many. Raises as `take`."""
        return await self._writer.flushed(beyond + 1)

    async def lose(self, reason: str) -> None:
        """The producer vanished: keep every byte taken; it may come back within the stream's resume window.

        Waits for the end that is already under way, if there is one. Never raises WriterLost or StoreStopped.
        """
        deadline = self._clock() + self.info.resume_window
        try:
            await self._close(Patch(state=State.INTERRUPTED, deadline=deadline, reason=reason))
        except (Fenced, StreamGone):
            pass
        except LoomError as error:
            logger.warning("the loss of a producer is not stored", stream=self.info.id, error=str(error))

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """Call back once, at once if it already is so, when this producer may not go on."""
        if self._error is not None:
            callback(self._error)
        else:
            self._callbacks.append(callback)

    async def cut(self, error: LoomError, reason: str) -> None:
        """End it from our side, unless it is ending by itself: its connection is told, its bytes are kept."""
        if self._closing is None:
            self._stop(error)
        await self.lose(reason)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _stop(self, error: LoomError) -> None:
        if self._error is None:
            self._error = error
            self._ended(self)
            for callback in self._callbacks:
                callback(error)

    async def _close(self, patch: Patch) -> Info:
        if self._closing is None:
            self._closing = asyncio.create_task(self._finish(patch))
        return await asyncio.shield(self._closing)

    async def _finish(self, patch: Patch) -> Info:
        try:
            return await self._writer.close(patch)
        finally:
            self._ended(self)


class Reading:
    """One consumer's way through a part of a stream; an async context manager.

    Ends at the part's `stop`; where that is None it follows the stream to its end. Content is held open by
    who has a `stop`, so that neither replace nor delete can shorten the answer, and by a follower only while
    it is behind the ring of its tail: a thousand followers of a live stream hold no descriptor.
    """

    def __init__(self, info: Info, part: Part, store: Store, hub: Hub, source: Content | Tail) -> None:
        self.info = info
        """The stream as it was when opened."""
        self.part = part
        self._offset = part.start
        self._store = store
        self._hub = hub
        self._tail = source if isinstance(source, Tail) else None
        self._content = None if isinstance(source, Tail) else source

    @property
    def offset(self) -> int:
        """Behind the last byte given."""
        return self._offset

    @property
    def latest(self) -> Info:
        """The stream as it was at its latest turn; its `size` may be behind."""
        return self.info if self._tail is None else self._tail.info

    async def pieces(self, *, slices: bool = False) -> AsyncGenerator[Piece, None]:
        """The bytes in order; with `slices` those that are on file as slices of a descriptor.

        Ends at the part's `stop`, or with a stream that is complete. Raises StreamAborted, StreamGone,
        StoreStopped, StreamDamaged or Busy where the answer must be cut, but first gives the bytes at hand.
        """
        skip = self.part.skip
        while (piece := await self._next(slices and not skip)) is not None:
            self._offset += len(piece) if isinstance(piece, bytes) else piece.stop - piece.start
            if skip and isinstance(piece, bytes):
                skip, piece = skip_lines(piece, skip)
            if piece:
                yield piece

    async def prepare(self) -> None:
        """Open the content now if that is needed first, so that a failure comes in time to be told."""
        if self._tail is not None and self._offset < self._tail.start:
            self._content = await self._store.open(self.info.key)

    def close(self) -> None:
        """Let go of the stream. May be repeated."""
        self._close_content()
        if self._tail is not None:
            self._hub.detach(self._tail)
            self._tail = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _next(self, slices: bool) -> Piece | None:
        tail = self._tail
        if tail is None:
            stop = self.part.stop
            assert stop is not None, "closed"
            return await self._stored(stop, slices) if self._offset < stop else None
        while self._offset >= tail.end:
            if tail.ended:
                _check_end(tail)
                return None
            await tail.grown(self._offset)
        chunk = tail.take(self._offset)
        if chunk is not None:
            self._close_content()
            return chunk
        if tail.error is not None:
            raise tail.error.with_traceback(None)
        return await self._stored(tail.start, slices)

    async def _stored(self, stop: int, slices: bool) -> Piece:
        """Some of the stored bytes between here and `stop`."""
        if self._content is None:
            try:
                self._content = await self._store.open(self.info.key)
            except StreamNotFound:
                raise StreamGone("The stream was deleted or replaced.") from None
        content = self._content
        filed = min(content.filed, stop, self._offset + LONGEST_SLICE)
        if slices and filed - self._offset >= SHORTEST_SLICE and (fileno := content.fileno()) is not None:
            return FileSlice(fileno, self._offset, filed)
        return await _read(content, self._offset, min(stop, self._offset + PIECE))

    def _close_content(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None


async def _read(content: Content, start: int, stop: int) -> bytes:
    data = b"".join([piece async for piece in content.read(start, stop)])
    assert len(data) == stop - start, "the content gave less"
    return data


def _check_end(tail: Tail) -> None:
    """Everything is shown: raise what became of the stream, unless it is complete."""
    if tail.info.state is State.ABORTED:
        raise StreamAborted(f"The stream was aborted: {tail.info.reason or 'no reason was given'}.")
    if tail.info.state is not State.COMPLETE:
        assert tail.error is not None
        raise tail.error.with_traceback(None)


def _whole(info: Info) -> Part:
    return WHOLE.of(info, tail=True)


class Service:
    """What one may do with streams."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        clock: Clock,
        *,
        resume_window: float = 30.0,
        open_window: float = 86400.0,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._resume_window = resume_window
        self._open_window = open_window
        self._producers: set[Producer] = set()
        self._stopping: StoreStopped | None = None
        self._searching = asyncio.Lock()

    def now(self) -> float:
        """The time that deadlines are meant in."""
        return self._clock()

    async def create(
        self, new: NewStream, *, replace: bool = False, resume_window: float | None = None
    ) -> Producer:
        """Create a stream to write to; unless told otherwise with this service's resume window.

        Raises StreamExists, StorageFull, Busy, StoreStopped.
        """
        self._check()
        new = updated(new, resume_window=self._resume_window if resume_window is None else resume_window)
        return await self._producing(await self._store.create(new, replace=replace))

    async def resume(self, id: str, offset: int, check: Callable[[Info], None] = lambda _: None) -> Producer:
        """Take a stream over, from its producer if it has one, and go on at its end: at `offset` or nowhere.

        `check` may refuse the stream that stands there. Raises StreamNotFound, StreamFinal, OffsetMismatch,
        StorageFull, StoreStopped.
        """

        async def resumed(info: Info) -> Writer:
            check(info)
            return await self._store.resume(info.key, offset)

        self._check()
        return await self._producing(await self._standing(id, resumed))

    async def _producing(self, writer: Writer) -> Producer:
        producer = Producer(writer, self._clock, self._producers.discard, open_window=self._open_window)
        self._producers.add(producer)
        if self._stopping is not None:
            await producer.cut(self._stopping, STOPPED)
            self._check()
        return producer

    async def info(self, id: str) -> Info:
        """The stream of that id. Raises StreamNotFound, StoreStopped."""
        return await self._store.info(id)

    async def locate(self, id: str, choose: Choose = _whole) -> tuple[Info, Part]:
        """The stream of that id and which part of it `choose` means; nothing is opened for reading.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """

        async def located(info: Info) -> tuple[Info, Part]:
            return info, await self._located(info, choose(info))

        return await self._standing(id, located)

    async def read(self, id: str, choose: Choose = _whole) -> Reading:
        """Read the part of a stream that `choose` means; unless told otherwise all of it, to its end.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """

        async def opened(info: Info) -> Reading:
            return await self._open(info, await self._located(info, choose(info)))

        self._check()
        return await self._standing(id, opened)

    async def delete(self, id: str) -> Info:
        """Delete the stream of that id, durably; its producer and its followers are cut.

        Returns it as it was. Raises StreamNotFound, StoreStopped.
        """
        while True:
            self._check()
            info = await self._store.info(id)
            try:
                await self._store.delete(info.key)
            except StreamNotFound:
                continue  # replaced between the two looks, or deleted: the next look tells
            return info

    async def find(self, query: Query, limit: int) -> tuple[list[Info], int | None]:
        """Up to `limit` of the streams that match, newest first, and the number to go on `below`, None if
        there are no more.

        Raises StoreStopped, Busy.
        """
        self._check()
        found: list[Info] = []
        async for info in self._store.find(query):
            if len(found) == limit:
                return found, number_of(found[-1].key)
            found.append(info)
        return found, None

    async def count(self, query: Query) -> tuple[int, int]:
        """How many streams match, and the number that is `below` for them but for none created later.

        Raises StoreStopped, Busy.
        """
        self._check()
        count = below = 0
        async for info in self._store.find(query):
            below = below or number_of(info.key) + 1
            count += 1
        return count, below

    async def delete_all(self, query: Query) -> int:
        """Delete the streams that match, some at a time; returns how many, once all of it is durable.

        Who creates such streams meanwhile has to be kept out by `query.below`. Raises StoreStopped, Busy.
        """
        deleted = 0
        while True:  # a listing may miss what changes meanwhile
            found = 0
            batch: list[str] = []
            async for info in self._store.find(query):
                found += 1
                batch.append(info.key)
                if len(batch) == DELETED_AT_ONCE:
                    deleted += await self._delete_batch(batch)
                    batch.clear()
            deleted += await self._delete_batch(batch)
            if not found:
                return deleted

    async def _delete_batch(self, keys: Iterable[str]) -> int:
        self._check()
        told = await asyncio.gather(*map(self._store.delete, keys), return_exceptions=True)
        for error in told:
            if error is not None and not isinstance(error, StreamNotFound):
                raise error
        return told.count(None)

    def health(self) -> Health:
        """How the store is; not ready once draining."""
        health = self._store.health()
        if self._stopping is None or not health.ready:
            return health
        return updated(health, ready=False, detail=str(self._stopping))

    async def drain(self, deadline: float) -> None:
        """Refuse new work, end producers (their streams are `interrupted`), then cut followers.

        `deadline` is a time of this service's clock; what is not durable then is left to the store's close.
        """
        error = self._stopping = StoreStopped("The server is stopping.")
        cuts = [asyncio.create_task(producer.cut(error, STOPPED)) for producer in self._producers]
        if cuts:
            _, late = await asyncio.wait(cuts, timeout=max(0.0, deadline - self._clock()))
            for cut in late:
                cut.cancel()
        self._hub.close(error)

    async def close(self) -> None:
        """End what is left, without waiting. The store is closed by who opened it."""
        await self.drain(self._clock())

    def _check(self) -> None:
        if self._stopping is not None:
            raise self._stopping.with_traceback(None)

    async def _standing(self, id: str, use: Callable[[Info], Awaitable[T]]) -> T:
        """Use the stream that stands under that id."""
        tried = ""
        while True:
            info = await self._store.info(id)
            try:
                return await use(info)
            except (StreamNotFound, StreamGone):
                # Replaced between the two looks: what stands there now is what was asked for.
                if info.key == tried:
                    raise StreamNotFound(id) from None
                tried = info.key

    async def _located(self, info: Info, part: Part | Search) -> Part:
        """The part, once it is found.

        One piece is searched in each turn of the event loop, whoever it is for: however long streams are and
        however many search, nobody else waits for longer. A thread would keep the interpreter just as busy.
        """
        if isinstance(part, Part):
            return part
        if part.part is None:
            async with await self._store.open(info.key) as content:
                while part.part is None:
                    async with self._searching:
                        self._check()
                        part.feed(await _read(content, *part.wanted))
                        await asyncio.sleep(0)
        return part.part

    async def _open(self, info: Info, part: Part) -> Reading:
        if part.stop is not None:
            return Reading(info, part, self._store, self._hub, await self._store.open(info.key))
        reading = Reading(info, part, self._store, self._hub, await self._hub.attach(info.key))
        try:
            await reading.prepare()
        except BaseException:
            reading.close()
            raise
        return reading

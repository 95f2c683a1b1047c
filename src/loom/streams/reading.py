"""One consumer's way through a stream. Owns the follow loop from stored bytes to live ones.

Knows the store and the hub by their contracts; nothing of HTTP.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from loom.errors import StreamAborted, StreamGone, StreamNotFound
from loom.model import Info, State
from loom.store.base import Content, Store
from loom.streams.hub import Hub, Tail
from loom.streams.lines import skip_lines
from loom.streams.ranges import Part

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


class Reading:
    """One consumer's way through a part of a stream; an async context manager.

    Ends at the part's `stop`; where that is None it follows the stream to its end. Content is held open by
    who has a `stop`, so that neither replace nor delete can shorten the answer, and by a follower only while
    it is behind the ring of its tail: a thousand followers of a live stream hold no descriptor.
    """

    def __init__(
        self,
        info: Info,
        part: Part,
        store: Store,
        hub: Hub,
        source: Content | Tail,
        ended: Callable[["Reading"], None] = lambda _: None,
    ) -> None:
        self.info = info
        """The stream as it was when opened."""
        self.part = part
        self._offset = part.start
        self._store = store
        self._hub = hub
        self._ended = ended
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

    @property
    def lag(self) -> int:
        """Durable bytes that a follower has still to be given."""
        return 0 if self._tail is None else max(0, self._tail.end - self._offset)

    @property
    def behind(self) -> bool:
        """A follower that cannot be served from the ring of its tail."""
        return self._tail is not None and self._offset < self._tail.start

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
            self._ended(self)

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
        return await read_exactly(content, self._offset, min(stop, self._offset + PIECE))

    def _close_content(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None


async def read_exactly(content: Content, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of the content as one piece. Raises StreamDamaged."""
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

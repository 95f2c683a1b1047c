"""Read one part of a stream. Owns the follow loop, from stored bytes to live ones.

Knows the store and the hub by their contracts; nothing of HTTP.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, overload

from loom.errors import StreamAborted, StreamGone, StreamNotFound
from loom.model import Info, State
from loom.store.base import Content, Store
from loom.streams.crowd import SHORT, Member
from loom.streams.hub import Hub, Tail
from loom.streams.lines import skip_lines
from loom.streams.ranges import Part

PIECE = 256 << 10
SHORTEST_SLICE = 64 << 10
"""Below this, setting up a zero-copy send costs more than it saves."""
LONGEST_SLICE = 4 << 20
"""Sending a longer slice would delay the follower's next check whether it has to stop."""


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes [start, stop) of an open descriptor; valid until the next piece is requested."""

    fileno: int
    start: int
    stop: int


Piece = bytes | FileSlice


@dataclass(frozen=True, slots=True)
class Load:
    """The connections of this moment. `lagging` followers read from disk to catch up. `lag` is the number of
    durable bytes that the slowest follower has not received yet, `held` the memory of all tails in bytes.
    """

    producers: int
    followers: int
    lagging: int
    lag: int
    held: int


class Reading:
    """A reader of one part of a stream; an async context manager.

    It ends at the part's `stop`. With `stop` None it is a follower and reads to the end of the stream. A
    reader with a `stop` holds the content open, so that neither replace nor delete can shorten its response.
    A follower opens the content only while it lags: a thousand followers of a live stream need no descriptor.
    """

    def __init__(
        self,
        info: Info,
        part: Part,
        store: Store,
        hub: Hub,
        source: Content | Tail,
        on_close: Callable[["Reading"], None] = lambda _: None,
    ) -> None:
        self.info = info
        """The stream as it was when opened."""
        self.part = part
        self._offset = part.start
        self._size = 0  # of the piece returned last
        self._member: Member | None = None  # while it may be in a crowd
        self._store = store
        self._hub = hub
        self._on_close = on_close
        self._tail = source if isinstance(source, Tail) else None
        self._content = None if isinstance(source, Tail) else source

    @property
    def offset(self) -> int:
        """The offset after the last byte returned, or written by a crowd."""
        return self._offset if self._member is None else self._member.offset

    @property
    def latest(self) -> Info:
        """The stream as it was at its latest change of state. Its `size` may be out of date."""
        return self.info if self._tail is None else self._tail.info

    @property
    def lag(self) -> int:
        """How many durable bytes a follower has not received yet."""
        return 0 if self._tail is None else max(0, self._tail.end - self.offset)

    @property
    def available(self) -> bool:
        """True if the next byte is stored already."""
        return self.offset < self.end

    @property
    def end(self) -> int:
        """The durable size of a followed stream, or where the part stops."""
        return self._tail.end if self._tail is not None else self.part.stop or 0

    async def wait(self) -> None:
        """Wait for the next byte or the end of the stream. Raises StreamGone, StoreStopped."""
        tail = self._tail
        if tail is not None:
            await tail.wait_for_bytes(self.offset)
            if tail.error is not None and not self.available:
                raise tail.error.with_traceback(None)

    @property
    def lagging(self) -> bool:
        """True if the follower's next byte has left the ring of its tail."""
        return self._tail is not None and self.offset < self._tail.start

    @overload
    def pieces(self, *, slices: bool = False, to_end: bool = False) -> AsyncGenerator[Piece, None]: ...

    @overload
    def pieces(
        self, *, slices: bool = False, to_end: bool = False, member: Member | None
    ) -> AsyncGenerator[Piece | Member, None]: ...

    async def pieces(
        self, *, slices: bool = False, to_end: bool = False, member: Member | None = None
    ) -> AsyncGenerator[Piece | Member, None]:
        """Yield the bytes in order; with `slices`, yield stored bytes as slices of a descriptor.

        Wherever the reader waits for bytes, `member` is yielded, if given. It stands for all bytes that the
        crowd writes to it, if it joins before the next piece is requested.

        Ends at the part's `stop`, or when the stream is complete. Raises StreamAborted, StreamGone,
        StoreStopped, StreamDamaged or Busy if the response must be cut, after the bytes that are available.
        With `to_end`, the bytes of a stream that was aborted earlier are followed by StreamAborted, too.
        """
        skip = self.part.skip
        while (piece := await self._next(slices and not skip, None if skip else member)) is not None:
            if isinstance(piece, Member):
                self._member = piece
                yield piece
                self._member, self._offset = None, piece.offset
                continue
            self._size = len(piece) if isinstance(piece, bytes) else piece.stop - piece.start
            self._offset += self._size
            if skip and isinstance(piece, bytes):
                skip, piece = skip_lines(piece, skip)
            if piece:
                yield piece
        if to_end:
            check_not_aborted(self.info)

    async def prepare(self) -> None:
        """Open the content if the first piece needs it, so that errors are raised before any byte is sent."""
        if self.lagging:
            self._content = await self._store.open(self.info.key)

    def close(self) -> None:
        """Release the stream. May be repeated."""
        self._close_content()
        if self._tail is not None:
            self._hub.detach(self._tail)
            self._tail = None
            self._on_close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _next(self, slices: bool, member: Member | None) -> Piece | Member | None:
        """Return the next piece, or None at the end. This is one step of the follow loop.

        A reader that waits for bytes gets `member` instead, if there is one.
        """
        tail = self._tail
        if tail is None:
            stop = self.part.stop
            assert stop is not None, "closed"
            return await self._stored(stop, slices) if self._offset < stop else None
        # Wait for the next byte. Bytes come before the end: an ended tail is read to its last byte.
        while self._offset >= tail.end:
            if tail.ended:
                _check_end(tail)
                return None
            # A part may begin after the tail. A crowd delivers no long pieces: its members would leave again.
            if member is not None and self._offset == tail.end and self._size <= SHORT:
                return member.invite(tail.crowd, self._offset)
            await tail.wait_for_bytes(self._offset)
        # The usual case: the byte is in the ring. Content that was opened to catch up is not needed any more.
        chunk = tail.take(self._offset)
        if chunk is not None:
            self._close_content()
            return chunk
        # The follower lags: its byte has left the ring. The content of a stream that is gone may be gone too.
        if tail.error is not None:
            raise tail.error.with_traceback(None)
        # Read the bytes before the ring. Meanwhile the ring may move; the next step checks again.
        # There is neither gap nor repeat, because both sources are read from the same offset.
        return await self._stored(tail.start, slices)

    async def _stored(self, stop: int, slices: bool) -> Piece:
        """Return some stored bytes between the offset and `stop`."""
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
    """Return bytes [start, stop) of the content as one object. Raises StreamDamaged."""
    data = b"".join([piece async for piece in content.read(start, stop)])
    assert len(data) == stop - start, "the content returned too few bytes"
    return data


def _check_end(tail: Tail) -> None:
    """Raise unless the stream is complete. All its bytes have been returned."""
    check_not_aborted(tail.info)
    if tail.info.state is not State.COMPLETE:
        assert tail.error is not None
        raise tail.error.with_traceback(None)


def check_not_aborted(info: Info) -> None:
    """Raise StreamAborted if the stream was aborted."""
    if info.state is State.ABORTED:
        raise StreamAborted(f"The stream was aborted: {info.reason or 'no reason was given'}.")

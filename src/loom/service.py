"""The use cases: produce a stream, read one. Owns the follow loop from stored bytes to live ones, and policy.

Knows the store and the hub by their contracts; nothing of HTTP, tokens or settings.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace as changed
from types import TracebackType
from typing import Self

import structlog

from loom.errors import LoomError, StoreStopped, StreamAborted, StreamGone, StreamNotFound
from loom.hub import Hub, Tail
from loom.model import Clock, Info, NewStream, Patch, State
from loom.store.base import Content, Health, Store, Writer

logger = structlog.get_logger("loom")

PIECE = 256 << 10
SLICE = 4 << 20
"""No slice is longer, so that a follower that is cut notices soon."""

Lost = Callable[[LoomError], None]


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes [start, stop) of an open descriptor; valid until the next piece is asked for."""

    fileno: int
    start: int
    stop: int


Piece = bytes | FileSlice


class Producer:
    """One connection that writes. Ends once: with `complete` or `lose`, whichever comes first."""

    def __init__(self, info: Info, writer: Writer, clock: Clock, ended: Callable[["Producer"], None]) -> None:
        self.info = info
        """The stream as it was created."""
        self.replaced = writer.replaced
        self._writer = writer
        self._clock = clock
        self._ended = ended
        self._error: LoomError | None = None
        self._lost: list[Lost] = []
        self._closing: asyncio.Task[Info] | None = None
        writer.on_lost(self._lose)

    async def take(self, data: bytes) -> None:
        """Append, then wait until there is room for more. Raises WriterLost, StoreStopped."""
        if self._error is not None:
            raise self._error
        self._writer.append(data)
        await self._writer.room()

    async def complete(self) -> Info:
        """The producer said it is done: returns once every byte and the end are durable.

        Goes on when the caller is cancelled. Raises WriterLost, StoreStopped: the stream is then not complete.
        """
        if self._error is not None:
            raise self._error
        return await self._close(Patch(state=State.COMPLETE))

    async def lose(self, reason: str) -> None:
        """The producer vanished: keep every byte taken; it may come back within the resume window.

        Nothing but a wait where the stream is already ending or this producer may not write any more.
        """

    def on_lost(self, callback: Lost) -> None:
        """Call back once, at once if it already is so, when this producer may not go on."""

    async def cut(self, error: LoomError, reason: str) -> None:
        """End this producer from our side: its connection is told, its bytes are kept."""


class Reading:
    """One consumer's way through a stream; an async context manager.

    `stop` is where it ends, or None where it follows until the stream's end.
    """

    info: Info
    start: int
    stop: int | None

    def pieces(self, *, slices: bool = False) -> AsyncGenerator[Piece, None]:
        """The bytes, in order; slices of a descriptor among them where `slices` allows.

        Ends at `stop`, or at the end of a complete stream. Raises StreamAborted, StreamGone, StoreStopped
        or StreamDamaged where the answer must be cut; bytes at hand come before the error.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Service:
    """What one may do with streams."""

    def __init__(self, store: Store, hub: Hub, clock: Clock, *, resume_window: float = 30.0) -> None: ...

    async def create(self, new: NewStream, *, replace: bool = False) -> Producer:
        """Create a stream to write to, with this service's resume window.

        Raises StreamExists, StorageFull, Busy, StoreStopped.
        """
        raise NotImplementedError

    async def info(self, id: str) -> Info:
        """The stream of that id. Raises StreamNotFound."""
        raise NotImplementedError

    async def read(self, id: str, *, tail: bool = True) -> Reading:
        """Read a stream from its start: to its end, or with `tail` false to where it is now.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """
        raise NotImplementedError

    def health(self) -> Health:
        """How the store is; not ready once draining."""
        raise NotImplementedError

    async def drain(self, deadline: float) -> None:
        """Refuse new work, then end producers (their streams are `interrupted`) and cut followers.

        `deadline` is a time of this service's clock; what is not done by then is left to the store's `close`.
        """

    async def close(self) -> None:
        """End what is left, without waiting. The store is closed by who opened it."""

"""The store contract. Owns what every store promises; knows no concrete store and no HTTP.

A store belongs to one event loop: all methods are called there, and all callbacks happen there. Nothing is
told before it is durable: a coroutine that changes something returns, and callbacks are made, only once the
change would survive power loss (`durability: disk`). Every method may raise StoreStopped.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from loom.errors import LoomError
from loom.model import Change, Info, NewStream, Patch, Query, State
from loom.store.places import LinePlace


@dataclass(frozen=True, slots=True)
class Health:
    """How a store is. `ready` is False once it has stopped; `detail` then says why."""

    store: str
    durability: str
    ready: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds: streams in each state, and bytes of them all; `free` is None without a disk."""

    streams: Mapping[State, int]
    size: int
    free: int | None = None


class Sink(Protocol):
    """What a subscription feeds. Called on the event loop; must return at once and not raise."""

    def on_bytes(self, offset: int, data: bytes) -> None:
        """`data` became durable at `offset`, right behind what came before."""

    def on_change(self, info: Info) -> None:
        """The state changed; in a final state nothing follows."""

    def on_gone(self, error: LoomError) -> None:
        """The key was deleted or replaced, or the store stopped: nothing follows."""


class Subscription(Protocol):
    """A running `follow` or `watch`."""

    def close(self) -> None:
        """Nothing is called any more. May be repeated."""


class Following(Subscription, Protocol):
    """A running `follow`. `info` is the stream as it was when it began: the first byte fed is `info.size`."""

    info: Info


class Writer(ABC):
    """The one producer of a stream. Offsets count from the start of the stream.

    Between looking at its right to write and queueing bytes nothing is awaited, so a fenced writer can
    never slip bytes in.
    """

    info: Info
    """The stream as it was when this writer came to it."""
    replaced: bool = False
    """The creation replaced an earlier stream of that id."""

    @property
    def key(self) -> str:
        """The stream's key."""
        return self.info.key

    @property
    def epoch(self) -> int:
        """This writer's epoch: any higher one fences it."""
        return self.info.epoch

    @property
    @abstractmethod
    def accepted(self) -> int:
        """The offset behind the last byte taken by `append`; of no meaning once the writer is lost."""

    @property
    @abstractmethod
    def durable(self) -> int:
        """The offset behind the last durable byte."""

    @abstractmethod
    def append(self, data: bytes) -> None:
        """Take bytes, in order; keeps the object. Raises WriterLost, and RuntimeError once closed."""

    @abstractmethod
    async def wait_for_room(self) -> None:
        """Wait until this producer, and all of them together, hold less than their bounds in flight.

        Raises WriterLost.
        """

    @abstractmethod
    async def wait_durable(self, offset: int) -> int:
        """Wait until bytes [0, offset) are durable; returns the durable size. Raises WriterLost."""

    @abstractmethod
    async def close(self, patch: Patch) -> Info:
        """Store what was accepted, then `patch` (its `state` is required, and not `live`), in that order.

        Returns the stream as it then durably is; the writer is over. Raises WriterLost.
        """

    @abstractmethod
    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """Call back once, at once if it already is so, when this writer is fenced, its stream is gone or
        failed, or the store stopped. Not called after `close` has returned."""


class Content(ABC):
    """The bytes of one key, readable through replace and delete until closed. An async context manager."""

    key: str

    @abstractmethod
    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Bytes [start, stop) in pieces of 256 KiB at most; `stop` within the durable size.

        Raises StreamDamaged where stored bytes are missing; never makes any up.
        """

    def fileno(self) -> int | None:
        """A descriptor for zero-copy reads, or None. Belongs to the content; valid until it is closed."""
        return None

    @property
    def filed(self) -> int:
        """Bytes [0, filed) may be read through `fileno`."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Let go of the bytes. May be repeated."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store(ABC):
    """Streams by id and key, keys being those of `model.new_key`. See the module for what holds of every
    method."""

    @abstractmethod
    async def create(self, new: NewStream, *, replace: bool = False) -> Writer:
        """Create a `live` stream; of two at once exactly one wins.

        With `replace` an existing stream of that id goes in the same change: its writer and followers are
        told StreamGone, its bytes stay readable for who has them open. If the caller is cancelled the
        stream may come to be all the same; it is then `interrupted`. Raises StorageFull, and StreamExists:
        with `replace` too, where the stream that is there came of the same creation (model.repeats).
        """

    @abstractmethod
    async def resume(self, key: str, offset: int, *, epoch: int | None = None) -> Writer:
        """Take a stream over at its end: fence, wait for what was accepted, compare, in that order.

        Raises StreamNotFound, StreamFinal, StorageFull; EpochMismatch, and nobody is fenced, if it is not the
        `epoch` given; OffsetMismatch with an offset that no longer moves. After the latter a stream that was
        `live` is `interrupted`, its deadline a resume window from now, as it is if the caller is cancelled.
        """

    @abstractmethod
    async def info(self, id: str) -> Info:
        """The stream of that id. Raises StreamNotFound."""

    @abstractmethod
    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        """Apply `patch` if the stream still has that version, else VersionMismatch.

        A new state takes the stream from its writer, who is told Fenced. Raises Conflict for one that
        model.TRANSITIONS does not allow, and for `live`; StreamNotFound; StreamFinal for a patch that
        Info.takes says a final stream does not take.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete the stream: its writer and followers are told StreamGone. Raises StreamNotFound."""

    @abstractmethod
    def find(self, query: Query) -> AsyncIterator[Info]:
        """The streams that match, newest first; one that changes meanwhile may be missed."""

    @abstractmethod
    async def due(self, now: float) -> list[Info]:
        """Streams whose deadline is at or before `now`, some hundreds at most, the earliest first."""

    @abstractmethod
    async def expired(self, now: float) -> list[Info]:
        """Final streams that expire at or before `now`, some hundreds at most, the earliest first."""

    @abstractmethod
    async def open(self, key: str) -> Content:
        """The bytes of a key. Raises StreamNotFound, StreamDamaged, Busy (no descriptor left)."""

    @abstractmethod
    async def place(self, key: str, line: int) -> LinePlace:
        """A place in the stream from which a line is found soon: the line's start, or the last place known
        before it. Raises StreamNotFound, Busy."""

    @abstractmethod
    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        """Starts of lines that are known, with their times: `count` or so, evenly from the first to the last
        of `lines`, and the last known among them. Raises StreamNotFound, Busy."""

    @abstractmethod
    async def offset_at(self, key: str, when: float) -> int:
        """The first byte that arrived at that time or later; where that is not known so exactly, one a little
        before it, never one behind. The durable size if none has. Raises StreamNotFound, Busy."""

    @abstractmethod
    async def follow(self, key: str, sink: Sink) -> Following:
        """Feed `sink` with what becomes durable from now on: in order, no gap, no repeat.

        Raises StreamNotFound. Following a final stream feeds nothing.
        """

    @abstractmethod
    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        """Call back for every stream created, closed (final) or deleted from now on; not for bytes.

        A replaced stream is deleted, then created.
        """

    @abstractmethod
    def health(self) -> Health:
        """How the store is, without waiting."""

    @abstractmethod
    async def usage(self) -> Usage:
        """What it holds. Raises Busy."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of all streams, those on their way to the disk too. Counted as they come and go."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """The disk has too little space left to take more bytes."""

    @abstractmethod
    async def wait_stopped(self) -> LoomError:
        """Wait until a failure has stopped the store; returns it. Never returns on an ordinary `close`."""

    @abstractmethod
    async def close(self) -> None:
        """Store what was accepted, make it durable, and let go. Streams that are `live` become `interrupted`.

        May be repeated. Raises nothing that a stopped store has already told.
        """

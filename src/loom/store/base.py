"""The store contract: what every store promises. Knows no concrete store and no HTTP.

A store belongs to one event loop. All methods are called on it, and all callbacks run on it.

Durability: a change is durable once it survives power loss (setting `durability: disk`). Nothing is visible
before: a coroutine that changes something returns, and callbacks run, only after the change is durable. A
caller that is cancelled does not undo its change, which may still be stored.

Order: the changes of one stream take effect one after the other, each after the bytes that were accepted
before it. Every caller, follower and watcher sees them in this order.

Errors: every method may raise StoreStopped, once the store is closed or a flush has failed. The methods of a
Store may raise Busy while a limit of the machine is reached, such as open files. The docstrings
name the other errors of each method. `loom.store.rules` defines what a change does to a stream's row, and
when it is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from loom.errors import LoomError
from loom.model import Addition, Change, Folder, Info, NewStream, Patch, Query, State
from loom.store.handles import Content, Writer
from loom.store.holdings import Holdings
from loom.store.places import LinePlace, Moment

__all__ = [
    "Admit", "Content", "Decide", "Following", "Health", "Sink", "Store", "Subscription", "Usage", "Writer",
    "admit_all",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a store. `ready` is False once it has stopped; `detail` then says why."""

    store: str
    durability: str
    ready: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds: the number of streams in each state, and the bytes of all streams.

    `free` is the free space in bytes, None for a store without a disk.
    """

    streams: Mapping[State, int]
    size: int
    free: int | None = None


class Sink(Protocol):
    """The receiver of a subscription to one stream. Its methods must return at once and must not raise."""

    def on_bytes(self, offset: int, data: bytes) -> None:
        """`data` is durable at `offset`, directly after the bytes of the call before."""

    def on_change(self, info: Info) -> None:
        """The stream has a new state. After a final state nothing follows."""

    def on_gone(self, error: LoomError) -> None:
        """The stream was deleted or replaced, or the store stopped. Nothing follows."""


class Subscription(Protocol):
    """A running `follow` or `watch`."""

    def close(self) -> None:
        """End the subscription: no callback runs after this. May be repeated."""


class Following(Subscription, Protocol):
    """A running `follow`. `info` is the stream at its start: the first byte fed has offset `info.size`."""

    info: Info


Admit = Callable[[Info | None], None]
"""Called with the stream that a creation replaces, None for an unused id. Raises to refuse the creation."""


def admit_all(old: Info | None) -> None:
    """Admit every creation."""


Decide = Callable[[Info, Mapping[str, str]], Addition]
"""Called with a stream and entries of its ledger, both with everything that was accepted. Returns what to
append, or raises to refuse.
"""


class Store(ABC):
    """Streams by id and by key. The docstring of the module holds for every method."""

    @abstractmethod
    async def create(self, new: NewStream, *, replace: bool = False, admit: Admit = admit_all) -> Writer:
        """Create a `live` stream and return its writer. Of several creations of one id exactly one succeeds.

        With `replace` an existing stream of that id is deleted in the same change: its writer and its
        followers get StreamGone. If the caller is cancelled, a stream that was created nevertheless becomes
        `interrupted`.

        `admit` is called once, unless the creation is refused anyway, and nothing is awaited between that
        and the counting of the stream in `holdings`. So a limit that it enforces is never exceeded.

        Raises StorageFull, and what `admit` raises. Raises StreamExists if the id is taken; with `replace`
        only if the existing stream was created by the same request (`model.repeats`).
        """

    @abstractmethod
    async def put(self, new: NewStream, *, admit: Admit = admit_all) -> Info:
        """Create a stream without a producer, `open` or `complete` as `new` says, and return it.

        The stream appears with its content and the entries of its ledger in one change, whatever their size.
        A watcher gets a `complete` one as created, then as closed. `admit` is as in `create`.

        Raises StorageFull, StreamExists, and what `admit` raises.
        """

    @abstractmethod
    async def append(self, key: str, names: Collection[str], decide: Decide) -> Info:
        """Append to a shared stream without taking it over, and return the stream after this addition.

        Any number of callers may append at once. Each waits until the bytes in flight are below their bounds;
        then `decide` is called with the stream and those of the entries `names` that its ledger has. Nothing
        is awaited between that call and the queueing, so no other addition comes between. `decide` is called
        once, for a final stream too.

        Bytes, entries and patch of the Addition become durable together or not at all. An empty Addition
        changes nothing. The answer to that, and what `decide` raises, wait until everything that was accepted
        before is durable. Entries may be set under `names` only.

        Raises StreamNotFound; Conflict for a stream without a framing; StreamFinal for an Addition to a final
        stream, unless it is empty; StorageFull for bytes, also if there was no space after all to store them:
        then the stream stays as it was. StreamFailed if they could not be stored for another reason.
        """

    @abstractmethod
    async def resume(
        self, key: str, offset: int, *, epoch: int | None = None, length: int | None = None
    ) -> Writer:
        """Take a stream over at its end and return its new writer, with a higher epoch.

        Steps, in this order: refuse, compare `offset` with the end of the accepted bytes, fence the old
        writer, wait until its accepted bytes are durable. A fenced writer gets Fenced. The first `length`
        announced stays.

        Raises StreamNotFound, StreamFinal, StorageFull, Conflict for a shared stream, EpochMismatch unless
        the stream has the `epoch` given, and OffsetMismatch with the end of the accepted bytes, once they are
        durable. None of these fences a writer, so the end may move. OffsetMismatch is also raised if accepted
        bytes were lost to a failure after the writer was fenced. After that, or if the caller is cancelled, a
        stream that was `live` is `interrupted`.
        """

    @abstractmethod
    async def info(self, id: str) -> Info:
        """Return the stream of an id. Raises StreamNotFound."""

    @abstractmethod
    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        """Apply `patch` if the stream still has that version, and return the stream after it.

        A new state takes the stream from its writer, who gets Fenced; accepted bytes are stored first.

        Raises StreamNotFound; StreamFinal for a patch that a final stream does not take (`rules.takes`);
        VersionMismatch; Conflict for a state that `model.TRANSITIONS` does not allow, and for `live`. Nothing
        changes then.
        """

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete a stream. Its writer and its followers get StreamGone. Raises StreamNotFound."""

    @abstractmethod
    def find(self, query: Query) -> AsyncIterator[Info]:
        """Yield the streams that match, newest first and each once.

        A stream that changes during the iteration may be missed.
        """

    @abstractmethod
    async def folders(self, prefix: str) -> tuple[int, list[Folder]]:
        """Return how many streams have ids that begin with `prefix`, at most `COUNTED`, and their folders.

        A folder ends at the first slash after `prefix`. There are at most `FOLDERS`, by their newest streams.
        """

    @abstractmethod
    async def due(self, now: float) -> list[Info]:
        """Return streams whose deadline is at or before `now`: the earliest `rules.AT_ONCE`, in order."""

    @abstractmethod
    async def expired(self, now: float) -> list[Info]:
        """Return final and shared streams that expire at or before `now`: the earliest `rules.AT_ONCE`."""

    @abstractmethod
    async def open(self, key: str) -> Content:
        """Open the bytes of a key. Raises StreamNotFound, StreamDamaged."""

    @abstractmethod
    async def place(self, key: str, line: int) -> LinePlace:
        """Return the start of a line, or the last known place before it; the index may lag the bytes.

        Raises StreamNotFound.
        """

    @abstractmethod
    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        """Return known starts of lines with their times: about `count`, spread evenly over `lines`.

        `lines` is the first and the last line; the last known start among them is included. The index may lag
        the bytes. Raises StreamNotFound.
        """

    @abstractmethod
    async def moments(self, key: str, offset: int) -> list[Moment]:
        """Return when the bytes from `offset` on arrived: moments in order, the first at or before `offset`.

        There are at most places.MOMENTS. Raises StreamNotFound.
        """

    @abstractmethod
    async def offset_at(self, key: str, when: float) -> int:
        """Return the offset of the first byte that arrived at or after `when`.

        Where the time is not known exactly, the offset is a little smaller, never larger. It is the durable
        size if no byte has arrived since. Raises StreamNotFound.
        """

    @abstractmethod
    async def follow(self, key: str, sink: Sink) -> Following:
        """Feed `sink` with all that becomes durable from now on: in order, without gap or repeat.

        A state is reported after the bytes that were accepted before it. A final stream feeds nothing. Raises
        StreamNotFound.
        """

    @abstractmethod
    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        """Call `callback` for every stream that is created, ended or deleted, or whose metadata changes, from
        now on and in that order.

        A replaced stream is deleted, then created. Bytes and other states are not reported. The callback must
        return at once and must not raise.
        """

    @abstractmethod
    def health(self) -> Health:
        """Return the health of the store, without waiting. Never raises."""

    @abstractmethod
    async def usage(self) -> Usage:
        """Return what the store holds: the sums of what `find` yields."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The bytes of all streams, those in flight included."""

    @property
    @abstractmethod
    def holdings(self) -> Holdings:
        """The number of streams by owner, and what they take besides their bytes. Right from the start on."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """True while too little disk space is left to accept more bytes."""

    @abstractmethod
    async def wait_stopped(self) -> LoomError:
        """Wait until a failure has stopped the store, and return it. Never returns after a `close`."""

    @abstractmethod
    async def close(self) -> None:
        """Store all accepted bytes, make `live` streams `interrupted`, and release all resources.

        Writers and followers get StoreStopped. May be repeated. Raises nothing.
        """

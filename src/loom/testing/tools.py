"""A clock set by hand, recorders of callbacks, and short calls that tests of stores share."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from loom.errors import LoomError
from loom.model import Addition, Change, ChangeKind, Framing, Info, NewStream, Patch, Query, State
from loom.store.base import Content, Following, Store, Subscription, Writer

T = TypeVar("T")

COMPLETE = Patch(state=State.COMPLETE)
ABORTED = Patch(state=State.ABORTED, reason="given up")
OPEN = Patch(state=State.OPEN, deadline=5_000.0)
INTERRUPTED = Patch(state=State.INTERRUPTED, reason="lost", deadline=2_000.0)
NOT_LIVE = [COMPLETE, ABORTED, OPEN, INTERRUPTED]


class ManualClock:
    """A clock that stands still; a test sets its `time`."""

    def __init__(self, time: float = 1_000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


class Recorder(Generic[T]):
    """Keep the arguments of callbacks, in order, and let a test wait for them."""

    def __init__(self) -> None:
        self.events: list[T] = []
        self._added = asyncio.Event()

    def add(self, event: T) -> None:
        """Keep an event: this is the callback."""
        self.events.append(event)
        self._added.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is checked after each event."""
        while not condition():
            self._added.clear()
            await self._added.wait()

    async def wait_count(self, count: int) -> list[T]:
        """Wait until there are at least `count` events, and return all."""
        await self.wait_until(lambda: len(self.events) >= count)
        return self.events


@dataclass(frozen=True)
class Piece:
    """Bytes that a sink was fed."""

    offset: int
    data: bytes


class Reader(Recorder[Piece | Info | LoomError]):
    """A sink that keeps what it is fed and checks that it has no gap and no repeat."""

    following: Following
    """The subscription that feeds this sink; `follow` sets it."""

    def on_bytes(self, offset: int, data: bytes) -> None:
        self.add(Piece(offset, data))

    def on_change(self, info: Info) -> None:
        self.add(info)

    def on_gone(self, error: LoomError) -> None:
        self.add(error)

    @property
    def pieces(self) -> list[Piece]:
        return [event for event in self.events if isinstance(event, Piece)]

    @property
    def data(self) -> bytes:
        """All bytes fed so far. Asserts that each piece starts where the one before ended."""
        data = b""
        for piece in self.pieces:
            assert piece.data
            assert piece.offset == self.following.info.size + len(data)
            data += piece.data
        return data

    @property
    def infos(self) -> list[Info]:
        return [event for event in self.events if isinstance(event, Info)]

    @property
    def states(self) -> list[State]:
        return [info.state for info in self.infos]

    @property
    def errors(self) -> list[LoomError]:
        return [event for event in self.events if isinstance(event, LoomError)]

    async def wait_size(self, size: int) -> bytes:
        """Wait until the stream was fed up to offset `size`, and return `data`."""
        await self.wait_until(
            lambda: self.following.info.size + sum(len(piece.data) for piece in self.pieces) >= size
        )
        return self.data

    async def wait_state(self, state: State) -> Info:
        """Wait until `state` was reported, and return the newest row."""
        await self.wait_until(lambda: state in self.states)
        return self.infos[-1]

    async def wait_error(self) -> LoomError:
        """Wait for the first error of `on_gone`, and return it."""
        await self.wait_until(lambda: bool(self.errors))
        return self.errors[0]


class Watcher(Recorder[Change]):
    """Keeps the changes of a `watch`."""

    subscription: Subscription

    @property
    def story(self) -> list[tuple[ChangeKind, str]]:
        """The kind and the id of each change."""
        return [(change.kind, change.info.id) for change in self.events]


async def follow(store: Store, key: str, reader: Reader | None = None) -> Reader:
    """Follow a stream with `reader`, or with a new one, and return it."""
    reader = reader or Reader()
    reader.following = await store.follow(key, reader)
    return reader


def watch(store: Store) -> Watcher:
    """Watch a store and return the recorder."""
    watcher = Watcher()
    watcher.subscription = store.watch(watcher.add)
    return watcher


def losses(writer: Writer) -> Recorder[LoomError]:
    """Return a recorder of the errors that `on_lost` reports."""
    recorder = Recorder[LoomError]()
    writer.on_lost(recorder.add)
    return recorder


async def stream(store: Store, id: str, data: bytes = b"", patch: Patch | None = None) -> Writer:
    """Create a stream of these bytes, all durable; close it with `patch`, or leave it live."""
    writer = await store.create(NewStream(id=id))
    writer.append(data)
    await writer.wait_durable(len(data))
    if patch:
        await writer.close(patch)
    return writer


async def shared(
    store: Store, id: str, *, content: Sequence[bytes] = (), entries: Mapping[str, str] | None = None
) -> Info:
    """Create a shared stream, and return it."""
    new = NewStream(id=id, framing=Framing.BYTES, state=State.OPEN, content=content, entries=entries or {})
    return await store.put(new)


async def add(
    store: Store, key: str, data: bytes, entries: Mapping[str, str] | None = None, patch: Patch | None = None
) -> Info:
    """Append to a shared stream unconditionally."""
    addition = Addition(data=[data], entries=entries or {}, patch=patch)
    return await store.append(key, addition.entries.keys(), lambda *_: addition)


async def entries_of(store: Store, key: str, *names: str) -> dict[str, str]:
    """Return those of the entries that a ledger has."""
    found: dict[str, str] = {}

    def look(_: Info, entries: Mapping[str, str]) -> Addition:
        found.update(entries)
        return Addition()

    await store.append(key, names, look)
    return found


async def collect(content: Content, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of a content."""
    return b"".join([piece async for piece in content.read(start, stop)])


async def stored(store: Store, id: str) -> bytes:
    """Return all bytes of a stream."""
    info = await store.info(id)
    async with await store.open(info.key) as content:
        return await collect(content, 0, info.size)


async def found(store: Store, query: Query | None = None) -> list[Info]:
    """Return all that `find` yields."""
    return [info async for info in store.find(query or Query())]


async def ids(store: Store, **query: Any) -> list[str]:
    """Return the ids that `find` yields for a query of these fields."""
    return [info.id for info in await found(store, Query(**query))]


async def wait_settled(store: Store) -> None:
    """Wait until every change requested before this one was announced: changes are ordered."""
    writer = await store.create(NewStream(id="settled"))
    await writer.close(COMPLETE)
    await store.delete(writer.key)


async def outcomes(*asked: Coroutine[Any, Any, T]) -> tuple[list[T], list[LoomError]]:
    """Run all at once; return the results and the errors."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(error, LoomError) for error in errors), errors
    return (
        [answer for answer in answers if not isinstance(answer, BaseException)],
        [error for error in errors if isinstance(error, LoomError)],
    )

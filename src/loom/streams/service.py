"""The use cases: create, resume, read, find, delete. Owns policy and the order of the stop.

Knows the store and the hub by their contracts; nothing of HTTP, tokens or settings.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import replace as updated
from typing import TypeVar

from loom.errors import (
    StorageFull,
    StoreStopped,
    StreamExists,
    StreamFinal,
    StreamGone,
    StreamNotFound,
    TooMany,
    VersionMismatch,
)
from loom.jobs.digests import Digests
from loom.jobs.scrub import Scrub
from loom.model import AMEND_WINDOW, Clock, Info, NewStream, Patch, Query, number_of
from loom.store import rules
from loom.store.base import Health, Store, Usage, Writer
from loom.store.places import MAX_LINE, ORIGIN, LinePlace
from loom.streams.feed import Feed, Place
from loom.streams.hub import Hub
from loom.streams.limits import NO_LIMITS, Limits, Places, Room
from loom.streams.producer import Producer
from loom.streams.ranges import WHOLE, Lookup, Part
from loom.streams.reading import Reading, read_exactly
from loom.streams.search import Finder

Choose = Callable[[Info], Part | Lookup]
"""Says which part of a stream is meant, as the stream is now; may refuse it with an error of its own."""

T = TypeVar("T")

DELETED_AT_ONCE = 500

STOPPED = "the server stopped"


COUNTED = 1 << 20
"""Bytes behind the last place in which lines are counted for who asks for the index."""


@dataclass(frozen=True, slots=True)
class Index:
    """Where lines begin in a stream: some places, and that bytes [0, indexed) hold `lines` line ends."""

    info: Info
    places: list[LinePlace]
    lines: int
    indexed: int


def _whole(info: Info) -> Part:
    return WHOLE.select(info, tail=True)


@dataclass(frozen=True, slots=True)
class Load:
    """Who is here: `behind` followers read content to catch up, the slowest has `lag` bytes still to get;
    `held` is the memory of all tails."""

    producers: int
    followers: int
    behind: int
    lag: int
    held: int


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
        retention: float = 0.0,
        limits: Limits = NO_LIMITS,
        scrub_interval: float = 7 * 86400.0,
        scrub_rate: int = 8 << 20,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self.digests = Digests(store)
        self.scrub = Scrub(store, interval=scrub_interval, rate=scrub_rate)
        self._resume_window = resume_window
        self._open_window = open_window
        self._retention = retention
        self.limits = limits
        self._room = Room(store, limits)
        self._live = Places(limits.streams_live, "live streams")
        self._following = Places(limits.followers, "followers")
        self._producers: set[Producer] = set()
        self._followers: set[Reading] = set()
        self._stopping: StoreStopped | None = None
        self._finder = Finder(store, self._check)
        self._feed = Feed(store)

    def check_length(self, length: int | None) -> None:
        """Raise SizeLimit if no stream may be so long."""
        self._room.check_length(length)

    def now(self) -> float:
        """The time that deadlines are meant in."""
        return self._clock()

    async def create(
        self, new: NewStream, *, replace: bool = False, resume_window: float | None = None
    ) -> Producer:
        """Create a stream to write to; unless told otherwise with this service's resume window and retention.

        Raises StreamExists, SizeLimit, StorageFull, TooMany, Busy, StoreStopped.
        """
        self._check()
        self._room.check_length(new.length)
        new = updated(new, resume_window=self._resume_window if resume_window is None else resume_window)
        if new.ttl is None and new.expires is None:
            new = updated(new, ttl=self._retention)
        try:
            self._room.check()
            with self._live.one(len(self._producers)):
                writer = await self._store.create(new, replace=replace)
        except (StorageFull, TooMany):
            if not replace and await self._stands(new.id):
                raise StreamExists(new.id) from None  # as it is with all the room there is
            raise
        return await self._producing(writer)

    async def _stands(self, id: str) -> bool:
        try:
            await self._store.info(id)
        except StreamNotFound:
            return False
        return True

    async def resume(
        self,
        id: str,
        offset: int,
        check: Callable[[Info], None] = lambda _: None,
        *,
        epoch: int | None = None,
    ) -> Producer:
        """Take a stream over, from its producer if it has one, and go on at its end: at `offset` or nowhere.

        `check` may refuse the stream that stands there; with `epoch` it is taken over from that epoch only.
        Raises StreamNotFound, StreamFinal, EpochMismatch, OffsetMismatch, StorageFull, Busy, StoreStopped.
        """

        async def resumed(info: Info) -> Writer:
            check(info)
            others = [each for each in self._producers if each.info.key != info.key]
            with self._live.one(len(others)):
                return await self._store.resume(info.key, offset, epoch=epoch)

        self._check()
        return await self._producing(await self._standing(id, resumed))

    async def _producing(self, writer: Writer) -> Producer:
        producer = Producer(
            writer,
            self._clock,
            self._producers.discard,
            self.digests,
            room=self._room,
            open_window=self._open_window,
        )
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
            return info, await self._finder.locate(info, choose(info))

        return await self._standing(id, located)

    async def read(self, id: str, choose: Choose = _whole) -> Reading:
        """Read the part of a stream that `choose` means; unless told otherwise all of it, to its end.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """

        async def opened(info: Info) -> Reading:
            return await self._open(info, await self._finder.locate(info, choose(info)))

        self._check()
        return await self._standing(id, opened)

    async def amend(self, id: str, metadata: Callable[[Info], str]) -> Info:
        """Change the metadata of a stream to what `metadata` makes of it; who produces it goes on.

        `metadata` may refuse with an error of its own. What changes nothing is never refused. Raises
        StreamNotFound, StoreStopped, and StreamFinal as `rules.takes` says.
        """

        async def amended(info: Info) -> Info:
            patch = Patch(metadata=metadata(info))
            if patch.metadata == info.metadata:
                return info
            if not rules.takes(info, patch, self._clock()):
                raise StreamFinal(
                    f"The stream with ID {info.id} is {info.state}: metadata is changed once more after the "
                    f"end, within {AMEND_WINDOW:g} seconds."
                )
            return await self._store.change(info.key, patch, version=info.version)

        while True:
            self._check()
            try:
                return await self._standing(id, amended)
            except VersionMismatch:
                continue  # changed between the two looks: the next one merges with that

    async def index(self, id: str, lines: tuple[int, int], count: int) -> Index:
        """Where lines begin in a stream; see Store.places. Raises StreamNotFound, StreamDamaged, Busy,
        StoreStopped."""

        async def indexed(info: Info) -> Index:
            places = await self._store.places(info.key, lines, count)
            last = await self._store.place(info.key, MAX_LINE)
            if last.offset > info.size:
                last = ORIGIN
            ends, covered = last.line - 1, last.offset
            if info.size - covered <= COUNTED:
                async with await self._store.open(info.key) as content:
                    ends += (await read_exactly(content, covered, info.size)).count(b"\n")
                covered = info.size
            return Index(info, [each for each in places if each.offset <= info.size], ends, covered)

        self._check()
        return await self._standing(id, indexed)

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

    def changes(self, last: str = "") -> Place:
        """A place in the feed of all changes, behind the one with the id `last`. Raises StoreStopped."""
        return self._feed.join(last)

    def following(self) -> AbstractContextManager[None]:
        """Someone who stays for what comes, counted in here with all the others. Raises TooMany."""
        return self._following.one(len(self._followers))

    def health(self) -> Health:
        """How the store is; not ready once draining."""
        health = self._store.health()
        if self._stopping is None or not health.ready:
            return health
        return updated(health, ready=False, detail=str(self._stopping))

    def load(self) -> Load:
        """Who is here now."""
        followers = self._followers
        return Load(
            producers=len(self._producers),
            followers=len(followers),
            behind=sum(each.behind for each in followers),
            lag=max((each.lag for each in followers), default=0),
            held=self._hub.statistics().held,
        )

    async def usage(self) -> Usage:
        """What is stored. Raises Busy, StoreStopped."""
        return await self._store.usage()

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
        self._feed.close(error)

    async def close(self) -> None:
        """End what is left, without waiting. The store is closed by who opened it."""
        await self.drain(self._clock())
        await self.digests.close()

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

    async def _open(self, info: Info, part: Part) -> Reading:
        self.scrub.check(info)
        if part.stop is not None:
            return Reading(info, part, self._store, self._hub, await self._store.open(info.key))
        with self.following():
            tail = await self._hub.attach(info.key)
            reading = Reading(info, part, self._store, self._hub, tail, self._followers.discard)
            self._followers.add(reading)
        try:
            await reading.prepare()
        except BaseException:
            reading.close()
            raise
        return reading

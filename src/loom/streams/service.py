"""The use cases of one stream: create, resume, read, amend, delete. Owns policy and the order of the stop.

Knows the store and the hub by their contracts; nothing of HTTP, tokens or settings.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace as updated
from typing import TypeVar

from loom.errors import (
    StorageFull,
    StoreStopped,
    StreamExists,
    StreamGone,
    StreamNotFound,
    TooMany,
    VersionMismatch,
)
from loom.jobs.digests import Digests
from loom.jobs.lifetimes import Lifetimes
from loom.jobs.scrub import Scrub
from loom.model import Clock, Info, NewStream, Patch
from loom.store import rules
from loom.store.base import Health, Store, Usage, Writer
from loom.streams.feed import Feed, Position
from loom.streams.hub import Hub
from loom.streams.index import Arrivals, Index, read_arrivals, read_index
from loom.streams.limits import NO_LIMITS, Limits, Room, Slots
from loom.streams.listing import Listing
from loom.streams.producer import Producer
from loom.streams.ranges import WHOLE, Lookup, Part
from loom.streams.reading import Load, Reading
from loom.streams.redaction import Redactions
from loom.streams.search import Finder
from loom.streams.shared import Shared

Choose = Callable[[Info], Part | Lookup]
"""Returns the part of a stream to read, given the stream as it is now. May raise an error of its own."""

Charge = Callable[[int, Info | None], None]
"""Called with what a new stream counts for besides its bytes, and with the stream that it replaces."""

T = TypeVar("T")


def _whole(info: Info) -> Part:
    return WHOLE.select(info, tail=True)


class Service:
    """Everything that a client may do with streams."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        clock: Clock,
        digests: Digests,
        scrub: Scrub,
        *,
        resume_window: float = 30.0,
        open_window: float = 86400.0,
        retention: float = 0.0,
        limits: Limits = NO_LIMITS,
        redactions: Redactions | None = None,
    ) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self.digests = digests
        self.scrub = scrub
        self._resume_window = resume_window
        self.open_window = open_window
        """Seconds for which a stream that is left open waits for its next producer."""
        self._retention = retention
        self.limits = limits
        self._redactions = redactions or Redactions()
        self.room = Room(store, limits)
        self.holdings = store.holdings
        self._producer_slots = Slots(limits.streams_live, "live streams")
        self._follower_slots = Slots(limits.followers, "followers")
        self._producers: set[Producer] = set()
        self._followers: set[Reading] = set()
        self.lifetimes = Lifetimes(store, clock)
        self._stopping: StoreStopped | None = None
        self._finder = Finder(store, self._check)
        self._feed = Feed(store)
        self.listing = Listing(store, self._check)
        self.shared = Shared(
            store, self.room, self._redactions, self._check, self._with_current, self.lifetimes, retention
        )

    def now(self) -> float:
        """Return the time, on the clock that deadlines use."""
        return self._clock()

    async def create(
        self,
        new: NewStream,
        *,
        replace: bool = False,
        resume_window: float | None = None,
        charge: Charge = lambda size, old: None,
    ) -> Producer:
        """Create a stream and return its producer. Resume window and retention default to this service's.

        `charge` is called last, and may raise to refuse the stream.
        Raises StreamExists, SizeLimit, StorageFull, TooMany, Busy, StoreStopped.
        """
        self._check()
        self.room.check_length(new.length)
        window = self._resume_window if resume_window is None else resume_window
        metadata = self._redactions.metadata(new.id, new.metadata)
        new = updated(new, resume_window=window, metadata=metadata)
        if new.ttl is None and new.expires is None:
            new = updated(new, ttl=self._retention)

        def admitted(old: Info | None) -> None:
            charge(self.room.admit(new, old), old)

        try:
            with self._producer_slots.take(self._live()):
                writer = await self._store.create(new, replace=replace, admit=admitted)
        except (StorageFull, TooMany):
            # An id in use is refused as such, whether or not there is room for another stream.
            if not replace and await self._exists(new.id):
                raise StreamExists(new.id) from None
            raise
        return await self._start_producer(writer)

    async def _exists(self, id: str) -> bool:
        with suppress(StreamNotFound):
            return bool(await self.info(id))
        return False

    async def resume(
        self,
        id: str,
        offset: int,
        check: Callable[[Info], None] = lambda _: None,
        *,
        epoch: int | None = None,
        length: int | None = None,
    ) -> Producer:
        """Take a stream over, from its producer if it has one, and resume it at its end, which is `offset`.

        `check` may raise to refuse the stream. With `epoch`, the stream is only taken over from that epoch.
        `length` announces the total number of bytes, unless that was done before.
        Raises StreamNotFound, StreamFinal, EpochMismatch, OffsetMismatch, TooMany, StorageFull, Busy,
        StoreStopped.
        """

        async def resumed(info: Info) -> Writer:
            # Refuse before the store fences the present producer: a refused takeover must not hurt it.
            check(info)
            # The takeover adds no live stream.
            with self._producer_slots.take(self._live(besides=id)):
                # The store fences it, waits until its accepted bytes are durable, and only then compares the
                # offset. So the offset in an OffsetMismatch does not move: the client can resume from it.
                return await self._store.resume(info.key, offset, epoch=epoch, length=length)

        return await self._start_producer(await self._with_current(id, resumed))

    def _live(self, besides: str = "") -> int:
        return self.room.live((producer.info.id for producer in self._producers), besides)

    async def _start_producer(self, writer: Writer) -> Producer:
        producer = Producer(
            writer,
            self._clock,
            self._producers.discard,
            self.digests,
            room=self.room,
            redactions=self._redactions,
            open_window=self.open_window,
        )
        # Nothing was awaited since the slot was released, so producers never exceed their limit.
        self._producers.add(producer)
        # `drain` may have begun while the store worked, and cannot have seen this producer.
        if self._stopping is not None:
            await producer.cut(self._stopping, rules.SERVER_STOPPED)
            self._check()
        return producer

    async def info(self, id: str) -> Info:
        """Return the stream with this id. Raises StreamNotFound, StoreStopped."""
        return await self.lifetimes.info(id)

    async def locate(self, id: str, choose: Choose = _whole) -> tuple[Info, Part]:
        """Return the stream with this id and the part that `choose` returns, without opening it for reading.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """

        async def located(info: Info) -> tuple[Info, Part]:
            return info, await self._finder.locate(info, choose(info))

        return await self._with_current(id, located)

    async def read(self, id: str, choose: Choose = _whole) -> Reading:
        """Open the part of a stream that `choose` returns; by default the whole stream, to its end.

        Raises StreamNotFound, StreamDamaged, TooMany, Busy, StoreStopped.
        """

        async def opened(info: Info) -> Reading:
            return await self._open(info, await self._finder.locate(info, choose(info)))

        return await self._with_current(id, opened)

    async def _open(self, info: Info, part: Part) -> Reading:
        self.scrub.check(info)
        self.lifetimes.use(info)
        if part.stop is not None:
            return Reading(info, part, self._store, self._hub, await self._store.open(info.key))
        # The slot is held until the reading is counted in `_followers`, so that none slips in between.
        with self.follower_slot():
            tail = await self._hub.attach(info.key)
            reading = Reading(info, part, self._store, self._hub, tail, self._followers.discard)
            self._followers.add(reading)
        try:
            await reading.prepare()
        except BaseException:
            reading.close()
            raise
        return reading

    async def amend(self, id: str, metadata: Callable[[Info], str]) -> Info:
        """Replace a stream's metadata by what `metadata` returns; a producer is not disturbed.

        `metadata` may raise an error of its own. Metadata that stays the same is never refused. Raises
        StreamNotFound, StorageFull, StoreStopped, and StreamFinal as `rules.takes` says.
        """

        async def amended(info: Info) -> Info:
            patch = Patch(metadata=self._redactions.metadata(info.id, metadata(info)))
            if patch.metadata == info.metadata:
                return info
            if not rules.takes(info, patch, self._clock()):
                raise rules.described(info)
            with self.room.growing(len(patch.metadata or "") - len(info.metadata)):
                return await self._store.change(info.key, patch, version=info.version)

        while True:
            try:
                return await self._with_current(id, amended)
            except VersionMismatch:
                continue  # changed meanwhile: merge with the new metadata

    async def index(self, id: str, lines: tuple[int, int], count: int) -> Index:
        """Return where lines begin in a stream; see Store.places.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """
        return await self._with_current(id, lambda info: read_index(self._store, info, lines, count))

    async def arrivals(self, id: str, offset: int) -> Arrivals:
        """Return when the bytes of a stream from `offset` on arrived. Raises StreamNotFound, StoreStopped."""
        return await self._with_current(id, lambda info: read_arrivals(self._store, info, offset))

    async def delete(self, id: str, check: Callable[[Info], None] = lambda _: None) -> Info:
        """Delete the stream with this id, durably, and return it as it was.

        Its producer and followers are disconnected. `check` may raise to refuse the stream. Raises
        StreamNotFound, StoreStopped.
        """

        async def deleted(info: Info) -> Info:
            check(info)
            await self._store.delete(info.key)
            return info

        return await self._with_current(id, deleted)

    def changes(self, last: str = "") -> Position:
        """Return the position after the change with the id `last`, by default after the newest.

        Raises StoreStopped.
        """
        return self._feed.join(last)

    def follower_slot(self) -> AbstractContextManager[None]:
        """Count one more follower inside the context. Raises TooMany."""
        return self._follower_slots.take(len(self._followers))

    def health(self) -> Health:
        """Return the health of the store; not ready once this service is stopping."""
        health = self._store.health()
        if self._stopping is None or not health.ready:
            return health
        return updated(health, ready=False, detail=str(self._stopping))

    def load(self) -> Load:
        """Return the connections of this moment."""
        followers = self._followers
        return Load(
            producers=len(self._producers),
            followers=len(followers),
            lagging=sum(each.lagging for each in followers),
            lag=max((each.lag for each in followers), default=0),
            held=self._hub.statistics().held,
        )

    async def usage(self) -> Usage:
        """Return what the store holds. Raises Busy, StoreStopped."""
        return await self._store.usage()

    async def drain(self, deadline: float) -> None:
        """Refuse new work, interrupt all producers, then disconnect followers.

        `deadline` is a time on this service's clock. Bytes that are not durable then are left to the store's
        `close`.
        """
        # First refuse: every use case that begins from here on raises this error.
        error = self._stopping = StoreStopped("The server is stopping.")
        # Then the producers, all at once. Each stream becomes `interrupted` after its last accepted byte.
        cuts = [
            asyncio.create_task(producer.cut(error, rules.SERVER_STOPPED)) for producer in self._producers
        ]
        if cuts:
            _, late = await asyncio.wait(cuts, timeout=max(0.0, deadline - self._clock()))
            for cut in late:
                cut.cancel()
        # Followers come last, so that they receive the last bytes and changes that producers caused.
        self._hub.close(error)
        self._feed.close(error)

    async def close(self) -> None:
        """Drain without waiting. The owner of store and digests closes those."""
        await self.drain(self._clock())

    def _check(self) -> None:
        if self._stopping is not None:
            raise self._stopping.with_traceback(None)

    async def _with_current(self, id: str, use: Callable[[Info], Awaitable[T]]) -> T:
        """Call `use` with the stream that has this id, and again whenever it was replaced meanwhile."""
        self._check()
        tried = ""
        while True:
            info = await self.lifetimes.info(id)
            try:
                return await use(info)
            except (StreamNotFound, StreamGone):
                # The key is gone. If the id has a new key by now, the request means that stream.
                if info.key == tried:
                    raise StreamNotFound(id) from None
                tried = info.key

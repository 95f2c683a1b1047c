"""The memory store with handles for tests of the code that uses a store."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from loom.jobs.digests import Digests
from loom.jobs.scrub import Scrub
from loom.model import Clock, NewStream
from loom.store.base import Content, Following, Sink, Store, Subscription, Writer
from loom.store.memory import MemoryStore
from loom.store.places import ORIGIN, LinePlace
from loom.streams.hub import Hub
from loom.streams.service import Service
from loom.testing.tools import ManualClock


def service_on(store: Store, hub: Hub | None = None, clock: Clock | None = None, **policy: Any) -> Service:
    """Return a service without its background jobs."""
    scrub = Scrub(store, interval=1, rate=1)
    return Service(
        store, hub or Hub(store), clock or ManualClock(1_000_000.0), Digests(store), scrub, **policy
    )


class CountedFollowing:
    def __init__(self, store: "TestStore", following: Following) -> None:
        self.info = following.info
        self._store = store
        self._following = following

    def close(self) -> None:
        self._store.followings.discard(self)
        self._following.close()


class CountedContent(Content):
    """Content whose first `filed` bytes can be read through a descriptor."""

    def __init__(self, store: "TestStore", content: Content, filed: int) -> None:
        self.key = content.key
        self._store = store
        self._content = content
        self._filed = filed
        self._fd: int | None = None

    async def fill(self) -> None:
        if self._filed:
            self._fd = os.memfd_create("content")
            async for piece in self._content.read(0, self._filed):
                await asyncio.to_thread(os.write, self._fd, piece)

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        self._store.bytes_read += stop - start
        return self._content.read(start, stop)

    def fileno(self) -> int | None:
        return self._fd

    @property
    def filed(self) -> int:
        return self._filed

    def close(self) -> None:
        if self in self._store.contents:
            self._store.contents.discard(self)
            if self._fd is not None:
                os.close(self._fd)
        self._content.close()


class TestStore(MemoryStore):
    """Counts what is open; can delay `follow` and `open`, or make them fail."""

    __test__ = False

    def __init__(self, clock: ManualClock, **bounds: Any) -> None:
        super().__init__(clock, **bounds)
        self.followings: set[CountedFollowing] = set()
        self.follow_calls = 0
        self.contents: set[CountedContent] = set()
        self.open_calls = 0
        self.bytes_read = 0
        self.watchings = 0
        self.filed = 0
        self.indexed = True
        """Whether the index of lines has any place; without, searches read all bytes."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        """Set once a call has reached the gate."""
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Called after the subscription has begun and before `follow` returns."""

    async def _pass(self) -> None:
        self.entered.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure

    async def follow(self, key: str, sink: Sink) -> Following:
        self.follow_calls += 1
        await self._pass()
        following = CountedFollowing(self, await super().follow(key, sink))
        self.followings.add(following)
        if self.meanwhile:
            await self.meanwhile()
        return following

    async def open(self, key: str) -> Content:
        self.open_calls += 1
        await self._pass()
        filed = min(self.filed, self._stream(key).info.size)
        content = CountedContent(self, await super().open(key), filed)
        await content.fill()
        self.contents.add(content)
        return content

    async def place(self, key: str, line: int) -> LinePlace:
        return await super().place(key, line) if self.indexed else ORIGIN

    def watch(self, callback: Any) -> Subscription:
        return _Watching(self, super().watch(callback))

    @property
    def idle(self) -> bool:
        """True if nothing is open."""
        return not (self.followings or self.contents or self.watchings)


class _Watching:
    def __init__(self, store: TestStore, watching: Subscription) -> None:
        store.watchings += 1
        self._store = store
        self._watching: Subscription | None = watching

    def close(self) -> None:
        if self._watching:
            self._watching.close()
            self._watching = None
            self._store.watchings -= 1


async def created(store: MemoryStore, id: str = "a", data: bytes = b"") -> Writer:
    """Create a stream that durably holds `data`."""
    writer = await store.create(NewStream(id=id))
    await fed(writer, data)
    return writer


async def fed(writer: Writer, *chunks: bytes) -> None:
    """Append the chunks, each durable before the next."""
    for chunk in chunks:
        writer.append(chunk)
        await writer.wait_durable(writer.accepted)


async def settled() -> None:
    """Let all tasks run that wait for nothing outside the loop."""
    for _ in range(20):
        await asyncio.sleep(0)

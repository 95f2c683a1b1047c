"""A whole server on a real socket in the process of the test, on either store: fixtures for all folders."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from starlette.types import ASGIApp
from tests.support.program import Listener
from tests.support.wire import Wire

from loom.access.auth import Auth
from loom.assembly import assemble, open_store
from loom.config import Settings
from loom.errors import LoomError
from loom.http.server import serving
from loom.metrics import Metrics
from loom.model import Clock, Info, State
from loom.store.base import Store
from loom.store.files import FilesStore
from loom.streams.grep.search import Grep
from loom.streams.service import Service


@dataclass
class Loom:
    """A running server, and its parts for tests that look at both ends."""

    url: str
    app: ASGIApp
    service: Service
    store: Store
    auth: Auth
    grep: Grep
    lines: "Lines"
    wires: list[Wire] = field(default_factory=list)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    async def connect(self) -> Wire:
        """Open a raw connection that is closed with the server."""
        wire = await Wire.open(self.host, self.port)
        self.wires.append(wire)
        return wire

    async def get(self, target: str, **headers: Any) -> Wire:
        """Send a GET and read the head of its response."""
        return await self.ask("GET", target, **headers)

    async def follow(self, target: str) -> Wire:
        """Send a GET for a stream that may be about to be created."""
        created = asyncio.Event()
        watch = self.store.watch(lambda _: created.set())
        try:
            wire = await self.get(target)
            if wire.head.status == 404:
                await created.wait()
                wire = await self.get(target)
        finally:
            watch.close()
        assert wire.head.status == 200
        return wire

    async def ask(self, method: str, target: str, body: bytes | None = None, **headers: Any) -> Wire:
        """Send a request on its own connection and read the head of the response."""
        wire = await self.connect()
        await wire.request(method, target, body, **headers)
        await wire.answer()
        return wire

    async def live(self, target: str, data: bytes = b"", **headers: Any) -> Wire:
        """Start a producer and leave it in the middle of its body; its stream exists and shows `data`."""
        wire = await self.connect()
        await wire.post(target, **headers)
        if data:
            await wire.chunk(data)
        assert (await wire.answer()).status == 201
        if data:
            reader = await self.get(wire.head["location"])
            assert await reader.take(len(data)) == data
            await reader.close()
        return wire

    async def stored(self, target: str, data: bytes, **headers: Any) -> Wire:
        """Store a complete stream."""
        wire = await self.ask("POST", target, data, **headers)
        assert wire.head.status == 201
        assert await wire.body() == b""
        return wire

    def logged(self, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Return the next log line that has these fields."""
        return self.lines.next(fields)

    async def until(self, id: str, state: State) -> Info:
        """Wait until the stream has that state."""
        turns = Turns()
        following = await self.store.follow((await self.service.info(id)).key, turns)
        info = following.info
        while info.state is not state:
            info = await turns.infos.get()
        following.close()
        return info


class Lines:
    """A structlog processor that passes log lines to the tests that wait for them, and writes none."""

    def __init__(self) -> None:
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = []

    def next(self, fields: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((fields, future))
        return future

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        for fields, future in self._waiting:
            if fields.items() <= event.items() and not future.done():
                future.set_result(dict(event))
        raise structlog.DropEvent


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """Return a server whose connections the test answers itself."""
    async with Listener.listening() as listener:
        yield listener


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Capture the log lines of this test."""
    lines = Lines()
    structlog.configure(processors=[lines])
    yield lines
    structlog.reset_defaults()


class Turns:
    """A sink that keeps the states of a stream."""

    def __init__(self) -> None:
        self.infos: asyncio.Queue[Info] = asyncio.Queue()

    def on_bytes(self, offset: int, data: bytes) -> None: ...

    def on_change(self, info: Info) -> None:
        self.infos.put_nowait(info)

    def on_gone(self, error: LoomError) -> None: ...


@pytest.fixture(params=["memory", "files"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Run the test on each store."""
    return str(request.param)


HEAD_ONLY = {
    *("cache-control", "upload-offset", "upload-complete", "upload-length"),
    "x-stream-epoch",
}
"""Headers that HEAD has and GET has not: the progress of an upload."""

ONE_STORE = pytest.mark.parametrize("store_kind", ["memory"], indirect=True)
"""For tests of what does not depend on the store."""

Serve = Callable[..., Awaitable[Loom]]


@pytest.fixture
async def serve(store_kind: str, tmp_path: Path, lines: Lines) -> AsyncIterator[Serve]:
    """Start a Loom with given settings; it stops with the test."""
    started: list[Loom] = []
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Loom:
            data = tmp_path / str(len(started))
            if "tokens" in settings:
                settings["tokens"] = [by_digest(each) for each in settings["tokens"]]
            chosen = Settings(**{"store": store_kind, "data": data, "durability": "os", **settings})
            started.append(await stack.enter_async_context(running(chosen, lines)))
            return started[-1]

        yield start


def by_digest(entry: Any) -> dict[str, Any]:
    """Return the settings of a token without its text, so that it may be short."""
    given: dict[str, Any] = {"token": entry, "scopes": ["admin"]} if isinstance(entry, str) else dict(entry)
    return given | {"sha256": hashlib.sha256(given.pop("token").encode()).hexdigest()}


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    """A Loom with default settings."""
    return await serve()


Host = Callable[[ASGIApp, Callable[[], Awaitable[None]]], AbstractAsyncContextManager[str]]
"""Serves an app while its block runs, yields the URL, and calls back when it begins to stop."""


@asynccontextmanager
async def running(
    settings: Settings, lines: Lines, host: Host | None = None, spans: Any = None
) -> AsyncIterator[Loom]:
    """Run a whole Loom in this process, its files store with a small log."""
    async with assemble(settings, opener=open_small, sleep=soon, spans=spans) as parts:
        own = partial(serving, caps=parts.caps, proxies=parts.proxies)
        async with host(parts.app, parts.drain) if host else own(parts.app, on_stop=parts.drain) as url:
            loom = Loom(url, parts.app, parts.service, parts.store, parts.auth, parts.grep, lines)
            yield loom
            for wire in loom.wires:
                await wire.close()


async def soon(_seconds: float) -> None:
    await asyncio.sleep(0.02)


async def open_small(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
    if settings.directory is None:
        return await open_store(settings, clock, metrics)
    return await FilesStore.start(
        settings.directory,
        durability=settings.durability,
        clock=clock,
        min_free_bytes=0,
        min_free_inodes=0,
        segment_size=1 << 20,
        on_commit=metrics.commit,
    )

"""The app under other ASGI servers, without the extensions of Loom's own server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from starlette.types import ASGIApp
from tests.support.program import free_port
from tests.support.running import Host, Lines, Loom, running
from tests.support.wire import Cut

from loom.config import Settings
from loom.model import State

OnStop = Callable[[], Awaitable[None]]


async def wait_until_it_accepts(port: int) -> str:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def on_uvicorn(app: ASGIApp, on_stop: OnStop) -> AsyncIterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())
    yield await wait_until_it_accepts(port)
    await on_stop()
    server.should_exit = True
    await task


@contextlib.asynccontextmanager
async def on_hypercorn(app: ASGIApp, on_stop: OnStop) -> AsyncIterator[str]:
    port = free_port()
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    stopping = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stopping.wait))  # type: ignore[arg-type]
    yield await wait_until_it_accepts(port)
    await on_stop()
    stopping.set()
    await task


@contextlib.asynccontextmanager
async def on_granian(app: ASGIApp, on_stop: OnStop) -> AsyncIterator[str]:
    port = free_port()
    server = Granian(app, port=port, interface=Interfaces.ASGI, log_enabled=False, websockets=False)
    task = asyncio.create_task(server.serve())
    yield await wait_until_it_accepts(port)
    await on_stop()
    server.stop()
    await task


@pytest.fixture(params=[on_uvicorn, on_hypercorn, on_granian])
async def loom(request: pytest.FixtureRequest, tmp_path: Path, lines: Lines) -> AsyncIterator[Loom]:
    host: Host = request.param
    async with running(Settings(store="memory"), lines, host) as loom:
        yield loom


async def test_201_arrives_before_any_byte_of_the_body(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a")
    head = await wire.answer()
    assert (head.status, head["location"]) == (201, "/stream/a")
    assert "content-length" not in head
    reader = await loom.get("/stream/a")
    for piece in (b"one", b"two"):
        await wire.chunk(piece)
        assert await reader.take(3) == piece
    await wire.chunk(b"")
    assert await wire.body() == b""
    assert await reader.body() == b""
    assert (await loom.service.info("a")).state is State.COMPLETE


async def test_ids_are_taken_from_the_raw_path(loom: Loom):
    await loom.stored("/stream/team%2F%C3%BC%25", b"data")
    assert await (await loom.get("/stream/team/%c3%bc%25")).body() == b"data"
    assert (await loom.service.info("team/ü%")).size == 4
    assert (await loom.get("/stream/%FF")).head.status == 400


async def test_expect_100_continue_gets_its_100(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", expect="100-continue")
    assert (await wire.answer()).status == 100
    await wire.chunk(b"data")
    assert (await wire.answer()).status == 201
    await wire.chunk(b"")
    assert await wire.body() == b""


async def test_a_follower_of_a_replaced_stream_is_cut(loom: Loom):
    await loom.live("/stream/a", b"old")
    follower = await loom.get("/stream/a")
    assert await follower.take(3) == b"old"
    await loom.stored("/stream/a?force=true", b"new")
    with pytest.raises(Cut):
        await follower.body()


async def test_a_lost_producer_leaves_its_stream_interrupted(loom: Loom):
    wire = await loom.live("/stream/a", b"data")
    wire.reset()
    assert (await loom.until("a", State.INTERRUPTED)).size == 4


async def test_a_refusal_arrives_before_the_body(loom: Loom):
    await loom.stored("/stream/a", b"first")
    wire = await loom.connect()
    await wire.post("/stream/a")
    assert (await wire.answer()).status == 409

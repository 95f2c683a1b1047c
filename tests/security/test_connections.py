"""Floods of connections: nobody takes all of them, and those that have a request keep their places."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Serve
from tests.support.wire import Cut, Wire

pytestmark = ONE_STORE

Dial = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connect to a port from an address of this machine; the connections are closed with the test."""
    wires: list[Wire] = []

    async def connect(port: int, source: str = "127.0.0.1") -> Wire:
        wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))))
        return wires[-1]

    yield connect
    for wire in wires:
        await wire.close()


async def get(wire: Wire, target: str = "/healthz", **headers: Any) -> int:
    """Send a request and return its status, 503 if the connection was closed instead."""
    try:
        await wire.request("GET", target, **headers)
        return (await wire.answer()).status
    except (Cut, ConnectionError):
        return 503


async def test_idle_connections_make_room_and_requests_continue(serve: Serve, dial: Dial):
    loom = await serve(max_connections=20)
    producer = await loom.live("/stream/a", b"first ")
    follower = await loom.get("/stream/a")
    assert await follower.take(6) == b"first "
    idle = [await dial(loom.port, f"127.0.0.{2 + number % 50}") for number in range(60)]
    for _ in range(30):
        wire = await dial(loom.port, "127.0.0.99")
        await wire.send(b"GET / HTTP/1.1\r\nX:")
    assert await idle[0].ended() == b""
    assert await get(await dial(loom.port)) == 200
    await producer.chunk(b"line")
    assert await follower.take(4) == b"line"
    scraped = await loom.get("/metrics")
    lines = [line for line in (await scraped.body()).decode().splitlines() if "connections" in line]
    figures = dict(line.rsplit(" ", 1) for line in lines)
    assert 3 <= float(figures["loom_connections"]) <= 20
    assert float(figures["loom_closed_connections_total"]) >= 60
    assert float(figures["loom_refused_connections_total"]) == 0


async def test_an_address_has_its_share_of_connections(serve: Serve, dial: Dial):
    loom = await serve(max_connections_per_address=5)
    await loom.ask("POST", "/stream/open", b"", upload_complete="?0")
    followers = [await dial(loom.port, "127.0.0.2") for _ in range(5)]
    assert [await get(wire, "/stream/open") for wire in followers] == [200] * 5
    refused = await dial(loom.port, "127.0.0.2")
    assert (await refused.answer()).status == 503
    assert (refused.head["retry-after"], refused.head["connection"]) == ("10", "close")
    assert json.loads(await refused.body())["code"] == "busy"
    assert await refused.ended() == b""
    assert await get(await dial(loom.port, "127.0.0.3")) == 200
    await followers[0].close()
    while await get(await dial(loom.port, "127.0.0.2")) == 503:
        pass  # the server has not noticed yet


async def test_a_trusted_proxy_has_no_share_but_its_clients_have(serve: Serve, dial: Dial):
    loom = await serve(max_connections_per_address=5, trusted_proxies=["127.0.0.2"])
    await loom.ask("POST", "/stream/open", b"", upload_complete="?0")

    async def follow(client: str, source: str = "127.0.0.2") -> int:
        return await get(await dial(loom.port, source), "/stream/open", x_forwarded_for=client)

    assert [await follow("192.0.2.1") for _ in range(6)] == [200] * 5 + [503]
    assert await follow("192.0.2.2") == 200
    assert await follow("6.6.6.6, 192.0.2.1") == 503
    assert [await follow(f"2001:db8::{number}") for number in range(1, 7)] == [200] * 5 + [503]
    lies = [await follow(f"6.6.6.{number}", "127.0.0.3") for number in range(6)]
    assert lies == [200] * 5 + [503], "only a trusted proxy names the client"

"""Caps on connections, as the server keeps them; which connection makes room is tested without a server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.http.server.support import CHUNKED_POST, GET, Seen
from tests.support.server import until
from tests.support.wire import Wire

from loom.http.caps import Caps
from loom.http.server import Limits, serving

Dial = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connect to a server; the connections are closed with the test."""
    wires: list[Wire] = []

    async def connect(url: str, tls: ssl.SSLContext | None = None) -> Wire:
        port = int(url.rpartition(":")[2])
        wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port, ssl=tls)))
        return wires[-1]

    yield connect
    for wire in wires:
        await wire.close()


async def answered(wire: Wire, request: bytes = GET) -> int:
    await wire.send(request)
    return (await wire.answer()).status


async def test_idle_connections_end_sooner_while_most_are_in_use(dial: Dial):
    limits, caps = Limits(crowded_timeout=0.1, dead_check=0.05), Caps(total=8)
    async with serving(Seen(), limits=limits, caps=caps) as url:
        few = [await dial(url) for _ in range(4)]
        waiting = asyncio.create_task(few[0].ended())
        await asyncio.wait({waiting}, timeout=0.4)
        assert not waiting.done()
        busy = await dial(url)
        await busy.send(CHUNKED_POST)
        more = await dial(url)
        assert await waiting == b""
        await busy.send(b"0\r\n\r\n")
        assert (await busy.answer()).status == 200
        assert await answered(more) == 200, "few are in use again"


async def test_a_connection_counts_as_idle_between_its_requests(dial: Dial):
    async with serving(Seen(), caps=Caps(total=2)) as url:
        first, second = await dial(url), await dial(url)
        for wire in (second, first):
            assert await answered(wire) == 200
        assert await answered(await dial(url)) == 200
        assert await second.ended() == b""
        assert await answered(first) == 200


async def test_a_connection_with_a_request_keeps_its_place(dial: Dial):
    async with serving(Seen(), caps=Caps(total=2)) as url:
        senders = [await dial(url) for _ in range(2)]
        for wire in senders:
            await wire.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            )
            assert (await wire.answer()).status == 100
        refused = await dial(url)
        assert (await refused.answer()).status == 503
        assert refused.head["connection"] == "close"
        assert b"too many connections" in await refused.ended()
        for wire in senders:
            assert await answered(wire, b"x") == 200
        assert await answered(await dial(url)) == 200


async def test_a_refused_sender_makes_room_though_its_body_is_still_discarded(dial: Dial):
    async with serving(Seen(), caps=Caps(total=2)) as url:
        for _ in range(6):
            wire = await dial(url)
            head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\nbody"
            assert await answered(wire, head) == 501


async def test_places_are_given_back(dial: Dial):
    caps = Caps(total=100)
    async with serving(Seen(), caps=caps) as url:
        for number in range(30):
            wire = await dial(url)
            if number % 3:
                await wire.send(GET if number % 2 else CHUNKED_POST)
            if number % 5:
                wire.reset()
            else:
                await wire.close()
        await until("all places are free", lambda: not caps.open)
    assert (caps.refused, caps.closed) == (0, 0)


async def test_a_connection_without_a_tls_handshake_makes_room(dial: Dial, certificate: Path):
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(certificate)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    caps = Caps(total=5)
    async with serving(Seen(), caps=caps, tls=server, limits=Limits(head_timeout=0.5)) as url:
        silent = [await dial(url) for _ in range(20)]
        assert await answered(await dial(url, trusting)) == 200
        assert await silent[0].ended() == b""
        assert await silent[-1].ended() == b"", "the time for a handshake is limited"
        garbage = await dial(url)
        await garbage.send(GET)
        await garbage.ended()
        await until("one is left", lambda: caps.open == 1)


async def test_connections_that_close_during_the_checks_do_no_harm(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("loom.http.server.run.AT_ONCE", 1)
    async with serving(Seen(), limits=Limits(dead_check=0.001)) as url:
        for _ in range(20):
            wires = [await dial(url) for _ in range(20)]
            for wire in wires:
                wire.reset()
                await asyncio.sleep(0)
        assert await answered(await dial(url)) == 200

"""Requests that nobody answers yet, and responses that nobody reads, hold little memory and end."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import GET, Follower, Seen, answering, part, served, start, wait_until
from tests.support.wire import Wire

from loom.http.server.connection import Connection

BIG_GET = GET[:-2] + b"x: " + b"y" * 60_000 + b"\r\n\r\n"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Collect the server's connections."""
    made: list[Connection] = []
    before = Connection.connection_made

    def connection_made(self: Connection, transport: asyncio.Transport) -> None:
        made.append(self)
        before(self, transport)

    monkeypatch.setattr(Connection, "connection_made", connection_made)
    return made


async def flood(client: Wire, data: bytes) -> None:
    """Send until the server reads no more."""
    client.writer.write(data)
    sent = -1
    while (left := client.writer.transport.get_write_buffer_size()) != sent:
        sent = left
        await asyncio.sleep(0.05)


async def test_two_requests_wait_and_the_rest_is_not_read(connections: list[Connection]):
    follower = Follower()
    async with served(follower) as dial:
        client = await dial()
        await client.send(GET)
        await follower.started.wait()
        await flood(client, BIG_GET * 400)
        assert client.writer.transport.get_write_buffer_size() > 0
        assert len(connections[0]._cycles) == 3
        assert connections[0].waiting < 1 << 20


async def test_requests_that_waited_unread_are_all_answered():
    async with served(answering(200, b"ok")) as dial:
        client = await dial()
        await client.send(GET * 500 + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GET)
        for _ in range(500):
            assert (await client.answer()).status == 200
            assert await client.body() == b"ok"


async def test_above_the_budget_the_largest_loses_what_waits(connections: list[Connection]):
    follower = Follower()
    async with served(follower, waiting=100_000) as dial:
        modest, greedy = await dial(), await dial()
        for client in (modest, greedy):
            await client.send(GET)
            await follower.started.wait()
            follower.started.clear()
        await modest.send(GET)
        await greedy.send(BIG_GET * 2)
        await wait_until(lambda: len(connections[1]._cycles) == 1)
        await wait_until(lambda: connections[1]._discarding)
        assert len(connections[0]._cycles) == 2
        assert sum(each.waiting for each in connections) <= 100_000


async def test_a_partial_head_above_the_budget_is_refused():
    async with served(Seen(), waiting=10_000) as dial:
        client = await dial()
        await client.send(BIG_GET[:20_000])
        assert (await client.answer()).status == 503


async def test_a_head_of_very_many_headers_is_refused():
    async with served(Seen()) as dial:
        client = await dial()
        await client.send(GET[:-2] + b"a:b\r\n" * 10_000 + b"\r\n")
        assert (await client.answer()).status == 431


async def unread(size: int, *, whole: bool, **limits: Any) -> bytes:
    """Ask for a response of `size` bytes, read nothing for a while, and return what can then be read."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, [(b"content-length", b"%d" % size)]))
        if whole:
            await send(part(bytes(size), more=False))
            return
        for _ in range(16):
            await send(part(bytes(size // 16)))
        await send(part(b"", more=False))

    async with served(app, dead_check=0.02, **limits) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await asyncio.sleep(0.5)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.answer()
        return b"".join([piece async for piece in pieces(client, size)])


async def pieces(client: Wire, size: int):
    while size and (piece := await client.reader.read(65536)):
        size -= len(piece)
        yield piece


async def test_a_whole_response_that_nobody_reads_has_a_deadline():
    try:
        data = await unread(32 << 20, whole=True, unread_timeout=0.2)
    except ConnectionError:
        return
    assert len(data) < 32 << 20


async def test_a_stream_may_be_read_as_late_as_its_reader_likes():
    assert len(await unread(32 << 20, whole=False, unread_timeout=0.05)) == 32 << 20

"""A response that does not wait for the whole request still reaches the client."""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import CHUNKED_POST, answering, part, served, start
from tests.support.wire import Wire

from loom.http.server import serving

REFUSING = answering(409, b"taken")


async def flood(client: Wire, at_most: int = 1 << 30) -> int:
    """Send until the connection ends, and return how much was sent."""
    sent = 0
    try:
        while sent < at_most:
            await client.chunk(bytes(1 << 16))
            sent += 1 << 16
    except ConnectionError:
        pass
    return sent


async def test_response_and_its_end_arrive_while_the_client_still_sends():
    async with served(REFUSING) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        assert (await client.answer()).status == 409
        assert client.head["connection"] == "close"
        assert await client.reader.read() == b"taken"
        assert await flood(client, 8 << 20) == 8 << 20


async def test_connection_closes_when_the_client_closes_it():
    async with served(REFUSING) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        await client.answer()
        await flood(client, 1 << 20)
        client.half_close()
        assert await client.ended() == b"taken"


async def test_discarded_data_is_limited_in_size():
    async with served(REFUSING, discard=8 << 20) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        await client.answer()
        assert 8 << 20 <= await flood(client) < 32 << 20


async def test_discarded_data_is_limited_in_time():
    async with served(REFUSING, discard=1 << 40, discard_timeout=0.05) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        await client.answer()
        await flood(client, 1 << 40)


async def test_response_arrives_although_reading_was_paused():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await REFUSING(scope, receive, send)

    go = asyncio.Event()
    async with served(app) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        sending = asyncio.create_task(flood(client, 32 << 20))
        await asyncio.sleep(0.05)
        go.set()
        assert (await client.answer()).status == 409
        assert await sending == 32 << 20


async def test_success_that_leaves_the_body_unread_ends_in_the_same_way():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(201))
        await send(part(b"done", more=False))

    async with served(app) as dial:
        client = await dial()
        await client.send(CHUNKED_POST)
        assert (await client.answer()).status == 201
        assert await client.body() == b"done"
        assert await client.reader.read() == b""
        await flood(client, 1 << 20)


async def test_refusal_of_a_whole_request_keeps_the_connection():
    async with served(REFUSING) as dial:
        client = await dial()
        for _ in range(2):
            await client.request("POST", "/", body=b"all of it")
            assert (await client.answer()).status == 409
            assert "connection" not in client.head
            await client.body()


@pytest.mark.parametrize("expect", [False, True])
async def test_aiohttp_reads_the_refusal_while_it_sends(expect):
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)

    async with serving(REFUSING) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=endless(), expect100=expect) as response:
            assert response.status == 409
            assert await response.read() == b"taken"


@pytest.mark.parametrize(
    "flags", [["-T", "-", "-H", "Expect:"], ["-T", "-"], ["-0", "--data-binary", "@-", "-H", "Expect:"]]
)
async def test_curl_reads_the_refusal_while_it_uploads(flags, tool: Callable[[str], str]):
    async with serving(REFUSING) as url:
        curl = await asyncio.create_subprocess_exec(
            *(tool("curl"), "-sS", "-w", "%{http_code}", "-X", "POST", *flags, url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await curl.communicate(bytes(50_000_000))
        assert (output, curl.returncode) == (b"taken409", 0)

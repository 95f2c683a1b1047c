"""GET and HEAD /stream/{id}: replays, live reading, and what their headers say."""

import asyncio
import io
import json

import aiohttp
import pytest
from tests.support.running import HEAD_ONLY, Loom
from tests.support.wire import Cut

from loom.model import State

SECURITY = {"content-security-policy": "sandbox; default-src 'none'", "x-content-type-options": "nosniff"}


async def test_a_final_stream_has_its_length_and_may_be_cached(loom: Loom):
    await loom.stored("/stream/a", b"data", content_type="text/html", x_stream_metadata='{"n":1}')
    reader = await loom.get("/stream/a")
    info = await loom.service.info("a")
    expected = SECURITY | {
        "content-length": "4",
        "content-type": "text/html",
        "x-stream-id": "a",
        "x-stream-state": "complete",
        "x-stream-metadata": '{"n":1}',
        "cache-control": "private, no-cache, no-transform",
        "etag": f'"{info.key}"',
    }
    assert reader.head.status == 200
    assert expected.items() <= reader.head.headers.items()
    assert {"transfer-encoding", "x-accel-buffering"}.isdisjoint(reader.head.headers)
    assert await reader.body() == b"data"


async def test_another_stream_of_the_same_id_has_another_etag(loom: Loom):
    await loom.stored("/stream/a", b"data")
    first = (await loom.get("/stream/a")).head["etag"]
    await loom.stored("/stream/a?force=true", b"data")
    assert (await loom.get("/stream/a")).head["etag"] != first


async def test_a_live_stream_shows_its_head_at_once_with_no_byte_stored(loom: Loom):
    producer = await loom.live("/stream/a")
    reader = await loom.get("/stream/a")
    expected = SECURITY | {
        "transfer-encoding": "chunked",
        "x-stream-id": "a",
        "x-stream-state": "live",
        "x-stream-metadata": "{}",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
    }
    assert expected.items() <= reader.head.headers.items()
    assert {"content-length", "etag"}.isdisjoint(reader.head.headers)
    await producer.chunk(b"")
    assert await reader.body() == b""


async def test_a_live_reader_gets_stored_bytes_then_new_ones_then_the_end(loom: Loom):
    producer = await loom.live("/stream/a", b"stored")
    reader = await loom.get("/stream/a")
    assert await reader.take(6) == b"stored"
    for number in range(20):
        line = b"line %d\n" % number
        await producer.chunk(line)
        assert await reader.take(len(line)) == line
    await producer.chunk(b"")
    assert await reader.read_chunk() == b""


async def test_readers_before_during_and_after_see_the_same(loom: Loom):
    data = bytes(range(256)) * 1024
    producer = await loom.live("/stream/a")

    async def read(session: aiohttp.ClientSession) -> bytes:
        async with session.get(f"{loom.url}/stream/a") as response:
            return await response.read()

    async with aiohttp.ClientSession() as session:
        early = [asyncio.create_task(read(session)) for _ in range(5)]
        await producer.chunk(data)
        during = [asyncio.create_task(read(session)) for _ in range(5)]
        await producer.chunk(data[::-1])
        await producer.chunk(b"")
        assert await producer.body() == b""
        seen = {*await asyncio.gather(*early, *during), await read(session)}
    assert seen == {data + data[::-1]}


@pytest.mark.parametrize("query", ["notail", "notail=", "notail=false", "notail&x", "x&notail=0", "no%74ail"])
async def test_notail_sends_the_stored_bytes(loom: Loom, query):
    producer = await loom.live("/stream/a", b"stored")
    reader = await loom.get(f"/stream/a?{query}")
    assert (reader.head["content-length"], reader.head["x-stream-state"]) == ("6", "live")
    assert (reader.head["cache-control"], "etag" in reader.head) == ("no-store, no-transform", False)
    assert await reader.body() == b"stored"
    await producer.chunk(b"")
    assert await producer.body() == b""
    assert await (await loom.get(f"/stream/a?{query}")).body() == b"stored"


@pytest.mark.parametrize("query", ["", "?", "?tail", "?Notail", "?x=notail", "?color&force=what"])
async def test_other_query_parameters_are_ignored(loom: Loom, query):
    producer = await loom.live("/stream/a", b"stored")
    reader = await loom.get(f"/stream/a{query}")
    assert "content-length" not in reader.head
    await producer.chunk(b"")
    assert await reader.body() == b"stored"


@pytest.mark.parametrize("target", ["/stream/no%20such", "/stream/no%20such?notail"])
async def test_an_unknown_id_is_404(loom: Loom, target):
    reader = await loom.get(target)
    assert (reader.head.status, reader.head["content-type"]) == (404, "application/problem+json")
    assert reader.head["cache-control"] == "no-store, no-transform"
    problem = json.loads(await reader.body())
    assert problem["error"] == "The stream with ID no such does not exist"
    assert (problem["status"], problem["code"]) == (404, "not_found")


async def test_head_is_get_without_its_body(loom: Loom):
    producer = await loom.live("/stream/live", b"data", content_type="text/plain")
    await loom.stored("/stream/done", b"data")
    for target in ("/stream/live", "/stream/live?notail", "/stream/done", "/stream/none", "/spy", "/healthz"):
        head, get = await loom.ask("HEAD", target), await loom.get(target)
        assert head.head.status == get.head.status
        own = {"date", "transfer-encoding", "connection", *HEAD_ONLY}
        assert {k: v for k, v in head.head.headers.items() if k not in own} == {
            k: v for k, v in get.head.headers.items() if k not in own
        }
        await head.request("GET", "/healthz")
        assert (await head.answer()).status == 200, "a body came with the answer to HEAD"
    await producer.chunk(b"")


async def test_a_follower_that_disconnects_is_released_at_once(loom: Loom):
    producer = await loom.live("/stream/a")
    logged = loom.logged(method="GET")
    follower = await loom.get("/stream/a")
    await producer.chunk(b"data")
    assert await follower.take(4) == b"data"
    assert not logged.done()
    follower.reset()
    line = await logged
    assert (line["cut"], line["sent"]) == ("the client left", 4)


async def test_a_reader_of_a_replaced_final_stream_gets_all_of_the_old(loom: Loom):
    data = b"x" * (8 << 20)
    await loom.stored("/stream/a", data)
    reader = await loom.get("/stream/a")
    await loom.stored("/stream/a?force=true", b"new")
    assert await reader.body() == data


async def test_an_aborted_reader_over_http_1_0_sees_a_cut_too(loom: Loom):
    await loom.live("/stream/a", b"data")
    reader = await loom.connect()
    await reader.request("GET", "/stream/a", version="1.0")
    head = await reader.answer()
    assert {"transfer-encoding", "content-length"}.isdisjoint(head.headers)
    assert await reader.reader.readexactly(4) == b"data"
    await loom.stored("/stream/a?force=true", b"new")
    with pytest.raises(Cut):
        await reader.body()


async def test_a_large_stream_is_read_as_it_was_sent(loom: Loom):
    data = bytes(range(256)) * (64 << 10)
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{loom.url}/stream/a", data=io.BytesIO(data)) as response:
            assert response.status == 201
            assert await response.read() == b""
        async with session.get(f"{loom.url}/stream/a") as response:
            assert response.content_length == len(data)
            assert await response.read() == data


async def test_interrupted_is_followed_like_live(loom: Loom):
    producer = await loom.live("/stream/a", b"data")
    producer.reset()
    await loom.until("a", State.INTERRUPTED)
    reader = await loom.get("/stream/a")
    assert (reader.head["x-stream-state"], "content-length" in reader.head) == ("interrupted", False)
    assert await reader.take(4) == b"data"
    assert await (await loom.get("/stream/a?notail")).body() == b"data"

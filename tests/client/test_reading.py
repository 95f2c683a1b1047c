"""Streams read with the client: from any start, across disconnects, never mixed with another stream."""

import asyncio
import os
from base64 import b64encode
from hashlib import sha256

import pytest
from tests.client.conftest import QUICK
from tests.support.proxy import Storm
from tests.support.running import Loom

from loom.client import AsyncClient
from loom.client.errors import Aborted, Corrupted, InvalidRequest, Lost, NotFound, Refused, Replaced
from loom.client.reading import Reading
from loom.client.session import Session
from loom.model import Patch, State


async def whole(reading):
    return b"".join([piece async for piece in reading])


async def test_a_finished_stream_is_read_to_its_end(loom: Loom, client: AsyncClient):
    await loom.stored("/stream/a/b", b"0123456789", x_stream_metadata='{"n": 1}')
    reading = client.follow("a/b", verify=True)
    assert await whole(reading) == b"0123456789"
    assert (reading.offset, reading.size, reading.state, reading.metadata) == (10, 10, "complete", '{"n": 1}')
    assert reading.verified


@pytest.mark.parametrize(
    ("start", "bytes"),
    [
        ({"offset": 4}, b"o\nthree"),
        ({"offset": -5}, b"three"),
        ({"lines": 2}, b"two\nthree"),
        ({"line": 2}, b"two\nthree"),
        ({"offset": 99}, b""),
    ],
)
async def test_a_reading_begins_at_the_start_given(loom: Loom, client: AsyncClient, start, bytes):
    await loom.stored("/stream/a", b"1\ntwo\nthree")
    assert await whole(client.follow("a", **start)) == bytes


def test_two_starts_are_refused():
    with pytest.raises(InvalidRequest, match="lines"):
        AsyncClient().follow("a", offset=1, lines=3)


async def test_lines_are_yielded_as_they_become_whole(loom: Loom, client: AsyncClient):
    producer = await loom.live("/stream/a", b"one\ntw")
    lines = client.follow("a").lines()
    assert await anext(lines) == b"one\n"
    await producer.chunk(b"o\n\nend")
    await producer.chunk(b"")
    assert [line async for line in lines] == [b"two\n", b"\n", b"end"]


async def test_each_byte_is_read_once_across_disconnects(loom: Loom, between):
    storm = Storm(7, cuts=40, up=300, down=100_000, stalls=0)
    proxy = await between(loom, storm)
    data = os.urandom(4 << 20)
    producer = await loom.live("/stream/a", data[:3_500_000])

    async def produce():
        for start in range(3_500_000, len(data), 5000):
            await producer.chunk(data[start : start + 5000])
        await producer.chunk(b"")

    producing = asyncio.create_task(produce())
    async with AsyncClient(proxy.url, timeouts=QUICK) as client:
        reading = client.follow("a", verify=True, persistent=True)
        assert await whole(reading) == data
    await producing
    assert reading.verified
    assert storm.cuts > 1


async def test_a_download_resumes_after_a_disconnect(loom: Loom, between):
    storm = Storm(3, cuts=30, up=300, down=100_000, stalls=0)
    proxy = await between(loom, storm)
    data = os.urandom(700_000)
    await loom.stored("/stream/a", data)
    async with AsyncClient(proxy.url, timeouts=QUICK) as client:
        for start, stop in ((0, None), (5, 600_000), (-1000, None), (9, 9), (900_000, None)):
            while True:
                try:
                    read = await client.read("a", start, stop)
                    break
                except Lost:
                    continue  # the first request is not retried, and may be cut, too
            assert read == data[start:stop]
    assert storm.cuts > 1


async def test_a_download_of_a_live_stream_ends_at_its_stored_bytes(loom: Loom, client: AsyncClient):
    await loom.live("/stream/a", b"so far")
    assert await client.read("a") == b"so far"


async def test_an_aborted_stream_ends_with_its_reason(loom: Loom, client: AsyncClient):
    producer = await loom.live("/stream/a", b"half")
    reading = client.follow("a")
    assert await anext(aiter(reading)) == b"half"
    await producer.close()
    info = await loom.until("a", State.INTERRUPTED)
    await loom.store.change(info.key, Patch(state=State.ABORTED, reason="asked to"), version=info.version)
    with pytest.raises(Aborted, match="aborted after 4 bytes: asked to") as raised:
        await anext(aiter(reading))
    assert raised.value.offset == 4
    with pytest.raises(Aborted):
        await whole(client.follow("a"))


@pytest.mark.parametrize(("then", "error"), [("replaced", Replaced), ("deleted", NotFound)])
async def test_a_reading_of_a_stream_that_was_replaced_or_deleted_is_an_error(
    loom: Loom, client, then, error
):
    await loom.live("/stream/a", b"half")
    reading = client.follow("a", lines=3)
    assert await anext(aiter(reading)) == b"half"
    if then == "replaced":
        await loom.stored("/stream/a?force=true", b"other bytes")
    else:
        await loom.ask("DELETE", "/stream/a")
    with pytest.raises(error):
        await anext(aiter(reading))


async def test_a_key_is_required_from_the_first_request(loom: Loom, client: AsyncClient):
    await loom.stored("/stream/a", b"x")
    with pytest.raises(Replaced):
        await whole(client.follow("a", key="1-other"))
    with pytest.raises(Replaced):
        await client.read("a", key="1-other")


async def test_a_stream_that_does_not_exist_is_an_error(client: AsyncClient):
    with pytest.raises(NotFound):
        await whole(client.follow("a"))
    with pytest.raises(NotFound):
        await client.read("a")


HEAD = "HTTP/1.1 200 OK\r\nX-Stream-State: {}\r\nX-Stream-Key: 1-a\r\nX-Stream-Offset: {}\r\n{}\r\n"


def answer(state="complete", offset=0, body=b"", more=""):
    length = f"Content-Length: {len(body)}\r\n"
    return HEAD.format(state, offset, length + more).encode() + body


async def played(listener, *answers):
    heads = []
    for each in answers:
        peer = await listener.accept()
        heads.append(await peer.head())
        await peer.send(each)
        peer.writer.close()
    return heads


async def test_bytes_that_do_not_match_the_digest_are_an_error(listener):
    digest = b64encode(sha256(b"other").digest()).decode()
    head = answer(more=f"Repr-Digest: sha-512=:x:, sha-256=:{digest}:\r\n")
    playing = asyncio.create_task(played(listener, answer(body=b"bytes"), head))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        with pytest.raises(Corrupted):
            await whole(client.follow("a", verify=True))
    assert (await playing)[1].startswith("HEAD /stream/a ")


async def test_a_response_that_begins_earlier_is_skipped_to_the_offset(listener):
    half = answer(body=b"0123456789").replace(b"Length: 10", b"Length: 20")
    playing = asyncio.create_task(played(listener, half, answer(body=b"0123456789abc")))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        assert await whole(client.follow("a")) == b"0123456789abc"
    second = (await playing)[1]
    assert second.startswith("GET /stream/a?offset=10 ")
    assert 'If-Match: "1-a"\r\n' in second


async def test_a_response_that_begins_later_is_an_error(listener):
    half = answer(body=b"0123456789").replace(b"Length: 10", b"Length: 20")
    playing = asyncio.create_task(played(listener, half, answer(offset=11)))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        with pytest.raises(Corrupted, match="byte 11 instead of 10"):
            await whole(client.follow("a"))
    await playing


async def test_a_line_that_arrived_while_its_offset_was_unknown_is_read_once(listener):
    begun = HEAD.replace("X-Stream-Offset: {}", "X-A: {}").format("live", 0, "Transfer-Encoding: chunked\r\n")
    answers = [f"{begun}3\r\nabc\r\n".encode(), answer("live", 70), answer("complete", 73, b"def")]
    playing = asyncio.create_task(played(listener, *answers))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        assert await whole(client.follow("a", line=9)) == b"abcdef"
    heads = await playing
    assert [head.split(" HTTP")[0] for head in heads] == [
        "GET /stream/a?line=9",
        "HEAD /stream/a?line=9",
        "GET /stream/a?offset=73",
    ]


async def test_a_page_of_another_server_is_not_a_stream(listener):
    playing = asyncio.create_task(played(listener, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml"))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        with pytest.raises(Refused, match="no Loom server"):
            await whole(client.follow("a"))
    await playing


async def test_an_end_that_may_be_a_cut_is_not_taken_for_the_end(listener):
    """Without a length and without chunks, only the end of the connection ends the response."""
    cut = answer(body=b"0123").replace(b"Content-Length: 4\r\n", b"")
    playing = asyncio.create_task(played(listener, cut, answer(offset=4, body=b"456789")))
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        assert await whole(client.follow("a")) == b"0123456789"
    assert (await playing)[1].startswith("GET /stream/a?offset=4 ")


async def test_a_part_is_read_to_its_stop_and_no_further(listener):
    """Whatever a server sends: a response that ends early is resumed, and one that goes on is cut."""
    short, long = answer("live", 2, b"23"), answer("live", 4, b"456789")
    playing = asyncio.create_task(played(listener, short, long))
    async with Session(listener.url, timeouts=QUICK) as session:
        reading = Reading(session, "a", {}, start=2, stop=7, persistent=True)
        assert await whole(reading) == b"23456"
        assert reading.offset == 7
    heads = await playing
    assert "Range: bytes=2-6\r\n" in heads[0]
    assert "Range: bytes=4-6\r\n" in heads[1]

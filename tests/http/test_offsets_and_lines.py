"""?offset, ?lines and ?line, over real sockets."""

import asyncio
import json
import random

import pytest
from tests.support.running import HEAD_ONLY, ONE_STORE, Loom
from tests.support.wire import Cut

from loom.model import State

DATA = b"one\ntwo\nthree"

PLACES = [
    ("offset=0", 0),
    ("offset=4", 4),
    ("offset=13", 13),
    ("offset=-5", 8),
    ("offset=-99", 0),
    ("offset=-0", 13),
    ("lines=0", 13),
    ("lines=1", 8),
    ("lines=2", 4),
    ("lines=9223372036854775807", 0),
    ("line=1", 0),
    ("line=3", 8),
]
"""Where DATA is read from."""


@pytest.mark.parametrize("target", ["/stream/done?", "/stream/done?notail&", "/stream/live?notail&"])
async def test_a_read_from_a_start_to_the_end(loom: Loom, target):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    for query, start in PLACES:
        reader = await loom.get(target + query)
        assert (reader.head.status, reader.head["x-stream-offset"]) == (200, str(start)), query
        assert reader.head["content-length"] == str(13 - start)
        assert {"etag", "accept-ranges", "content-range"}.isdisjoint(reader.head.headers)
        assert await reader.body() == DATA[start:], query


async def test_a_read_from_a_start_that_follows(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    readers = []
    for query, start in PLACES:
        reader = await loom.get(f"/stream/a?{query}", range="bytes=1-2")
        assert (reader.head.status, reader.head["x-stream-offset"]) == (200, str(start)), query
        assert await reader.take(13 - start) == DATA[start:], query
        readers.append(reader)
    await producer.chunk(b"\nfour\n")
    for reader in readers:
        assert await reader.take(6) == b"\nfour\n"
    await producer.chunk(b"")
    for reader in readers:
        assert await reader.body() == b""


async def test_every_read_reports_its_offset(loom: Loom):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    for target in ("/stream/done", "/stream/live", "/stream/done?notail", "/stream/live?notail"):
        assert (await loom.get(target)).head["x-stream-offset"] == "0"


LINES = [
    ("1-1", b"one\n"),
    ("2-3", b"two\nthree"),
    ("1-9223372036854775807", DATA),
    ("4-9", b""),
]


@pytest.mark.parametrize(("lines", "expected"), LINES)
async def test_a_read_of_lines_sends_what_is_stored_of_them(loom: Loom, lines, expected):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    aborted = await loom.live("/stream/aborted", DATA, stream_resume_window="0")
    await aborted.close()
    await loom.until("aborted", State.ABORTED)
    for id in ("done", "live", "aborted"):
        reader = await loom.get(f"/stream/{id}?line={lines}")
        assert (reader.head.status, reader.head["content-length"]) == (200, str(len(expected))), id
        assert await reader.body() == expected


@pytest.mark.parametrize("query", ["offset=14", "offset=9223372036854775807", "line=4", "line=99"])
async def test_a_read_past_the_end_of_a_final_stream_is_empty(loom: Loom, query):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    for target in (f"/stream/done?{query}", f"/stream/live?{query}&notail"):
        reader = await loom.get(target)
        assert (reader.head.status, reader.head["x-stream-offset"]) == (200, "13")
        assert await reader.body() == b""


async def test_an_offset_past_the_end_of_a_live_stream_is_awaited(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    reader = await loom.get("/stream/a?offset=16")
    early = await loom.get("/stream/a?offset=99")
    assert reader.head["x-stream-offset"] == "16"
    for byte in b"xyzuv":
        await producer.chunk(bytes([byte]))
    assert await reader.take(2) == b"uv"
    await producer.chunk(b"")
    assert await reader.body() == b""
    assert await early.body() == b"", "the end came first, and it is a clean one"


async def test_a_future_line_is_awaited(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    head = await loom.ask("HEAD", "/stream/a?line=5")
    next_line, far = await loom.get("/stream/a?line=5"), await loom.get("/stream/a?line=9")
    for wire in (head, next_line, far):
        assert (wire.head.status, "x-stream-offset" in wire.head) == (200, False), "nobody knows it yet"
    for byte in b"\nfour\nfive":
        await producer.chunk(bytes([byte]))
    assert await next_line.take(4) == b"five"
    await producer.chunk(b"\n" * 5 + b"ten")
    await producer.chunk(b"")
    assert await next_line.body() == b"\n" * 5 + b"ten"
    assert await far.body() == b"\n" + b"ten"


async def test_a_line_that_begins_at_the_end_is_known(loom: Loom):
    producer = await loom.live("/stream/a", b"one\n")
    reader = await loom.get("/stream/a?line=2")
    assert reader.head["x-stream-offset"] == "4"
    await producer.chunk(b"two\n")
    assert await reader.take(4) == b"two\n"


@pytest.mark.parametrize("query", ["offset=99", "line=99", "lines=1"])
async def test_a_waiting_reader_is_cut_with_the_stream(loom: Loom, query):
    await loom.live("/stream/a", DATA)
    reader = await loom.get(f"/stream/a?{query}")
    await loom.stored("/stream/a?force=true", b"x" * 200)
    with pytest.raises(Cut):
        await reader.body()


@ONE_STORE
@pytest.mark.parametrize(
    "query",
    [
        "offset=",
        "offset",
        "offset=+1",
        "offset=%2B1",
        "offset=1.5",
        "offset=%D9%A3",
        "offset=%FF",
        "offset=9223372036854775808",
        "offset=" + "9" * 5_000,
        "lines=-1",
        "lines=x",
        "line=0",
        "line=-1",
        "offset=1&lines=1",
        "line=1&lines=1",
        "offset=1&offset=1",
    ],
)
async def test_an_invalid_start_is_refused(loom: Loom, query):
    await loom.stored("/stream/a", DATA)
    for method in ("GET", "HEAD"):
        wire = await loom.ask(method, f"/stream/a?{query}&notail")
        assert (wire.head.status, wire.head["content-type"]) == (400, "application/problem+json")
    detail = json.loads(await (await loom.get(f"/stream/a?{query}")).body())["detail"]
    assert detail.endswith(".")


@ONE_STORE
@pytest.mark.parametrize("query", ["offset=-3", "lines=2", "line=2", "line=3&notail", "offset=99&notail"])
async def test_head_is_get_without_its_body(loom: Loom, query):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    for id in ("done", "live"):
        head, get = await loom.ask("HEAD", f"/stream/{id}?{query}"), await loom.get(f"/stream/{id}?{query}")
        framing = {"date", "transfer-encoding", "connection", *HEAD_ONLY}
        assert {k: v for k, v in head.head.headers.items() if k not in framing} == {
            k: v for k, v in get.head.headers.items() if k not in framing
        }


async def test_followers_from_anywhere_see_no_gap_and_no_repeat(loom: Loom):
    chance = random.Random(3)
    data = chance.randbytes(1 << 20)
    sent = 0
    producer = await loom.live("/stream/a")
    followers: list[tuple[int, asyncio.Task[bytes]]] = []
    while sent < len(data):
        size = chance.choice([1, 100, 10_000, 200_000])
        await producer.chunk(data[sent : sent + size])
        sent += size
        start = chance.randrange(len(data))
        reader = await loom.get(f"/stream/a?offset={start}")
        assert reader.head["x-stream-offset"] == str(start)
        followers.append((start, asyncio.create_task(reader.body())))
        reader = await loom.get(f"/stream/a?offset=-{chance.choice([0, 1, 70_000])}")
        followers.append((int(reader.head["x-stream-offset"]), asyncio.create_task(reader.body())))
    await producer.chunk(b"")
    for start, body in followers:
        assert await body == data[start:]


async def test_lines_of_a_stream_that_has_none_for_long(loom: Loom):
    data = b"first\n" + bytes(3 << 20) + b"\nlast\n"
    await loom.stored("/stream/a", data)
    for query, expected in (("lines=1", b"last\n"), ("lines=2", data[6:]), ("line=3", b"last\n")):
        reader = await loom.get(f"/stream/a?{query}")
        assert reader.head["x-stream-offset"] == str(len(data) - len(expected))
        assert await reader.body() == expected


async def test_a_search_ends_when_its_client_disconnects(loom: Loom):
    await loom.stored("/stream/a", bytes(16 << 20))
    logged = loom.logged(path="/stream/a", method="GET")
    wire = await loom.connect()
    await wire.request("GET", "/stream/a?lines=1")
    wire.half_close()
    line = await logged
    assert (line["status"], line["cut"]) == (None, "the client left")


async def test_an_interrupted_stream_is_followed_from_a_start(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    producer.reset()
    await loom.until("a", State.INTERRUPTED)
    reader = await loom.get("/stream/a?lines=1")
    assert (reader.head["x-stream-offset"], "content-length" in reader.head) == ("8", False)
    assert await reader.take(5) == b"three"

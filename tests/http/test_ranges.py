"""Range on GET and HEAD of final and growing streams, over real sockets."""

import json
import random

import pytest
from tests.http.test_curl import Tool, output
from tests.support.running import HEAD_ONLY, ONE_STORE, Loom
from tests.support.wire import Cut, Wire

from loom.model import State

DATA = b"0123456789"
WHOLE = [
    "bytes=0-1,4-5",
    "bytes=4-3",
    "bytes=-",
    "bytes=a-",
    "lines=0-1",
    "bytes",
    "bytes=0-" + "9" * 21,
]
"""Ranges that are ignored."""


async def range_of(loom: Loom, target: str, value: str, **headers: str) -> Wire:
    return await loom.get(target, range=value, **headers)


@pytest.mark.parametrize(
    ("value", "content_range", "body"),
    [
        ("bytes=0-3", "bytes 0-3/10", b"0123"),
        ("bytes=4-", "bytes 4-9/10", b"456789"),
        ("bytes=9-9", "bytes 9-9/10", b"9"),
        ("bytes=8-99", "bytes 8-9/10", b"89"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=-99", "bytes 0-9/10", DATA),
        ("bytes=2-99999999999999", "bytes 2-9/10", b"23456789"),
    ],
)
async def test_a_range_of_a_final_stream(loom: Loom, value, content_range, body):
    await loom.stored("/stream/a", DATA)
    whole = (await loom.get("/stream/a")).head
    for query in ("", "?notail"):
        reader = await range_of(loom, f"/stream/a{query}", value)
        assert (reader.head.status, reader.head["content-range"]) == (206, content_range)
        assert reader.head["x-stream-offset"] == content_range[6:].partition("-")[0]
        assert reader.head["accept-ranges"] == whole["accept-ranges"] == "bytes"
        assert await reader.body() == body
        tag = None if query else whole["etag"]
        assert reader.head.headers.get("etag") == tag, "a part is known by the tag of the whole"


@pytest.mark.parametrize(
    ("value", "content_range", "body"),
    [
        ("bytes=0-", "bytes 0-9/*", DATA),
        ("bytes=4-6", "bytes 4-6/*", b"456"),
        ("bytes=4-99999999999", "bytes 4-9/*", b"456789"),
        ("bytes=-3", "bytes 7-9/*", b"789"),
        ("bytes=-99", "bytes 0-9/*", DATA),
    ],
)
async def test_a_range_of_a_live_stream_has_the_stored_bytes(loom: Loom, value, content_range, body):
    await loom.live("/stream/a", DATA)
    reader = await range_of(loom, "/stream/a", value)
    assert (reader.head.status, reader.head["content-range"]) == (206, content_range)
    assert reader.head["content-length"] == str(len(body))
    assert (reader.head["cache-control"], "etag" in reader.head) == ("no-store, no-transform", False)
    assert await reader.body() == body


async def test_other_ranges_are_ignored(loom: Loom):
    await loom.stored("/stream/done", DATA)
    producer = await loom.live("/stream/live", DATA)
    targets = ("/stream/done", "/stream/done?notail", "/stream/live")
    readers = [await range_of(loom, target, value) for target in targets for value in WHOLE]
    await producer.chunk(b"")
    for reader in readers:
        assert (reader.head.status, "content-range" in reader.head) == (200, False)
        assert await reader.body() == DATA


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-12", "bytes=99999999999999999999-", "bytes=-0"])
async def test_a_range_past_the_end_is_416_with_the_size(loom: Loom, value):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    for target in ("/stream/done", "/stream/live", "/stream/live?notail"):
        reader = await range_of(loom, target, value)
        assert (reader.head.status, reader.head["content-range"]) == (416, "bytes */10")
        assert reader.head["content-type"] == "application/problem+json"
        problem = json.loads(await reader.body())
        assert (problem["code"], problem["size"]) == ("range_not_satisfiable", 10)
        assert problem["detail"].endswith(".")


async def test_an_empty_stream_has_no_first_byte_but_an_end(loom: Loom):
    await loom.stored("/stream/done", b"")
    await loom.live("/stream/live")
    for target in ("/stream/done", "/stream/live"):
        assert (await range_of(loom, target, "bytes=0-")).head["content-range"] == "bytes */0"
        end = await range_of(loom, target, "bytes=-5")
        assert (end.head.status, end.head["content-length"]) == (200, "0")


@pytest.mark.parametrize("first", [0, 7, 10])
async def test_a_very_large_last_position_follows(loom: Loom, first):
    producer = await loom.live("/stream/a", DATA)
    reader = await range_of(loom, "/stream/a", f"bytes={first}-9007199254740991")
    assert reader.head.status == 206
    assert reader.head["content-range"] == f"bytes {first}-9007199254740991/*"
    assert (reader.head["x-stream-offset"], "content-length" in reader.head) == (str(first), False)
    assert await reader.take(10 - first) == DATA[first:]
    await producer.chunk(b"more")
    assert await reader.take(4) == b"more"
    await producer.chunk(b"")
    assert await reader.body() == b""


async def test_a_very_large_last_position_is_ordinary_for_a_final_stream(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    now = await range_of(loom, "/stream/a?notail", "bytes=7-100000000000")
    assert (now.head["content-range"], await now.body()) == ("bytes 7-9/*", b"789")
    beyond = await range_of(loom, "/stream/a", "bytes=11-100000000000")
    assert beyond.head.status == 416
    await producer.chunk(b"")
    await producer.body()
    done = await range_of(loom, "/stream/a", "bytes=7-100000000000")
    assert (done.head["content-range"], await done.body()) == ("bytes 7-9/10", b"789")
    assert (await range_of(loom, "/stream/a", "bytes=10-100000000000")).head.status == 416


async def test_a_follower_of_a_range_is_cut_with_its_stream(loom: Loom):
    await loom.live("/stream/a", DATA)
    follower = await range_of(loom, "/stream/a", "bytes=8-100000000000")
    assert await follower.take(2) == b"89"
    await loom.stored("/stream/a?force=true", b"new")
    with pytest.raises(Cut):
        await follower.body()


async def test_a_range_of_a_lost_build(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    producer.reset()
    info = await loom.until("a", State.INTERRUPTED)
    assert (await range_of(loom, "/stream/a", "bytes=8-")).head["content-range"] == "bytes 8-9/*"
    assert info.size == 10


@ONE_STORE
async def test_head_honours_ranges_as_get_does(loom: Loom):
    await loom.stored("/stream/done", DATA)
    await loom.live("/stream/live", DATA)
    asked = ["bytes=0-", "bytes=2-3", "bytes=-3", "bytes=10-", "bytes=3-100000000000", "bytes=0-1,3-4", "x=1"]
    for target in ("/stream/done", "/stream/live", "/stream/done?notail", "/stream/live?notail"):
        for value in asked:
            head, get = await loom.ask("HEAD", target, range=value), await range_of(loom, target, value)
            assert head.head.status == get.head.status
            framing = {"date", "transfer-encoding", "connection", *HEAD_ONLY}
            assert {k: v for k, v in head.head.headers.items() if k not in framing} == {
                k: v for k, v in get.head.headers.items() if k not in framing
            }
            await head.request("GET", "/healthz")
            assert (await head.answer()).status == 200, "a body came with the answer to HEAD"


async def test_ranges_do_not_matter_to_other_methods(loom: Loom):
    wire = await loom.ask("POST", "/stream/a", DATA, range="bytes=2-3")
    assert wire.head.status == 201
    assert await (await loom.get("/stream/a")).body() == DATA


async def test_any_range_is_the_slice(loom: Loom):
    """The stream has bytes in a file, in memory only, and both in one range."""
    chance = random.Random(7)
    data = chance.randbytes(700_000)
    stored = await loom.live("/stream/live", data[:400_000])
    await stored.chunk(data[400_000:])
    reader = await loom.get("/stream/live")
    assert await reader.take(len(data)) == data
    await loom.stored("/stream/done", data)
    wires = {target: await loom.connect() for target in ("/stream/live", "/stream/done")}
    edges = [0, 1, 65_535, 65_536, 262_144, 399_999, 400_000, 524_288, len(data) - 1]
    for _ in range(60):
        for target, wire in wires.items():
            first, last = sorted(chance.choice([*edges, chance.randrange(len(data))]) for _ in range(2))
            written = chance.choice([f"{first}-{last}", f"{first}-", f"-{len(data) - first}"])
            expected = data[first : last + 1] if written == f"{first}-{last}" else data[first:]
            await wire.request("GET", target, range=f"bytes={written}")
            assert (await wire.answer()).status == 206
            assert await wire.body() == expected, written


async def test_over_http_1_0(loom: Loom):
    await loom.stored("/stream/a", DATA)
    reader = await loom.connect()
    await reader.request("GET", "/stream/a", version="1.0", range="bytes=3-5")
    assert (await reader.answer()).status == 206
    assert await reader.body() == b"345"


async def test_curl_resumes_a_download(loom: Loom, tool: Tool, tmp_path):
    await loom.stored("/stream/a", DATA)
    file = tmp_path / "a"
    file.write_bytes(DATA[:4])
    await output(tool, "-f", "-C", "-", "-o", str(file), f"{loom.url}/stream/a")
    assert file.read_bytes() == DATA
    assert await output(tool, "-r", "2-3", f"{loom.url}/stream/a") == b"23"

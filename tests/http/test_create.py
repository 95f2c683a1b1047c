"""POST /stream and POST /stream/{id}, on a direct connection."""

import asyncio
import json
import uuid
from urllib.parse import quote

import aiohttp
import pytest
from tests.support.running import Loom, Serve
from tests.support.wire import Cut

from loom.ids import quote_id
from loom.model import State


@pytest.mark.parametrize("path", ["/stream", "/stream/"])
async def test_a_post_without_id_gets_one(loom: Loom, path):
    wire = await loom.stored(path, b"data")
    id = wire.head["x-stream-id"]
    assert uuid.UUID(id).version == 7
    assert wire.head["location"] == f"/stream/{id}"
    assert await (await loom.get(wire.head["location"])).body() == b"data"


async def test_new_ids_are_unique_and_sorted_by_time_under_concurrency(loom: Loom):
    async def create(session: aiohttp.ClientSession) -> str:
        async with session.post(f"{loom.url}/stream", data=b"") as response:
            assert response.status == 201
            await response.read()
            return response.headers["X-Stream-Id"]

    async with aiohttp.ClientSession() as session:
        ids = await asyncio.gather(*(create(session) for _ in range(100)))
        assert len(set(ids)) == 100
        assert max(ids)[:13] <= (await create(session))[:13]


async def test_201_arrives_before_any_byte_of_the_body_is_sent(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a")
    head = await wire.answer()
    assert (head.version, head.status) == ("HTTP/1.1", 201)
    assert (head["x-stream-id"], head["location"]) == ("a", "/stream/a")
    assert head["transfer-encoding"] == "chunked"
    assert "content-length" not in head
    assert (await loom.service.info("a")).state is State.LIVE
    await wire.chunk(b"late bytes")
    await wire.chunk(b"")
    assert await wire.read_chunk() == b""
    info = await loom.service.info("a")
    assert (info.state, info.size) == (State.COMPLETE, 10)


async def test_the_response_ends_only_once_the_stream_is_complete(loom: Loom):
    wire = await loom.live("/stream/a", b"one")
    await wire.chunk(b"two")
    reader = await loom.get("/stream/a")
    assert await reader.take(6) == b"onetwo"
    assert (await loom.service.info("a")).state is State.LIVE
    await wire.chunk(b"")
    assert await wire.body() == b""
    assert (await loom.service.info("a")).state is State.COMPLETE
    assert await reader.read_chunk() == b""


async def test_a_body_of_known_length(loom: Loom):
    data = bytes(range(256)) * 4096
    wire = await loom.stored("/stream/a", data)
    assert "transfer-encoding" not in wire.head
    assert await (await loom.get("/stream/a")).body() == data


@pytest.mark.parametrize("headers", [{}, {"content_length": 0}])
async def test_an_empty_body_makes_an_empty_stream(loom: Loom, headers):
    wire = await loom.ask("POST", "/stream/a", **headers)
    assert wire.head.status == 201
    assert await wire.body() == b""
    reader = await loom.get("/stream/a")
    assert (reader.head["content-length"], reader.head["x-stream-state"]) == ("0", "complete")


async def test_chunks_split_anywhere_and_their_extensions_are_not_stored(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a")
    for byte in b"4;name=value\r\nabcd\r\n1\r\n!\r\n0\r\nTrailer: dropped\r\n\r\n":
        await wire.send(bytes([byte]))
    assert (await wire.answer()).status == 201
    assert await wire.body() == b""
    reader = await loom.get("/stream/a")
    assert await reader.body() == b"abcd!"
    assert "trailer" not in reader.head


async def test_http_1_0_is_answered_at_the_end_and_not_chunked(loom: Loom):
    wire = await loom.connect()
    await wire.request("POST", "/stream/a", version="1.0", content_length=4)
    await wire.send(b"da")
    reader = await loom.follow("/stream/a")
    assert await reader.take(2) == b"da"
    await wire.send(b"ta")
    assert (await wire.answer()).status == 201
    assert wire.head["content-length"] == "0"
    assert "transfer-encoding" not in wire.head
    assert await reader.body() == b"ta"


async def test_expect_100_continue_is_answered_100_then_201(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", expect="100-continue")
    assert (await wire.answer()).status == 100
    await wire.chunk(b"data")
    assert (await wire.answer()).status == 201
    await wire.chunk(b"")
    assert await wire.body() == b""
    assert await (await loom.get("/stream/a")).body() == b"data"


async def test_a_refusal_is_sent_instead_of_100(loom: Loom):
    await loom.stored("/stream/a", b"")
    wire = await loom.connect()
    await wire.post("/stream/a", expect="100-continue")
    assert (await wire.answer()).status == 409


async def test_a_taken_id_is_refused_before_the_body(loom: Loom):
    await loom.stored("/stream/a%20b", b"first")
    wire = await loom.connect()
    await wire.post("/stream/a%20b")
    head = await wire.answer()
    assert (head.status, head["content-type"]) == (409, "application/problem+json")
    problem = json.loads(await wire.body())
    assert problem["error"] == (
        "The stream with ID a b already exists. Specify force=true query param to override."
    )
    assert (problem["status"], problem["code"]) == (409, "exists")
    assert await (await loom.get("/stream/a%20b")).body() == b"first"


async def test_of_many_posts_at_once_exactly_one_wins(loom: Loom):
    wires = [await loom.connect() for _ in range(20)]
    await asyncio.gather(*(wire.post("/stream/a") for wire in wires))
    heads = await asyncio.gather(*(wire.answer() for wire in wires))
    assert sorted(head.status for head in heads) == [201] + [409] * 19
    winner = wires[[head.status for head in heads].index(201)]
    await winner.chunk(b"mine")
    await winner.chunk(b"")
    assert await winner.body() == b""
    assert await (await loom.get("/stream/a")).body() == b"mine"


@pytest.mark.parametrize(
    "query", ["force=true", "force", "force=", "force=1", "force=TRUE", "x=y&force=true&z"]
)
async def test_force_replaces_and_cuts_producer_and_followers(loom: Loom, query):
    old = await loom.live("/stream/a", b"old")
    follower = await loom.get("/stream/a")
    assert await follower.take(3) == b"old"
    new = await loom.live(f"/stream/a?{query}", b"new")
    assert new.head["x-stream-replaced"] == "true"
    with pytest.raises(Cut) as cut:
        await follower.body()
    assert cut.value.args == (b"",)
    with pytest.raises(Cut):
        await old.body()
    await new.chunk(b"")
    assert await new.body() == b""
    assert await (await loom.get("/stream/a")).body() == b"new"


async def test_force_replaces_a_complete_stream_and_creates_a_missing_one(loom: Loom):
    first = await loom.stored("/stream/a?force=true", b"first")
    assert "x-stream-replaced" not in first.head
    second = await loom.stored("/stream/a?force=true", b"second")
    assert second.head["x-stream-replaced"] == "true"
    assert await (await loom.get("/stream/a")).body() == b"second"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("force=false", 409),
        ("force=0", 409),
        ("force=yes", 400),
        ("force=true&force=false", 400),
        ("Force=true", 409),
    ],
)
async def test_other_values_of_force_do_not_replace(loom: Loom, query, status):
    await loom.stored("/stream/a", b"first")
    wire = await loom.ask("POST", f"/stream/a?{query}", b"second")
    assert wire.head.status == status
    assert await (await loom.get("/stream/a")).body() == b"first"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("via", "1.1 proxy"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "192.0.2.1"),
        ("connection", "close"),
        ("upload-complete", "?1"),
    ],
)
async def test_through_a_proxy_the_response_is_sent_at_the_end(loom: Loom, name, value):
    wire = await loom.connect()
    await wire.post("/stream/a", **{name: value})
    await wire.chunk(b"data")
    reader = await loom.follow("/stream/a")
    assert await reader.take(4) == b"data"
    assert wire.unread() == b""
    await wire.chunk(b"")
    head = await wire.answer()
    assert (head.status, head["content-length"], head["x-stream-id"]) == (201, "0", "a")
    assert (await loom.service.info("a")).state is State.COMPLETE


async def test_a_body_of_known_length_is_answered_at_its_end(loom: Loom):
    wire = await loom.connect()
    await wire.request("POST", "/stream/a", content_length=5)
    await wire.send(b"1234")
    assert await (await loom.follow("/stream/a")).take(4) == b"1234"
    assert wire.unread() == b""
    await wire.send(b"5")
    assert (await wire.answer()).status == 201
    assert await (await loom.get("/stream/a")).body() == b"12345"


async def test_early_response_can_be_set(serve: Serve):
    always, never = await serve(early_response="always"), await serve(early_response="never")
    wire = await always.connect()
    await wire.post("/stream/a", via="1.1 proxy")
    assert (await wire.answer()).status == 201
    late = await never.connect()
    await late.post("/stream/a")
    await late.chunk(b"data")
    assert await (await never.follow("/stream/a")).take(4) == b"data"
    assert late.unread() == b""
    await late.chunk(b"")
    assert (await late.answer())["content-length"] == "0"


async def test_metadata_is_kept_as_text_and_escaped_to_ascii(loom: Loom):
    await loom.stored("/stream/a", b"", x_stream_metadata='{"b":1.0,  "a":"é","a":2}')
    head = (await loom.get("/stream/a")).head
    assert head["x-stream-metadata"] == r'{"b":1.0,  "a":"\u00e9","a":2}'
    await loom.stored("/stream/b", b"")
    assert (await loom.get("/stream/b")).head["x-stream-metadata"] == "{}"


@pytest.mark.parametrize(
    "metadata", ["{", "", "NaN", r'"\ud800"', "[" * 2000 + "]" * 2000, '"' + "é" * 683 + '"', "\udcff"]
)
async def test_bad_metadata_is_refused_and_nothing_is_created(loom: Loom, metadata):
    wire = await loom.connect()
    await wire.post("/stream/a", x_stream_metadata=metadata)
    assert (await wire.answer()).status == 400
    assert json.loads(await wire.body())["code"] == "invalid_metadata"
    assert (await loom.get("/stream/a")).head.status == 404


async def test_the_metadata_limit_can_be_set(serve: Serve):
    loom = await serve(max_metadata_bytes=10)
    assert (await loom.ask("POST", "/stream/a", b"", x_stream_metadata='"12345678"')).head.status == 201
    assert (await loom.ask("POST", "/stream/b", b"", x_stream_metadata='"123456789"')).head.status == 400


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/x-www-form-urlencoded", "application/octet-stream"),
        (None, "application/octet-stream"),
    ],
)
async def test_content_type_is_kept(loom: Loom, sent, kept):
    await loom.stored("/stream/a", b"", **({} if sent is None else {"content_type": sent}))
    assert (await loom.get("/stream/a")).head["content-type"] == kept


async def test_a_content_encoding_is_refused(loom: Loom):
    wire = await loom.ask("POST", "/stream/a", b"", content_encoding="gzip")
    assert (wire.head.status, json.loads(await wire.body())["code"]) == (415, "unsupported_encoding")
    assert (await loom.get("/stream/a")).head.status == 404
    assert (await loom.ask("POST", "/stream/a", b"", content_encoding="identity")).head.status == 201


@pytest.mark.parametrize(
    "id",
    [
        "team/build/42",
        "a b",
        "*;x",
        "..x",
        "ключ",
        "😀",
        "a%b",
        "a?b#c",
        "a\\b",
        "x" * 255,
        "é" * 255,
        "~'\"<>",
    ],
)
async def test_ordinary_ids_work_percent_encoded(loom: Loom, id):
    wire = await loom.stored(f"/stream/{quote(id)}", b"data")
    assert wire.head["x-stream-id"] == quote_id(id)
    reader = await loom.get(wire.head["location"])
    assert reader.head["x-stream-id"] == quote_id(id)
    assert await reader.body() == b"data"
    assert (await loom.service.info(id)).id == id


async def test_an_encoded_slash_is_a_slash(loom: Loom):
    await loom.stored("/stream/team%2Fbuild%2f42", b"data")
    assert await (await loom.get("/stream/team/build/42")).body() == b"data"


BAD_IDS = [
    *("a//b", "/a", "a/", "%2F", ".", "..", "a/../b", "a/%2e%2E"),
    *("%FF", "%C3", "%ED%A0%80", "%00", "a%0Ab", "%0A", "a%7F"),
    *("x" * 256, quote("é" * 256)),
]


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
async def test_invalid_ids_are_refused_with_a_sentence(loom: Loom, method):
    for raw in BAD_IDS:
        wire = await loom.ask(method, f"/stream/{raw}")
        assert (wire.head.status, wire.head["content-type"]) == (400, "application/problem+json"), raw
        if method != "HEAD":
            problem = json.loads(await wire.body())
            assert problem["code"] == "invalid_id"
            assert problem["error"].endswith(".")

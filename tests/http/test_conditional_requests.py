"""Conditional GET and HEAD of streams, over real sockets."""

import json
from email.utils import formatdate
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Head

pytestmark = ONE_STORE

DATA = b"0123456789"
OLD = "Thu, 01 Jan 1970 00:00:00 GMT"


async def finished(loom: Loom) -> Head:
    """Create a final stream; return the head of its GET."""
    await loom.stored("/stream/a", DATA)
    return (await loom.get("/stream/a")).head


async def test_a_final_stream_has_its_end_in_last_modified(loom: Loom):
    head = await finished(loom)
    ended = (await loom.service.info("a")).ended
    assert ended is not None
    assert head["last-modified"] == formatdate(int(ended), usegmt=True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_the_bytes_gets_304(loom: Loom, method):
    head = await finished(loom)
    asks: list[dict[str, Any]] = [
        {"if_none_match": f'"x", {head["etag"]}'},
        {"if_modified_since": head["last-modified"]},
    ]
    for asked in asks:
        wire = await loom.ask(method, "/stream/a", range="bytes=99-", **asked)
        assert wire.head.status == 304
        assert {name: wire.head[name] for name in ("etag", "cache-control", "last-modified")} == {
            name: head[name] for name in ("etag", "cache-control", "last-modified")
        }
        assert {"content-length", "content-type", "content-range"}.isdisjoint(wire.head.headers)
        await wire.request("GET", "/stream/a", if_none_match='"x"', if_modified_since=head["last-modified"])
        assert (await wire.answer()).status == 200
        assert await wire.body() == DATA


async def test_a_client_that_has_another_stream_gets_this_one(loom: Loom):
    old = await finished(loom)
    await loom.stored("/stream/a?force=true", b"new")
    for asked in ({"if_none_match": old["etag"]}, {"if_modified_since": OLD}, {"if_match": "*"}):
        reader = await loom.get("/stream/a", **asked)
        assert (reader.head.status, await reader.body()) == (200, b"new")
    refused = await loom.get("/stream/a", if_match=old["etag"])
    assert refused.head.status == 412
    assert json.loads(await refused.body())["code"] == "precondition_failed"
    assert (await loom.get("/stream/a", if_unmodified_since=OLD)).head.status == 412


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("tags", ["", ",", '"x"', 'W/"{key}"', "{key}"])
async def test_if_match_without_the_key_fails_the_same_way_for_every_method(loom: Loom, method, tags):
    await loom.live("/stream/a", DATA)
    key = (await loom.service.info("a")).key
    uploads = {"upload_offset": "10", "upload_complete": "?1", "content_length": "0"}
    more: dict[str, Any] = uploads if method == "PATCH" else {}
    wire = await loom.ask(method, "/stream/a", if_match=tags.format(key=key), **more)
    assert wire.head.status == 412
    if method != "HEAD":
        assert json.loads(await wire.body())["code"] == "precondition_failed"
    assert (await loom.service.info("a")).epoch == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("tags", ['"{key}"', '"x", "{key}"', "*"])
async def test_if_match_with_the_key_holds_for_every_method(loom: Loom, method, tags):
    await loom.stored("/stream/a?force=true", DATA)
    key = (await loom.service.info("a")).key
    uploads = {"upload_offset": "10", "upload_complete": "?1", "content_length": "0"}
    more: dict[str, Any] = uploads if method == "PATCH" else {}
    wire = await loom.ask(method, "/stream/a", if_match=tags.format(key=key), **more)
    assert wire.head.status in (200, 204)


async def test_a_range_is_sent_only_of_the_stream_the_client_began_with(loom: Loom):
    head = await finished(loom)
    for validator in (head["etag"], head["last-modified"]):
        reader = await loom.get("/stream/a", range="bytes=4-", if_range=validator)
        assert (reader.head.status, await reader.body()) == (206, DATA[4:])
    await loom.stored("/stream/a?force=true", b"other bytes")
    for validator in (head["etag"], OLD, "W/" + (await loom.get("/stream/a")).head["etag"], "*"):
        reader = await loom.get("/stream/a", range="bytes=4-", if_range=validator)
        assert (reader.head.status, await reader.body()) == (200, b"other bytes")


async def test_a_range_past_the_end_does_not_matter_if_if_range_fails(loom: Loom):
    await finished(loom)
    reader = await loom.get("/stream/a", range="bytes=99-", if_range='"x"')
    assert (reader.head.status, await reader.body()) == (200, DATA)


@pytest.mark.parametrize("query", ["notail", "offset=0", "offset=-3", "lines=1", "line=1", "offset=2&notail"])
async def test_a_part_chosen_by_query_has_no_validators(loom: Loom, query):
    head = await finished(loom)
    reader = await loom.get(f"/stream/a?{query}", if_none_match=head["etag"], if_modified_since=OLD)
    assert reader.head.status == 200
    assert reader.head["cache-control"] == "no-store, no-transform"
    assert {"etag", "last-modified"}.isdisjoint(reader.head.headers)


async def test_a_live_stream_has_no_validators(loom: Loom):
    await loom.live("/stream/a", DATA)
    key = (await loom.service.info("a")).key
    reader = await loom.get("/stream/a", if_none_match=f'"{key}"', if_modified_since=formatdate(usegmt=True))
    assert (reader.head.status, "last-modified" in reader.head) == (200, False)
    reader = await loom.get("/stream/a", range="bytes=4-", if_range=f'"{key}"')
    assert reader.head.status == 200
    assert await reader.take(10) == DATA


async def test_an_unknown_stream_is_404_under_every_condition(loom: Loom):
    assert (await loom.get("/stream/a", if_match="*", if_none_match="*")).head.status == 404


@pytest.mark.parametrize("query", ["", "?offset=2", "?lines=1", "?notail"])
async def test_a_reader_that_resumes_never_continues_in_another_stream(loom: Loom, query):
    producer = await loom.live("/stream/a", DATA)
    key = (await loom.get(f"/stream/a{query}")).head["x-stream-key"]
    assert (await loom.get(f"/stream/a{query}", if_match=f'"{key}"')).head.status == 200
    assert (await loom.get("/stream/a", if_match=f'"{key}"', range="bytes=3-5")).head.status == 206
    await producer.close()
    await loom.stored("/stream/a?force=true", b"other bytes")
    for more in ({}, {"range": "bytes=3-5"}):
        refused = await loom.get(f"/stream/a{query}", if_match=f'"{key}"', **more)
        assert refused.head.status == 412

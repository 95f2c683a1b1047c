"""A request that is refused does not interrupt the producer of a live stream."""

import json
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire

from loom.model import State

TOKENS = ["producer", {"token": "other", "scopes": ["write", "read"], "max_bytes_per_day": 20}]
PRODUCER, OTHER = "Bearer producer", "Bearer other"


async def begun(loom: Loom, **headers: Any) -> Wire:
    """Return the producer of the stream `a`, whose first four bytes are durable."""
    producer = await loom.live("/stream/a", authorization=PRODUCER, **headers)
    await producer.chunk(b"data")
    reader = await loom.get("/stream/a", authorization=PRODUCER)
    assert await reader.take(4) == b"data"
    return producer


async def patched(loom: Loom, body: bytes, **headers: Any) -> Wire:
    headers = {"authorization": OTHER, "upload_complete": "?1"} | headers
    return await loom.ask("PATCH", "/stream/a", body, **headers)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (409, b"x", {"upload_offset": 0}),
        (409, b"x", {"upload_offset": 3}),
        (409, b"x", {"upload_offset": 5}),
        (409, b"", {"upload_offset": 10**15 - 1}),
        (409, b"x", {"upload_offset": 4, "x_stream_epoch": 2}),
        (412, b"x", {"upload_offset": 4, "if_match": '"another"'}),
        (400, b"x", {}),
        (400, b"x", {"upload_offset": -4}),
        (400, b"x", {"upload_offset": 4, "upload_complete": "yes"}),
        (400, b"x", {"upload_offset": 4, "upload_length": 4}),
        (400, b"x" * 5, {"upload_offset": 4}),
        (400, b"x" * 7, {"upload_offset": 4, "upload_complete": "?0"}),
        (400, b"x", {"upload_offset": 4, "upload_complete": "?0", "stream_digest": "sha-256=:AAAA:"}),
        (413, b"x" * 25, {"upload_offset": 4}),
        (415, b"x", {"upload_offset": 4, "content_encoding": "gzip"}),
        (415, b"x", {"upload_offset": 4, "content_type": "text/plain"}),
    ],
)
async def test_a_refused_patch_does_not_interrupt_the_producer(
    serve: Serve, status: int, body: bytes, headers: dict[str, Any]
):
    loom = await serve(tokens=TOKENS, max_stream_bytes=28)
    announced = {"upload_length": 10} if status == 400 else {}
    producer = await begun(loom, **announced)
    before = await loom.service.info("a")
    refused = await patched(loom, body, **headers)
    assert refused.head.status == status
    problem = json.loads(await refused.body())
    assert problem["code"] != "offset_mismatch" or refused.head["upload-offset"] == "4"
    assert "took-over" not in problem
    assert await loom.service.info("a") == before
    await producer.chunk(b" after")
    await producer.chunk(b"")
    assert await producer.body() == b""
    info = await loom.service.info("a")
    assert (info.state, info.size, info.epoch) == (State.COMPLETE, 10, before.epoch)


@ONE_STORE
async def test_a_token_without_quota_does_not_interrupt_the_producer(serve: Serve):
    loom = await serve(tokens=TOKENS)
    used = {"authorization": PRODUCER, "upload_complete": "?0"}
    await loom.ask("POST", "/stream/used", b"", **used)
    used |= {"authorization": OTHER, "upload_offset": "0"}
    assert (await loom.ask("PATCH", "/stream/used", b"x" * 20, **used)).head.status == 204
    await begun(loom)
    before = await loom.service.info("a")
    refused = await patched(loom, b"x", upload_offset=4)
    assert (refused.head.status, await loom.service.info("a")) == (429, before)
    assert (await patched(loom, b"", upload_offset=4)).head.status == 204, "no byte more"


@ONE_STORE
@pytest.mark.parametrize(
    ("status", "code", "body", "headers"),
    [
        (429, "quota_exceeded", b"x" * 21, {}),
        (400, "inconsistent_length", b"x" * 5, {"upload_length": 8}),
        (422, "digest_mismatch", b"x", {"stream_digest": f"sha-256=:{'A' * 43}=:"}),
        (413, "size_limit", b"x" * 25, {}),
    ],
)
async def test_a_failure_after_the_takeover_says_that_the_producer_was_interrupted(
    serve: Serve, status: int, code: str, body: bytes, headers: dict[str, Any]
):
    loom = await serve(tokens=TOKENS, max_stream_bytes=28 if status == 413 else 0)
    old = await begun(loom)
    token = PRODUCER if status == 413 else OTHER
    new = await loom.connect()
    await new.request(
        *("PATCH", "/stream/a"),
        transfer_encoding="chunked",
        authorization=token,
        upload_offset=4,
        upload_complete="?1",
        **headers,
    )
    await new.chunk(body)
    await new.chunk(b"")
    assert (await new.answer()).status == status
    problem = json.loads(await new.body())
    assert (problem["code"], problem["took-over"]) == (code, True)
    assert "had taken the stream over" in problem["detail"]
    with pytest.raises(Cut):
        await old.body()
    assert (await loom.service.info("a")).epoch == 2

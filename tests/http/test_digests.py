"""Repr-Digest of complete streams, Stream-Digest of their producers, over real sockets."""

import asyncio
import hashlib
import json
import random
from base64 import b64encode
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Cut, Wire

from loom.jobs.digests import STEP
from loom.model import ChangeKind, State

SMALL = b"one\ntwo\n"
LARGE = random.Random(1).randbytes(STEP + 300_000)
DATA = pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])


def field(data: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


async def patch(loom: Loom, data: bytes, offset: int, complete: str = "?1", **headers: Any) -> Wire:
    fields = {
        "upload_offset": offset,
        "upload_complete": complete,
        "content_type": "application/partial-upload",
    }
    return await loom.ask("PATCH", "/stream/a", data, **fields, **headers)


async def shown_digest(loom: Loom, target: str = "/stream/a", **headers: Any) -> str | None:
    """Return the digest in the responses to GET and HEAD."""
    get, head = await loom.get(target, **headers), await loom.ask("HEAD", target, **headers)
    assert get.head.headers.get("repr-digest") == head.head.headers.get("repr-digest")
    return get.head.headers.get("repr-digest")


async def problem(wire: Wire) -> tuple[int, str]:
    return wire.head.status, json.loads(await wire.body())["code"]


@DATA
async def test_a_complete_stream_has_its_digest(loom: Loom, data):
    await loom.stored("/stream/a", data)
    assert await shown_digest(loom) == field(data)
    if data:
        wire = await loom.get("/stream/a", range="bytes=1-2")
        assert (wire.head.status, wire.head["repr-digest"]) == (206, field(data)), "it is of the whole"


@ONE_STORE
async def test_only_a_complete_stream_as_a_whole_has_a_digest(loom: Loom):
    live = await loom.live("/stream/live", SMALL)
    await loom.stored("/stream/done", SMALL)
    assert await shown_digest(loom, "/stream/live") is None
    assert await shown_digest(loom, "/stream/live?notail") is None
    for target in ("?offset=0", "?lines=9", "?line=1", "?notail", "?offset=0&notail"):
        assert await shown_digest(loom, f"/stream/done{target}") is None
    assert await shown_digest(loom, "/stream/done", accept="text/event-stream") is None
    live.reset()
    await loom.until("live", State.INTERRUPTED)
    assert await shown_digest(loom, "/stream/live") is None


@DATA
async def test_the_digest_covers_the_bytes_of_all_producers(loom: Loom, data):
    await loom.ask("POST", "/stream/a", data, upload_complete="?0")
    await patch(loom, data, len(data), "?0")
    assert (await patch(loom, b"end", 2 * len(data))).head.status == 204
    assert await shown_digest(loom) == field(data + data + b"end")


@DATA
async def test_a_producer_can_have_its_bytes_compared(loom: Loom, data):
    wire = await loom.ask("POST", "/stream/a", data, upload_complete="?1", stream_digest=field(data))
    assert wire.head.status == 201
    assert (await loom.service.info("a")).state is State.COMPLETE
    assert await shown_digest(loom) == field(data)


@DATA
async def test_a_stream_with_another_digest_is_never_complete(loom: Loom, data):
    states = []
    watching = loom.store.watch(lambda change: states.append((change.kind, change.info.state)))
    await loom.ask("POST", "/stream/a", data, upload_complete="?0")
    follower = await loom.get("/stream/a")
    wire = await patch(loom, b"wrong", len(data), stream_digest=field(data + b"right"))
    assert await problem(wire) == (422, "digest_mismatch")
    with pytest.raises(Cut):
        await follower.body()
    info = await loom.service.info("a")
    assert (info.state, info.size, info.digest) == (State.ABORTED, len(data) + 5, None)
    assert "digest" in info.reason
    assert states == [(ChangeKind.CREATED, State.LIVE), (ChangeKind.CLOSED, State.ABORTED)]
    assert await shown_digest(loom) is None
    watching.close()


async def test_a_response_that_has_begun_is_cut_if_the_digest_differs(loom: Loom):
    producer = await loom.live("/stream/a", SMALL, stream_digest=field(b"else"))
    await producer.chunk(b"")
    with pytest.raises(Cut):
        await producer.body()
    assert (await loom.service.info("a")).state is State.ABORTED


async def test_a_repeated_end_is_compared_too(loom: Loom):
    await loom.stored("/stream/a", SMALL)
    assert (await patch(loom, b"", 8, stream_digest=field(SMALL))).head.status == 204
    assert await problem(await patch(loom, b"", 8, stream_digest=field(b"else"))) == (409, "final")
    assert await shown_digest(loom) == field(SMALL)


@ONE_STORE
@pytest.mark.parametrize(
    "value",
    ["", "sha-256", "sha-256=abc", "sha-256=:abc:", f"{field(b'')[:-1]}", "sha-512=:AAAA:", "sha-256=:é:"],
)
async def test_an_invalid_digest_is_refused_before_anything_is_created(loom: Loom, value):
    wire = await loom.ask("POST", "/stream/a", SMALL, stream_digest=value)
    assert await problem(wire) == (400, "bad_request")
    assert (await loom.get("/stream/a")).head.status == 404


@ONE_STORE
async def test_a_digest_is_accepted_only_with_the_end(loom: Loom):
    wire = await loom.ask("POST", "/stream/a", SMALL, upload_complete="?0", stream_digest=field(SMALL))
    assert await problem(wire) == (400, "bad_request")


@ONE_STORE
async def test_of_several_digests_the_sha_256_counts(loom: Loom):
    value = f"sha-512=:AAAA:, {field(SMALL)}, crc32c=:AAAA:"
    wire = await loom.ask("POST", "/stream/a", SMALL, upload_complete="?1", stream_digest=value)
    assert wire.head.status == 201


@DATA
async def test_the_last_line_of_progress_has_the_digest(loom: Loom, data):
    wire = await loom.ask("POST", "/stream/a", data, accept="application/x-ndjson")
    last = json.loads((await wire.body()).splitlines()[-1])
    assert last == {"offset": len(data), "state": "complete", "digest": field(data)}


async def test_the_digest_of_a_taken_over_stream_is_of_its_stored_bytes(loom: Loom):
    first = await loom.live("/stream/a", LARGE)
    wire = await patch(loom, LARGE, len(LARGE), stream_digest=field(LARGE + LARGE))
    assert wire.head.status == 204
    with pytest.raises(Cut):
        await first.body()
    assert await shown_digest(loom) == field(LARGE + LARGE)


async def test_simultaneous_readers_all_get_the_digest(loom: Loom):
    await loom.stored("/stream/a", LARGE)
    assert set(await asyncio.gather(*(shown_digest(loom) for _ in range(10)))) == {field(LARGE)}

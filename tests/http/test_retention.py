"""Retention: requested, reported and applied."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve

from loom.model import Change, ChangeKind, State
from loom.wire.times import parse_rfc3339


def gone(loom: Loom, id: str) -> asyncio.Future[Change]:
    """Return once the stream is deleted."""
    future: asyncio.Future[Change] = asyncio.get_running_loop().create_future()

    def changed(change: Change) -> None:
        if (change.kind, change.info.id) == (ChangeKind.DELETED, id) and not future.done():
            future.set_result(change)

    loom.store.watch(changed)
    return future


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_stream_is_deleted_a_time_after_its_end(loom: Loom):
    deleted = gone(loom, "a")
    await loom.stored("/stream/kept", b"bytes")
    producer = await loom.live("/stream/a", b"some", stream_ttl=1)
    assert producer.head["stream-ttl"] == "1"
    reader = await loom.get("/stream/a")
    await producer.chunk(b"")
    assert await reader.body() == b"some"
    info = (await deleted).info
    assert info.ended is not None
    assert time.time() >= info.ended + 1
    assert (await loom.get("/stream/a")).head.status == 404
    assert (await loom.get("/stream/kept")).head.status == 200


async def test_a_live_stream_outlives_its_expiry_and_is_deleted_at_its_end(loom: Loom):
    deleted = gone(loom, "a")
    expired = gone(loom, "b")
    first, second = at(2), at(2.1)
    await loom.stored("/stream/b", b"", stream_expires_at=second)
    producer = await loom.live("/stream/a", b"some", stream_expires_at=first)
    await expired  # which it does later, so the sweeper has seen the other one expired
    await producer.chunk(b" and more")
    follower = await loom.get("/stream/a")
    assert await follower.take(13) == b"some and more"
    await producer.chunk(b"")
    assert await follower.body() == b""
    assert (await deleted).info.state is State.COMPLETE


async def test_a_stream_that_is_not_resumed_is_aborted_first(serve: Serve):
    loom = await serve(resume_window=2.3)
    deleted = gone(loom, "a")
    producer = await loom.live("/stream/a", b"some", stream_expires_at=at(2))
    producer.reset()
    await loom.until("a", State.ABORTED)
    assert (await deleted).info.state is State.ABORTED


async def test_reads_report_when_a_stream_expires(loom: Loom):
    when = at(3600)
    posted = await loom.stored("/stream/a", b"bytes", stream_expires_at=when)
    expected = parse_rfc3339(when)
    for head in (
        posted.head,
        (await loom.get("/stream/a")).head,
        (await loom.ask("HEAD", "/stream/a")).head,
        (await loom.get("/stream/a", accept="text/event-stream")).head,
    ):
        assert parse_rfc3339(head["stream-expires-at"]) == pytest.approx(expected, abs=1e-5)
        assert "stream-ttl" not in head
    await loom.stored("/stream/b", b"bytes", stream_ttl=60)
    await loom.stored("/stream/c", b"bytes")
    rows = {row["id"]: row for row in json.loads(await (await loom.get("/streams")).body())["streams"]}
    assert parse_rfc3339(rows["a"]["expires"]) == pytest.approx(expected, abs=1e-5)
    assert parse_rfc3339(rows["b"]["expires"]) - parse_rfc3339(rows["b"]["ended"]) == pytest.approx(
        60, abs=1e-5
    )
    assert rows["c"]["expires"] is None
    plain = await loom.get("/stream/c")
    assert "stream-expires-at" not in plain.head
    assert "stream-ttl" not in plain.head


async def test_a_producer_that_resumes_gets_the_expiry(loom: Loom):
    headers: dict[str, Any] = {"upload_complete": "?0", "stream_ttl": 60}
    created = await loom.ask("POST", "/stream/a", b"", **headers)
    patch: dict[str, Any] = {"content_type": "application/partial-upload", "upload_offset": 0}
    patched = await loom.ask("PATCH", "/stream/a", b"bytes", upload_complete="?1", **patch)
    assert (created.head["stream-ttl"], patched.head.status) == ("60", 204)
    assert "stream-expires-at" in (await loom.ask("HEAD", "/stream/a")).head


async def test_the_server_has_a_default_that_a_creation_may_change(serve: Serve):
    loom = await serve(retention=86400)
    await loom.stored("/stream/default", b"")
    await loom.stored("/stream/longer", b"", stream_ttl=2 * 86400)
    await loom.stored("/stream/ever", b"", stream_ttl=0)
    await loom.stored("/stream/at", b"", stream_expires_at=at(10))
    kept = {}
    for id in ("default", "longer", "ever", "at"):
        info = await loom.service.info(id)
        assert info.ended is not None
        kept[id] = None if info.expires is None else round(info.expires - info.ended, -1)
    assert kept == {"default": 86400, "longer": 2 * 86400, "ever": None, "at": 10}


@ONE_STORE
@pytest.mark.parametrize(
    "headers",
    [
        {"stream_ttl": "-1"},
        {"stream_ttl": "1.5"},
        {"stream_ttl": "1h"},
        {"stream_ttl": "99999999999"},
        {"stream_ttl": "60", "stream_expires_at": "2999-01-01T00:00:00Z"},
        {"stream_expires_at": "tomorrow"},
        {"stream_expires_at": "2999-01-01T00:00:00"},
        {"stream_expires_at": "9999-12-31T23:59:59-12:00"},
        {"stream_expires_at": "2001-01-01T00:00:00Z"},
        {"stream_expires_at": ""},
    ],
)
async def test_invalid_requests_are_refused(loom: Loom, headers):
    wire = await loom.ask("POST", "/stream/a", b"bytes", **headers)
    assert (wire.head.status, json.loads(await wire.body())["code"]) == (400, "bad_request")
    assert (await loom.get("/stream/a")).head.status == 404

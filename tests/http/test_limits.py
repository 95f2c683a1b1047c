"""Limits on bytes, on live streams and on followers."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire

from loom.model import Query, State
from loom.store.holdings import cost

PATCH: dict[str, Any] = {"content_type": "application/partial-upload", "upload_complete": "?1"}
OPEN: dict[str, Any] = {"upload_complete": "?0"}
ROW = cost("{}")
"""What a stream without metadata counts for besides its bytes."""


async def refused(wire: Wire, status: int, code: str) -> Wire:
    """Check that the response is this problem."""
    assert (wire.head.status, wire.head["content-type"]) == (status, "application/problem+json")
    assert json.loads(await wire.body())["code"] == code
    return wire


async def kept(loom: Loom, id: str) -> tuple[str, str, bytes]:
    """Return state, reason and bytes of a stream."""
    info = await loom.service.info(id)
    wire = await loom.get(f"/stream/{id}?notail")
    return info.state, info.reason, await wire.body()


@pytest.mark.parametrize("pieces", [[b"0123456789", b"x"], [b"01234", b"56789xyz"], [b"0123456789xyz"]])
async def test_a_stream_is_stored_up_to_its_limit(serve: Serve, pieces):
    loom = await serve(max_stream_bytes=10)
    follower = asyncio.create_task(loom.follow("/stream/a"))
    producer = await loom.connect()
    await producer.post("/stream/a")
    with suppress(ConnectionError):
        for piece in pieces:
            await producer.chunk(piece)
    assert (await producer.answer()).status == 201
    with pytest.raises(Cut):
        await producer.body()
    with pytest.raises(Cut) as cut:
        await (await follower).body()
    assert cut.value.args == (b"0123456789",)
    assert await kept(loom, "a") == ("aborted", "size limit", b"0123456789")


async def test_a_stream_with_exactly_the_limit_is_complete(serve: Serve):
    loom = await serve(max_stream_bytes=10)
    await loom.stored("/stream/a", b"0123456789")
    assert await kept(loom, "a") == ("complete", "", b"0123456789")


async def test_a_producer_answered_at_the_end_gets_the_reason(serve: Serve):
    loom = await serve(max_stream_bytes=10)
    line = loom.logged(status=413)
    await refused(await loom.ask("POST", "/stream/a", b"0123456789x", via="1.1 proxy"), 413, "size_limit")
    assert await kept(loom, "a") == ("aborted", "size limit", b"0123456789")
    assert (await line)["state"] == "aborted"


async def test_a_producer_that_resumes_meets_the_same_limit(serve: Serve):
    loom = await serve(max_stream_bytes=10)
    created = await loom.ask("POST", "/stream/a", b"01234", **OPEN)
    assert created.head["upload-limit"].startswith("max-size=10, max-age=")
    assert (await loom.ask("HEAD", "/stream/a")).head["upload-limit"].startswith("max-size=10, max-age=")
    wire = await loom.ask("PATCH", "/stream/a", b"56789x", upload_offset=5, **PATCH)
    await refused(wire, 413, "size_limit")
    assert await kept(loom, "a") == ("aborted", "size limit", b"0123456789")
    assert "upload-limit" not in (await loom.ask("HEAD", "/stream/a")).head


@ONE_STORE
async def test_the_limit_is_announced_before_any_byte_is_sent(serve: Serve):
    loom = await serve(max_stream_bytes=10)
    assert (await loom.ask("OPTIONS", "/stream/a")).head["upload-limit"] == "max-size=10"
    assert "upload-limit" not in (await (await serve()).ask("OPTIONS", "/stream/a")).head


async def test_a_length_beyond_the_limit_is_refused_before_a_byte(serve: Serve):
    loom = await serve(max_stream_bytes=10)
    headers: dict[str, Any] = {"upload_length": 11}
    await refused(await loom.ask("POST", "/stream/a", b"", **OPEN, **headers), 413, "size_limit")
    assert (await loom.get("/stream/a")).head.status == 404
    await loom.ask("POST", "/stream/b", b"01234", **OPEN)
    wire = await loom.ask("PATCH", "/stream/b", b"", upload_offset=5, **PATCH | OPEN, **headers)
    await refused(wire, 413, "size_limit")
    assert (await loom.service.info("b")).state is State.OPEN


async def test_all_streams_together_reach_the_limit_and_keep_their_bytes(serve: Serve):
    loom = await serve(max_store_bytes=20 + 3 * ROW)
    await loom.stored("/stream/first", b"0123456789")
    one = await loom.live("/stream/one", b"01234")
    two = await loom.live("/stream/two", b"012")
    with suppress(ConnectionError):
        await one.chunk(b"56789")
    with pytest.raises(Cut):
        await one.body()
    with suppress(ConnectionError):
        await two.chunk(b"3")
    with pytest.raises(Cut):
        await two.body()
    assert await kept(loom, "one") == ("aborted", "size limit", b"0123456")
    assert await kept(loom, "two") == ("aborted", "size limit", b"012")
    assert loom.store.size == 20
    await refused(await loom.ask("POST", "/stream/b", b"x"), 507, "storage_full")
    assert await kept(loom, "first") == ("complete", "", b"0123456789")
    await loom.ask("DELETE", "/stream/one")
    await loom.stored("/stream/b", b"0123456")
    assert loom.store.holdings.overhead == 3 * ROW
    assert loom.store.size == 20


async def test_a_producer_refused_by_a_full_store_can_resume_later(serve: Serve):
    loom = await serve(max_store_bytes=10 + 2 * ROW)
    await loom.ask("POST", "/stream/a", b"01234", **OPEN)
    await loom.stored("/stream/b", b"01234")
    wire = await loom.ask("PATCH", "/stream/a", b"56789", upload_offset=5, **PATCH)
    await refused(wire, 507, "storage_full")
    assert (await loom.service.info("a")).state is State.INTERRUPTED
    await loom.ask("DELETE", "/stream/b")
    wire = await loom.ask("PATCH", "/stream/a", b"56789", upload_offset=5, **PATCH)
    assert wire.head.status == 204
    assert await kept(loom, "a") == ("complete", "", b"0123456789")


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"max_store_bytes": 5 + ROW}, (507, "storage_full")), ({"max_streams_live": 1}, (503, "too_many"))],
)
async def test_a_taken_id_is_a_conflict_with_or_without_room_for_another(serve: Serve, limits, code):
    loom = await serve(**limits)
    await loom.stored("/stream/a", b"01234")
    if "max_streams_live" in limits:
        await loom.live("/stream/b", b"")
    await refused(await loom.ask("POST", "/stream/a", b"x"), 409, "exists")
    await refused(await loom.ask("POST", "/stream/c", b"x"), *code)
    await refused(await loom.ask("POST", "/stream/a?force=true", b"x"), *code)
    assert await kept(loom, "a") == ("complete", "", b"01234")


async def test_many_producers_at_once_do_not_pass_the_limit_together(serve: Serve):
    most = 1 << 20
    loom = await serve(max_store_bytes=most)
    asked = [loom.ask("POST", f"/stream/{n}", b"x" * 100_000, via="1.1 proxy") for n in range(20)]
    # One ends before the others start: if the bytes of all mix evenly, each is refused before its end.
    wires = [await asked[0], *await asyncio.gather(*asked[1:])]
    statuses = [wire.head.status for wire in wires]
    assert set(statuses) == {201, 507}
    assert statuses.count(201) <= 10
    infos = [info async for info in loom.store.find(Query())]
    assert loom.store.size + len(infos) * ROW == most
    assert sum(info.size for info in infos) == loom.store.size


async def test_no_more_streams_than_the_limit_are_live(serve: Serve):
    loom = await serve(max_streams_live=2)
    one = await loom.live("/stream/1", b"x")
    await loom.live("/stream/2", b"x")
    wire = await refused(await loom.ask("POST", "/stream/3", b"x"), 503, "too_many")
    assert int(wire.head["retry-after"]) >= 1
    assert (await loom.get("/stream/3")).head.status == 404
    # A takeover adds no live stream.
    taken = await loom.ask("PATCH", "/stream/2", b"y", upload_offset=1, **PATCH)
    assert taken.head.status == 204
    # One that is open counts as live, and another producer of it adds none.
    await loom.ask("POST", "/stream/open", b"x", **OPEN)
    await refused(await loom.ask("POST", "/stream/4", b"x"), 503, "too_many")
    wire = await loom.ask("PATCH", "/stream/open", b"y", upload_offset=1, **PATCH | OPEN)
    assert wire.head.status == 204
    await one.chunk(b"")
    assert await one.body() == b""
    await loom.stored("/stream/3", b"x")


async def test_creations_at_once_do_not_pass_the_limit_together(serve: Serve):
    loom = await serve(max_streams_live=3)
    wires = [await loom.connect() for _ in range(8)]
    await asyncio.gather(*(wire.post(f"/stream/{number}") for number, wire in enumerate(wires)))
    statuses = [head.status for head in await asyncio.gather(*(wire.answer() for wire in wires))]
    assert sorted(statuses) == [201] * 3 + [503] * 5


async def test_all_kinds_of_followers_together_stay_within_the_limit(serve: Serve):
    loom = await serve(max_followers=4)
    await loom.live("/stream/a", b"some")
    await loom.stored("/stream/done", b"bytes")
    targets = ["/stream/a", "/stream/a", "/spy", "/events"]
    accepts = ["*/*", "text/event-stream", "*/*", "*/*"]
    wires = [await loom.get(target, accept=accept) for target, accept in zip(targets, accepts, strict=True)]
    assert [wire.head.status for wire in wires] == [200] * 4
    for target in targets:
        wire = await refused(await loom.get(target), 503, "too_many")
        assert int(wire.head["retry-after"]) >= 1
    for target in ("/stream/a?notail", "/stream/done", "/streams"):
        assert (await loom.get(target)).head.status == 200
    for wire in wires:
        left = loom.logged(cut="the client left")
        await wire.close()
        await left
    assert [(await loom.get(target)).head.status for target in targets] == [200] * 4


@ONE_STORE
async def test_without_limits_there_are_none(loom: Loom):
    await loom.stored("/stream/a", b"x" * 1_000_000)
    assert "upload-limit" not in (await loom.ask("POST", "/stream/b", b"", upload_length=10**15 - 1)).head

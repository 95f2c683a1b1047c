"""Resumable producers: POST that leaves a stream open, HEAD that returns the offset, PATCH that appends."""

import asyncio
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Head, Wire

from loom.model import State

PARTIAL = "application/partial-upload"
OFFSET_PROBLEM = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
COMPLETED_PROBLEM = "https://iana.org/assignments/http-problem-types#completed-upload"
LENGTH_PROBLEM = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"


async def patch(loom: Loom, data: bytes, offset: object, complete: str, **headers: Any) -> Wire:
    """Send a PATCH of known length; read the head of its response."""
    fields = {
        "upload_offset": offset,
        "upload_complete": complete,
        "content_type": "application/partial-upload",
    }
    return await loom.ask("PATCH", "/stream/a", data, **{**fields, **headers})


async def patching(loom: Loom, offset: int, complete: str = "?1", **headers: Any) -> Wire:
    """Begin a PATCH; its body is not complete."""
    wire = await loom.connect()
    fields = {
        "upload_offset": offset,
        "upload_complete": complete,
        "content_type": "application/partial-upload",
    }
    await wire.request("PATCH", "/stream/a", transfer_encoding="chunked", **{**fields, **headers})
    return wire


async def opened(loom: Loom, data: bytes = b"", **headers: Any) -> Wire:
    wire = await loom.ask("POST", "/stream/a", data, upload_complete="?0", **headers)
    assert wire.head.status == 201
    return wire


async def head(loom: Loom) -> Head:
    return (await loom.ask("HEAD", "/stream/a")).head


async def refusal(wire: Wire) -> dict[str, Any]:
    assert wire.head["content-type"] == "application/problem+json"
    problem = json.loads(await wire.body())
    assert problem["status"] == wire.head.status
    return dict(problem)


async def content(loom: Loom) -> bytes:
    return await (await loom.get("/stream/a?notail")).body()


def upload(head: Head) -> dict[str, str]:
    return {name: value for name, value in head.headers.items() if name.startswith("upload-")}


async def test_a_stream_left_open_is_completed_by_patches(loom: Loom):
    wire = await opened(loom, b"one ")
    assert upload(wire.head) == {
        "upload-offset": "4",
        "upload-complete": "?0",
        "upload-limit": "max-age=86400",
        "upload-expires": wire.head["upload-expires"],
    }
    expires = parsedate_to_datetime(wire.head["upload-expires"]).timestamp()
    assert abs(expires - time.time() - 86400) < 60
    assert wire.head["location"] == "/stream/a"
    follower = await loom.get("/stream/a")
    assert (await loom.service.info("a")).state is State.OPEN
    wire = await patch(loom, b"two ", 4, "?0")
    assert wire.head.status == 204
    assert upload(wire.head)["upload-offset"] == "8"
    assert upload(await head(loom)).items() >= {"upload-offset": "8", "upload-complete": "?0"}.items()
    wire = await patch(loom, b"three", 8, "?1")
    assert wire.head.status == 204
    ended = {"upload-offset": "13", "upload-complete": "?1"}
    assert upload(wire.head).items() >= ended.items()
    found = await head(loom)
    assert upload(found) == {**ended, "upload-length": "13"}
    assert found["cache-control"].startswith("no-store")
    assert await follower.body() == await content(loom) == b"one two three"


async def test_an_upload_in_one_request_is_answered_at_its_end(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", upload_complete="?1")
    await wire.chunk(b"data")
    follower = await loom.follow("/stream/a")
    assert await follower.take(4) == b"data"
    assert wire.unread() == b""
    await wire.chunk(b"")
    assert (await wire.answer()).status == 201
    assert upload(wire.head) == {"upload-offset": "4", "upload-complete": "?1", "upload-length": "4"}


async def test_a_lost_producer_resumes_where_its_bytes_end(loom: Loom):
    wire = await loom.live("/stream/a", b"first ")
    wire.reset()
    await loom.until("a", State.INTERRUPTED)
    found = await head(loom)
    assert upload(found).items() >= {"upload-offset": "6", "upload-complete": "?0"}.items()
    wire = await patching(loom, 6)
    await wire.chunk(b"second")
    follower = await loom.get("/stream/a")
    assert await follower.take(12) == b"first second"
    assert (await loom.service.info("a")).state is State.LIVE
    wire.reset()
    info = await loom.until("a", State.INTERRUPTED)
    assert (info.size, info.epoch) == (12, 2)
    assert (await patch(loom, b"", 12, "?1")).head.status == 204
    assert await follower.body() == b""


@pytest.mark.parametrize("offset", [0, 3, 5, 10**15 - 1])
async def test_a_wrong_offset_is_refused_with_the_right_one(loom: Loom, offset: int):
    await opened(loom, b"1234")
    wire = await patch(loom, b"x" * 5, offset, "?0")
    assert (wire.head.status, wire.head["upload-offset"]) == (409, "4")
    problem = await refusal(wire)
    assert (problem["type"], problem["code"]) == (OFFSET_PROBLEM, "offset_mismatch")
    assert (problem["expected-offset"], problem["provided-offset"]) == (4, offset)
    assert (await loom.service.info("a")).size == 4
    assert (await patch(loom, b"5", 4, "?1")).head.status == 204
    assert await content(loom) == b"12345"


async def test_a_patch_takes_a_live_stream_over(loom: Loom):
    old = await loom.live("/stream/a", b"old ")
    new = await patching(loom, 4)
    await new.chunk(b"new")
    with pytest.raises(Cut):
        await old.body()
    follower = await loom.get("/stream/a")
    assert await follower.take(7) == b"old new"
    newest = await patch(loom, b"!", 7, "?1")
    assert newest.head.status == 204
    assert (await new.answer()).status == 409
    assert (await refusal(new))["code"] == "fenced"
    assert await follower.body() == b"!"


async def test_a_takeover_at_a_wrong_offset_is_refused_with_the_right_one(loom: Loom):
    await loom.live("/stream/a", b"data")
    wire = await patch(loom, b"x", 3, "?1")
    assert (wire.head.status, wire.head["upload-offset"]) == (409, "4")
    assert (await patch(loom, b"", 4, "?1")).head.status == 204


async def test_a_late_request_fences_no_producer(loom: Loom):
    first = await loom.live("/stream/a", b"one")
    epoch = int((await head(loom))["x-stream-epoch"])
    second = await patching(loom, 3, x_stream_epoch=epoch)
    await second.chunk(b" two")
    follower = await loom.follow("/stream/a")
    assert await follower.take(7) == b"one two"
    for offset in (3, 7):
        late = await patching(loom, offset, x_stream_epoch=epoch)
        assert (await late.answer()).status == 409
        assert json.loads(await late.body())["code"] == "epoch_mismatch"
    await second.chunk(b" three")
    assert await follower.take(6) == b" three"
    first.reset()


@pytest.mark.parametrize("epoch", ["", "-1", "one", "1.5"])
async def test_an_invalid_epoch_is_refused(loom: Loom, epoch: str):
    await loom.live("/stream/a", b"one")
    wire = await patching(loom, 3, x_stream_epoch=epoch)
    assert (await wire.answer()).status == 400


async def test_head_fences_no_producer(loom: Loom):
    wire = await loom.live("/stream/a", b"one")
    assert (await head(loom))["upload-offset"] == "3"
    await wire.chunk(b"two")
    await wire.chunk(b"")
    assert await wire.body() == b""
    assert await content(loom) == b"onetwo"


async def test_a_lost_response_is_sent_again_to_an_empty_last_patch(loom: Loom):
    await loom.stored("/stream/a", b"data")
    for _ in range(2):
        wire = await patch(loom, b"", 4, "?1")
        assert wire.head.status == 204
        assert upload(wire.head) == {"upload-offset": "4", "upload-complete": "?1", "upload-length": "4"}
    wire = await patching(loom, 4)
    await wire.chunk(b"")
    assert (await wire.answer()).status == 204
    wire = await patching(loom, 4)
    await wire.chunk(b"more")
    assert (await wire.answer()).status == 409


@pytest.mark.parametrize(
    ("data", "offset", "complete"), [(b"x", 4, "?1"), (b"", 4, "?0"), (b"", 3, "?1"), (b"data", 0, "?1")]
)
async def test_a_complete_stream_accepts_nothing_more(loom: Loom, data, offset, complete):
    await loom.stored("/stream/a", b"data")
    wire = await patch(loom, data, offset, complete)
    assert (wire.head.status, wire.head["upload-offset"], wire.head["upload-complete"]) == (409, "4", "?1")
    assert (await refusal(wire))["type"] == COMPLETED_PROBLEM
    assert await content(loom) == b"data"


@ONE_STORE
async def test_a_repeated_end_of_another_stream_is_refused(loom: Loom):
    await loom.stored("/stream/a", b"data")
    assert (await patch(loom, b"", 4, "?1", if_match='"other"')).head.status == 412
    assert (await patch(loom, b"", 4, "?1")).head.status == 204


@ONE_STORE
@pytest.mark.parametrize(
    ("headers", "status"),
    [({"upload_length": 6}, 400), ({"upload_length": 101}, 413), ({"content_encoding": "gzip"}, 415)],
)
async def test_what_can_be_refused_before_a_takeover_hurts_no_producer(serve: Serve, headers, status):
    loom = await serve(max_stream_bytes=100)
    announced = {"upload_length": 5} if status == 400 else {}
    producer = await loom.live("/stream/a", b"four", **announced)
    other = await patching(loom, 4, **headers)
    assert (await other.answer()).status == status
    assert (await loom.service.info("a")).state is State.LIVE
    await producer.chunk(b"!")
    await producer.chunk(b"")
    assert await producer.body() == b""
    assert await content(loom) == b"four!"


async def test_an_aborted_stream_accepts_nothing_more(serve: Serve):
    loom = await serve(open_window=0)
    await opened(loom, b"data")
    await loom.until("a", State.ABORTED)
    wire = await patch(loom, b"", 4, "?1")
    assert (wire.head.status, wire.head["upload-complete"]) == (409, "?0")
    assert (await refusal(wire))["code"] == "final"


@ONE_STORE
@pytest.mark.parametrize(
    "headers",
    [
        {"upload_complete": "?1"},
        {"upload_offset": 4},
        {"upload_offset": "-1", "upload_complete": "?1"},
        {"upload_offset": "4.0", "upload_complete": "?1"},
        {"upload_offset": "4", "upload_complete": "1"},
        {"upload_offset": "4", "upload_complete": "?1", "upload_length": "x"},
    ],
)
async def test_a_patch_without_offset_or_end_is_refused(loom: Loom, headers):
    await opened(loom, b"data")
    wire = await loom.ask("PATCH", "/stream/a", b"x", **headers)
    assert wire.head.status == 400
    assert (await refusal(wire))["code"] == "bad_request"
    assert (await loom.service.info("a")).state is State.OPEN


@ONE_STORE
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_a_patch_of_an_unknown_type_gets_the_known_types(loom: Loom, kind):
    await opened(loom, b"data")
    wire = await patch(loom, b"x", 4, "?1", content_type=kind)
    assert wire.head.status == 415
    assert "application/partial-upload" in wire.head["accept-patch"].split(", ")
    assert (await refusal(wire))["code"] == "unsupported_patch"


@ONE_STORE
async def test_a_patch_without_a_type_appends_as_in_version_5_of_the_draft(loom: Loom):
    await opened(loom, b"data")
    wire = await loom.ask("PATCH", "/stream/a", b"!", upload_offset=4, upload_complete="?1")
    assert wire.head.status == 204
    assert await content(loom) == b"data!"


async def test_a_patch_of_an_unknown_stream_is_404(loom: Loom):
    assert (await patch(loom, b"x", 0, "?1")).head.status == 404


async def test_if_match_accepts_only_the_named_stream(loom: Loom):
    etag = (await opened(loom, b"data")).head["etag"]
    assert "etag" not in await head(loom)
    wire = await patch(loom, b"x", 4, "?0", if_match='"other"')
    assert (wire.head.status, (await refusal(wire))["code"]) == (412, "precondition_failed")
    assert (await patch(loom, b"x", 4, "?0", if_match=f'"other", {etag}')).head.status == 204
    assert (await patch(loom, b"x", 5, "?0", if_match="*")).head.status == 204
    replaced = await loom.ask("POST", "/stream/a?force=true", b"new!", upload_complete="?1")
    assert replaced.head.status == 201
    assert (await patch(loom, b"", 4, "?1", if_match=etag)).head.status == 412
    assert (await patch(loom, b"", 4, "?1", if_match=replaced.head["etag"])).head.status == 204


async def test_a_stream_of_another_length_than_announced_is_not_complete(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", upload_complete="?1", upload_length=5)
    await wire.chunk(b"four")
    await wire.chunk(b"")
    assert (await wire.answer()).status == 400
    assert (await refusal(wire))["type"] == LENGTH_PROBLEM
    assert (await loom.until("a", State.INTERRUPTED)).size == 4
    assert (await head(loom))["upload-length"] == "5"
    wire = await patching(loom, 4)
    await wire.chunk(b"56")
    assert (await wire.answer()).status == 400
    assert (await loom.until("a", State.INTERRUPTED)).size == 4
    assert (await patch(loom, b"", 4, "?1", upload_length=4)).head.status == 400
    assert (await patch(loom, b"5", 4, "?1", upload_length=5)).head.status == 204


@ONE_STORE
@pytest.mark.parametrize("headers", [{}, {"upload_complete": "?1"}])
async def test_lengths_that_contradict_each_other_create_nothing(loom: Loom, headers):
    wire = await loom.ask("POST", "/stream/a", b"data", upload_length=5, **headers)
    assert (wire.head.status, (await refusal(wire))["code"]) == (400, "inconsistent_length")
    assert (await head(loom)).status == 404


async def test_a_stream_that_reaches_its_announced_length_is_complete(loom: Loom):
    await opened(loom, b"da", upload_length=4)
    assert (await patch(loom, b"t", 2, "?0")).head["upload-complete"] == "?0"
    assert (await patch(loom, b"a", 3, "?0")).head["upload-complete"] == "?1"
    assert (await patch(loom, b"", 4, "?1")).head.status == 204
    assert await content(loom) == b"data"


async def test_an_empty_upload_is_complete_when_it_is_created(loom: Loom):
    wire = await opened(loom, b"", upload_length=0)
    assert upload(wire.head) == {"upload-offset": "0", "upload-complete": "?1", "upload-length": "0"}
    assert (await loom.service.info("a")).state is State.COMPLETE


async def test_the_resume_window_is_the_producers_choice(serve: Serve):
    loom = await serve(resume_window=1000)
    await loom.live("/stream/default", b"x")
    await loom.live("/stream/day", b"x", stream_resume_window=86400)
    wire = await loom.live("/stream/0", b"x", stream_resume_window=0)
    for id, window in [("default", 1000), ("day", 86400), ("0", 0)]:
        assert (await loom.service.info(id)).resume_window == window
    wire.reset()
    await loom.until("0", State.ABORTED)


@ONE_STORE
@pytest.mark.parametrize("window", ["-1", "x", "1e3", 10**9])
async def test_a_resume_window_out_of_bounds_creates_nothing(loom: Loom, window):
    wire = await loom.ask("POST", "/stream/a", b"", stream_resume_window=window)
    assert wire.head.status == 400
    assert (await head(loom)).status == 404


async def test_a_repeated_creation_is_answered_like_the_first(loom: Loom):
    first = await opened(loom, b"data", idempotency_key="k1")
    for body in (b"", b"data"):
        again = await opened(loom, body, idempotency_key="k1")
        assert again.head["location"] == "/stream/a"
        assert again.head["etag"] == first.head["etag"]
        assert upload(again.head).items() >= {"upload-offset": "4", "upload-complete": "?0"}.items()
    other = await loom.ask("POST", "/stream/a", b"", upload_complete="?0", idempotency_key="k2")
    assert other.head.status == 409
    assert (await loom.ask("POST", "/stream/a", b"", upload_complete="?0")).head.status == 409
    again = await loom.ask("POST", "/stream/a?force=true", b"", upload_complete="?0", idempotency_key="k1")
    assert (again.head.status, again.head["etag"]) == (201, first.head["etag"])
    assert (await patch(loom, b"!", 4, "?1")).head.status == 204
    assert upload((await opened(loom, b"", idempotency_key="k1")).head)["upload-complete"] == "?1"
    assert await content(loom) == b"data!"


async def test_a_creation_repeated_while_the_first_is_live_doubles_nothing(loom: Loom):
    live = await loom.live("/stream/a", b"data", idempotency_key="k1")
    again = await opened(loom, b"data", idempotency_key="k1")
    assert upload(again.head).items() >= {"upload-offset": "4", "upload-complete": "?0"}.items()
    classic = await loom.ask("POST", "/stream/a", b"data", idempotency_key="k1")
    assert (classic.head.status, classic.head["upload-offset"]) == (409, "4")
    await live.chunk(b"!")
    await live.chunk(b"")
    assert await live.body() == b""
    assert (await loom.ask("POST", "/stream/a", b"data!", idempotency_key="k1")).head.status == 201
    assert await content(loom) == b"data!"


async def test_a_repeated_creation_without_an_id_returns_the_same_stream(loom: Loom):
    async def create(key: str) -> str:
        wire = await loom.ask("POST", "/stream", b"", upload_complete="?0", idempotency_key=key)
        assert wire.head.status == 201
        return wire.head["location"]

    assert await create("k1") == await create("k1") != await create("k2")


@ONE_STORE
async def test_a_repeated_creation_with_another_token_is_another_stream(serve: Serve):
    loom = await serve(tokens=["token-1", "token-2"])
    made = [
        await loom.ask("POST", "/stream", b"x", idempotency_key="k", authorization=f"Bearer {token}")
        for token in ("token-1", "token-1", "token-2")
    ]
    places = [wire.head["location"] for wire in made]
    assert places[0] == places[1] != places[2]


async def test_progress_is_sent_while_bytes_arrive(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", accept="application/x-ndjson")
    head = await wire.answer()
    assert (head.status, head["content-type"]) == (201, "application/x-ndjson")
    await wire.chunk(b"one")
    assert json.loads(await wire.read_chunk()) == {"offset": 3}
    await wire.chunk(b"two")
    assert json.loads(await wire.read_chunk()) == {"offset": 6}
    await wire.chunk(b"")
    last = json.loads(await wire.read_chunk())
    assert last.pop("digest").startswith("sha-256=:")
    assert last == {"offset": 6, "state": "complete"}
    assert await wire.read_chunk() == b""


async def test_progress_of_a_patch_ends_open_or_cut(loom: Loom):
    await opened(loom, b"data")
    wire = await patching(loom, 4, "?0", accept="application/x-ndjson", via="1.1 proxy")
    assert (await wire.answer()).status == 200
    assert wire.head["upload-offset"] == "4"
    await wire.chunk(b"12")
    assert json.loads(await wire.read_chunk()) == {"offset": 6}
    await wire.chunk(b"")
    assert json.loads(await wire.read_chunk()) == {"offset": 6, "state": "open"}
    assert await wire.read_chunk() == b""
    wire = await patching(loom, 6, "?1", accept="application/x-ndjson")
    assert (await wire.answer()).status == 200
    assert (await patch(loom, b"", 6, "?1")).head.status == 204
    with pytest.raises(Cut):
        await wire.body()


async def test_progress_is_sent_at_most_ten_times_a_second(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", accept="application/x-ndjson")
    await wire.answer()
    begun = asyncio.get_running_loop().time()
    for _ in range(300):
        await wire.chunk(b"x")
        await asyncio.sleep(0.001)
    await wire.chunk(b"")
    lines = [json.loads(line) for line in (await wire.body()).splitlines()]
    seconds = asyncio.get_running_loop().time() - begun
    offsets = [line["offset"] for line in lines]
    assert offsets == sorted(offsets)
    assert (lines[-1]["offset"], lines[-1]["state"]) == (300, "complete")
    assert len(lines) <= seconds * 10 + 2


@ONE_STORE
@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson, */*", "application/json"])
async def test_a_producer_that_does_not_request_progress_gets_none(loom: Loom, accept):
    wire = await loom.stored("/stream/a", b"data", accept=accept)
    assert "content-type" not in wire.head


@ONE_STORE
async def test_an_endless_patch_is_refused_before_its_end(loom: Loom):
    wire = await patching(loom, 0)
    assert (await wire.answer()).status == 404
    assert (await refusal(wire))["code"] == "not_found"

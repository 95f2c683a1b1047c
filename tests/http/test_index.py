"""?since, ?line and ?index, over real sockets."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Wire

from loom.store.places import GAP

DATA = b"one\ntwo\nthree"
LINES = b"".join(b"line %d\n" % number for number in range(1, 150_001))
NOW = "1970-01-01T00:00:00Z"


def rfc3339(**before: float) -> str:
    return (datetime.now(UTC) - timedelta(**before)).isoformat().replace("+00:00", "Z")


async def index(loom: Loom, query: str = "index") -> dict[str, object]:
    wire = await loom.get(f"/stream/a?{query}")
    assert (wire.head.status, wire.head["content-type"]) == (200, "application/json")
    assert wire.head["cache-control"].startswith("no-store")
    return dict(json.loads(await wire.body()))


@pytest.mark.parametrize(
    "since", ["1h", "2d", "10m30s", NOW, pytest.param(rfc3339(minutes=1), id="a minute ago")]
)
async def test_since_sends_the_bytes_from_that_time_on_and_new_ones(loom: Loom, since):
    producer = await loom.live("/stream/a", DATA)
    reader = await loom.get(f"/stream/a?since={since}")
    assert (reader.head.status, reader.head["x-stream-offset"]) == (200, "0")
    assert await reader.take(13) == DATA
    await producer.chunk(b"more")
    assert await reader.take(4) == b"more"
    now = await loom.get(f"/stream/a?since={since}&notail", range="bytes=1-2")
    assert (now.head.status, await now.body()) == (200, DATA + b"more")
    events = await loom.get(f"/stream/a?since={since}", accept="text/event-stream")
    assert b'"offset": 0' in await events.until(b"\n\n")
    await producer.chunk(b"")
    assert await reader.body() == b""


async def test_since_a_later_time_sends_only_new_bytes(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    later = rfc3339(hours=-1)
    reader = await loom.get(f"/stream/a?since={later}")
    assert reader.head["x-stream-offset"] == "13"
    head = await loom.ask("HEAD", f"/stream/a?since={later}")
    assert head.head["x-stream-offset"] == "13"
    await producer.chunk(b"more")
    await producer.chunk(b"")
    assert await reader.body() == b"more"
    done = await loom.get(f"/stream/a?since={later}")
    assert (done.head["content-length"], "etag" in done.head) == ("0", False)


@ONE_STORE
@pytest.mark.parametrize("query", ["", "x", "10", "-5m", "1h&line=2", "1h&since=2h"])
async def test_an_invalid_time_is_refused(loom: Loom, query):
    await loom.stored("/stream/a", DATA)
    for accept in ("*/*", "text/event-stream"):
        wire = await loom.get(f"/stream/a?since={query}", accept=accept)
        assert (wire.head.status, wire.head["content-type"]) == (400, "application/problem+json")
        assert json.loads(await wire.body())["detail"].endswith(".")


async def test_any_line_of_a_long_stream(loom: Loom):
    await loom.stored("/stream/a", LINES)
    for line in (1, 2, 77_777, 150_000):
        start = LINES.index(b"line %d\n" % line)
        head = await loom.ask("HEAD", f"/stream/a?line={line}")
        assert head.head["x-stream-offset"] == str(start)
        reader = await loom.get(f"/stream/a?line={line}")
        assert await reader.body() == LINES[start:]
    behind = await loom.ask("HEAD", "/stream/a?line=150002")
    assert behind.head["x-stream-offset"] == str(len(LINES))


async def test_the_index_has_the_starts_of_lines(loom: Loom):
    wire = await loom.stored("/stream/a", LINES)
    members = await index(loom)
    assert {name: members[name] for name in ("key", "state", "size", "final", "lines", "indexed")} == {
        "key": wire.head["etag"].strip('"'),
        "state": "complete",
        "size": len(LINES),
        "final": True,
        "lines": 150_000,
        "indexed": len(LINES),
    }
    places = members["places"]
    assert isinstance(places, list)
    assert places[0][:2] == [1, 0]
    assert len(places) >= len(LINES) // (3 * GAP)
    created = (await loom.service.info("a")).created
    for line, offset, time in places:
        assert LINES[:offset].count(b"\n") + 1 == line
        assert LINES[offset:].startswith(b"line %d\n" % line)
        assert created <= time <= created + 60
    assert len((await index(loom, "index=2"))["places"]) <= 3  # type: ignore[arg-type]
    few = (await index(loom, "index&from=50000&to=100000"))["places"]
    assert isinstance(few, list)
    assert all(each in places and each[0] <= 100_000 for each in few)


async def test_the_index_of_a_live_stream_counts_the_stored_lines(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    members = await index(loom)
    assert (members["lines"], members["indexed"], members["final"], members["state"]) == (
        2,
        13,
        False,
        "live",
    )
    reader = await loom.get("/stream/a?offset=13")
    await producer.chunk(b"\nfour\n")
    assert await reader.take(6) == b"\nfour\n"
    assert (await index(loom))["lines"] == 4


@ONE_STORE
@pytest.mark.parametrize("query", ["index=x", "index=0", "index&from=0", "index&to=-1", "index=5&index=6"])
async def test_an_invalid_number_is_refused(loom: Loom, query):
    await loom.stored("/stream/a", DATA)
    wire: Wire = await loom.get(f"/stream/a?{query}")
    assert wire.head.status == 400


@ONE_STORE
async def test_an_unknown_stream_has_no_index(loom: Loom):
    assert (await loom.get("/stream/a?index")).head.status == 404


async def moments(loom: Loom, query: str = "moments") -> dict[str, Any]:
    wire = await loom.get(f"/stream/a?{query}")
    assert (wire.head.status, wire.head["content-type"]) == (200, "application/json")
    assert wire.head["cache-control"].startswith("no-store")
    return dict(json.loads(await wire.body()))


async def test_moments_say_when_bytes_arrived(loom: Loom):
    producer = await loom.live("/stream/a", DATA)
    members = await moments(loom)
    created = (await loom.service.info("a")).created
    assert (members["state"], members["size"], members["final"]) == ("live", 13, False)
    offset, time, grain = members["moments"][0]
    assert (offset, grain) == (0, 1.0)
    assert created <= time <= created + 60
    await producer.chunk(b"")
    assert await producer.body() == b""
    for query in ("moments&offset=5", "moments&offset=1000", "moments="):
        assert (await moments(loom, query))["moments"][-1] == members["moments"][-1]


@ONE_STORE
@pytest.mark.parametrize("query", ["offset=x", "offset=-1", "offset=1&offset=2"])
async def test_moments_begin_at_an_offset(loom: Loom, query):
    await loom.stored("/stream/a", DATA)
    assert (await loom.get(f"/stream/a?moments&{query}")).head.status == 400
    assert (await loom.get("/stream/b?moments")).head.status == 404

"""Plain clients cannot mistake a part of a stream for the whole, and no response makes a proxy drop a
body.
"""

import asyncio
from typing import Any

import pytest
from tests.support.running import Loom, Serve
from tests.support.wire import Cut

from loom.model import State

DATA = b"line\n" * 1000


async def aborted(serve: Serve, data: bytes = DATA) -> Loom:
    """Return a server with the aborted stream `a`."""
    loom = await serve(resume_window=0.05)
    producer = await loom.live("/stream/a", data)
    producer.reset()
    await loom.until("a", State.ABORTED)
    return loom


@pytest.mark.parametrize("query", ["", "?offset=5", "?lines=3", "?line=2", "?offset=99999999"])
async def test_a_late_read_to_the_end_of_an_aborted_stream_is_cut_after_all_bytes(serve: Serve, query: str):
    loom = await aborted(serve)
    reader = await loom.get(f"/stream/a{query}")
    assert (reader.head.status, reader.head["x-stream-state"]) == (200, "aborted")
    assert "content-length" not in reader.head
    start = int(reader.head["stream-start"]) if "stream-start" in reader.head else None
    with pytest.raises(Cut) as cut:
        await reader.body()
    data = cut.value.args[0] if cut.value.args else b""
    assert DATA.endswith(data)
    if query in ("", "?offset=5"):
        assert len(data) == len(DATA) - (5 if query else 0), start


async def test_a_slow_late_reader_gets_all_bytes_before_the_cut(serve: Serve):
    data = b"x" * (16 << 20)  # more than the kernel holds
    loom = await aborted(serve, data)
    reader = await loom.connect()
    reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
    logged = loom.logged(method="GET")
    await reader.request("GET", "/stream/a")
    await asyncio.sleep(1.5)  # longer than a cut once left for the last bytes
    reader.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await reader.answer()
    with pytest.raises(Cut) as cut:
        await reader.body()
    assert cut.value.args == (data,)
    assert (await logged)["cut"] == "aborted"


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("GET", "?notail", {}),
        ("GET", "?notail&offset=2", {}),
        ("GET", "", {"range": "bytes=0-"}),
        ("HEAD", "", {}),
    ],
)
async def test_what_asks_for_the_stored_bytes_of_an_aborted_stream_ends_cleanly(
    serve: Serve, method: str, query: str, headers: dict[str, Any]
):
    loom = await aborted(serve, b"data")
    reader = await loom.ask(method, f"/stream/a{query}", **headers)
    assert reader.head["content-length"] == ("2" if "offset" in query else "4")
    if method == "GET":
        assert b"data".endswith(await reader.body())


async def test_with_expect_the_early_201_waits_for_the_first_byte_of_the_body(serve: Serve):
    loom = await serve()
    producer = await loom.connect()
    await producer.post("/stream/a", expect="100-continue")
    assert (await producer.answer()).status == 100
    follower = await loom.follow("/stream/a")
    assert producer.unread() == b""
    await producer.chunk(b"data")
    assert (await producer.answer()).status == 201
    assert await follower.take(4) == b"data"
    await producer.chunk(b"")
    assert await producer.body() == b""


async def test_with_expect_an_empty_body_is_answered(serve: Serve):
    loom = await serve()
    producer = await loom.connect()
    await producer.post("/stream/a", expect="100-continue")
    assert (await producer.answer()).status == 100
    await producer.chunk(b"")
    assert (await producer.answer()).status == 201

"""Producers that disconnect, are fenced, or are silent."""

import asyncio
import json

import pytest
from tests.support.running import Loom, Serve
from tests.support.wire import Cut, Wire

from loom.model import State


def reset(wire: Wire) -> None:
    wire.reset()


def half_close(wire: Wire) -> None:
    wire.half_close()


def bad_chunk(wire: Wire) -> None:
    wire.writer.write(b"no hex\r\n")


@pytest.mark.parametrize("go", [reset, half_close, bad_chunk])
async def test_a_lost_producer_leaves_its_stream_interrupted_with_every_byte(loom: Loom, go):
    wire = await loom.live("/stream/a", b"first")
    follower = await loom.get("/stream/a")
    assert await follower.take(5) == b"first"
    await wire.chunk(b"last words")
    go(wire)
    info = await loom.until("a", State.INTERRUPTED)
    assert info.size == 15
    assert await follower.take(10) == b"last words"
    later = await loom.get("/stream/a")
    assert later.head["x-stream-state"] == "interrupted"
    assert await later.take(15) == b"firstlast words"
    assert later.unread() == follower.unread() == b""


async def test_a_body_shorter_than_its_length_is_a_loss(loom: Loom):
    wire = await loom.connect()
    await wire.request("POST", "/stream/a", content_length=100)
    await wire.send(b"some")
    assert await (await loom.follow("/stream/a")).take(4) == b"some"
    wire.half_close()
    assert (await loom.until("a", State.INTERRUPTED)).size == 4
    assert await wire.reader.read() == b""


async def test_after_the_resume_window_the_stream_is_aborted_and_followers_are_cut(serve: Serve):
    loom = await serve(resume_window=0.1)
    wire = await loom.live("/stream/a", b"data")
    follower = await loom.get("/stream/a")
    wire.reset()
    with pytest.raises(Cut) as cut:
        await follower.body()
    assert cut.value.args == (b"data",)
    info = await loom.until("a", State.ABORTED)
    assert info.size == 4
    replay = await loom.get("/stream/a?notail")
    assert (replay.head["content-length"], replay.head["x-stream-state"]) == ("4", "aborted")
    assert await replay.body() == b"data"


async def test_a_silent_producer_is_not_a_lost_one(serve: Serve):
    loom = await serve(resume_window=0.05)
    silent = await loom.live("/stream/silent")
    other = await loom.live("/stream/other")
    other.reset()
    await loom.until("other", State.ABORTED)
    assert (await loom.service.info("silent")).state is State.LIVE
    await silent.chunk(b"")
    assert await silent.body() == b""


async def test_a_fenced_producer_is_disconnected_although_silent(loom: Loom):
    old = await loom.live("/stream/a")
    reading = asyncio.create_task(old.body())
    await loom.stored("/stream/a?force=true", b"new")
    with pytest.raises(Cut):
        await reading


async def test_a_producer_cut_before_its_late_response_gets_the_reason(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/a", via="1.1 proxy")
    await wire.chunk(b"old")
    assert await (await loom.follow("/stream/a")).take(3) == b"old"
    await loom.stored("/stream/a?force=true", b"new")
    assert (await wire.answer()).status == 409
    assert json.loads(await wire.body())["code"] in ("gone", "fenced")


async def test_producer_idle_timeout_cuts_a_silent_producer_when_set(serve: Serve):
    loom = await serve(producer_idle_timeout=0.1)
    early = await loom.live("/stream/early", b"data")
    with pytest.raises(Cut):
        await early.body()
    assert (await loom.service.info("early")).state is State.INTERRUPTED
    late = await loom.connect()
    await late.post("/stream/late", via="1.1 proxy")
    assert (await late.answer()).status == 408
    assert json.loads(await late.body())["code"] == "idle"


async def test_a_stopping_server_cuts_producers_and_followers_and_keeps_the_bytes(loom: Loom):
    wire = await loom.live("/stream/a", b"data")
    follower = await loom.get("/stream/a")
    assert await follower.take(4) == b"data"
    await loom.service.close()
    for cut in (wire, follower):
        with pytest.raises(Cut):
            await cut.body()
    info = await loom.store.info("a")
    assert (info.state, info.size) == (State.INTERRUPTED, 4)
    refused = await loom.ask("POST", "/stream/b", b"")
    assert (refused.head.status, json.loads(await refused.body())["code"]) == (503, "stopped")
    assert "retry-after" in refused.head

"""Many followers of one stream: together while they keep up, alone while they lag."""

import asyncio
import os
import random

import pytest
from tests.http.test_stream_events import joined
from tests.support.running import Loom
from tests.support.wire import Cut, Wire

from loom.wire.sse import Decoder

ACCEPT = {"accept": "text/event-stream"}


def pause(wire: Wire) -> None:
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]


def resume(wire: Wire) -> None:
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]


async def test_followers_that_pause_at_random_get_every_byte_once(loom: Loom):
    rng = random.Random(1)
    producer = await loom.live("/stream/a")
    versions = ("1.1", "1.1", "1.0")
    followers = [await loom.connect() for _ in range(30)]
    for follower, version in zip(followers, versions * 10, strict=True):
        await follower.request("GET", "/stream/a", version=version)
        await follower.answer()
    bodies = [asyncio.create_task(follower.body()) for follower in followers]
    paused: set[Wire] = set()
    sent = b""
    for _ in range(300):
        data = os.urandom(rng.choice([1, 100, 100, 100, 3_000, 40_000, 150_000]))
        await producer.chunk(data)
        sent += data
        follower = rng.choice(followers)
        if follower in paused:
            paused.discard(follower)
            resume(follower)
        elif len(paused) < 10:
            paused.add(follower)
            pause(follower)
    await producer.chunk(b"")
    for follower in paused:
        resume(follower)
    assert all(body == sent for body in await asyncio.gather(*bodies))


async def test_stuck_follower_delays_no_other_and_lags_in_the_metrics(loom: Loom):
    producer = await loom.live("/stream/a")
    stuck, other = await loom.get("/stream/a"), await loom.get("/stream/a")
    pause(stuck)
    line = b"x" * 4_095 + b"\n"
    sent = b""
    while not loom.service.load().lag:
        await producer.chunk(line)
        assert await other.take(len(line)) == line
        sent += line
    await producer.chunk(b"")
    assert await other.body() == b""
    resume(stuck)
    assert await stuck.body() == sent


async def test_bytes_that_a_crowd_delivers_are_counted_at_once(loom: Loom):
    async def total() -> float:
        scrape = (await (await loom.get("/metrics")).body()).decode()
        values = [
            line.split()[1] for line in scrape.splitlines() if line.startswith("loom_sent_bytes_total ")
        ]
        return float(values[0])

    producer = await loom.live("/stream/a")
    followers = [await loom.get("/stream/a") for _ in range(5)]
    await producer.chunk(b"x")
    for follower in followers:
        assert await follower.take(1) == b"x"
    before = await total()
    await producer.chunk(b"y" * 10_000)
    for follower in followers:
        await follower.take(10_000)
    scrapes = 10_000  # the first of the two is counted as well
    assert 50_000 <= await total() - before < 50_000 + scrapes


@pytest.mark.parametrize("end", ["delete", "replace"])
async def test_crowd_is_cut_where_its_stream_is(loom: Loom, end: str):
    producer = await loom.live("/stream/a")
    followers = [await loom.get("/stream/a") for _ in range(5)]
    await producer.chunk(b"data")
    for follower in followers:
        assert await follower.take(4) == b"data"
    if end == "delete":
        await loom.ask("DELETE", "/stream/a")
    else:
        await loom.stored("/stream/a?force=true", b"new")
    for follower in followers:
        with pytest.raises(Cut):
            await follower.body()


async def test_event_followers_share_a_crowd_wherever_each_began(loom: Loom):
    text = "eine Zeile mit Umlauten: äöü €\n".encode()
    producer = await loom.live("/stream/a", text)
    # Some begin within a character: they get its rest in an event of its own.
    starts = [0, 0, text.index(b"\xa4"), text.index(b"\xac"), len(text)]
    followers = [await loom.get(f"/stream/a?offset={start}", **ACCEPT) for start in starts]
    sent = text
    for at in range(0, 60, 7):
        piece = (text * 2)[at : at + 7]
        await producer.chunk(piece)
        sent += piece
    await producer.chunk(b"")
    for follower, start in zip(followers, starts, strict=True):
        events = Decoder().feed(await follower.body())
        assert events[-1].name == "end"
        assert joined(events[:-1], start) == sent[start:]

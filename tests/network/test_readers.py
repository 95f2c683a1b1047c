"""Readers on a bad network: each way to resume yields every byte once."""

import asyncio
import json
import os
import random
from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.network.conftest import Between
from tests.support.proxy import Storm
from tests.support.running import Loom
from tests.support.wire import Cut, Head, Wire

from loom.wire.sse import Decoder

SEED = int(os.environ.get("SEED", "8673"))
CUTS = 80
SHORTEST = 40
"""Bytes of the shortest request, so that each fault on the way to the server strikes."""


async def ask(port: int, **headers: Any) -> tuple[Head, bytes, bool]:
    """Send one GET. Return its head, the body received and whether it was whole. Raises Cut, OSError."""
    query = headers.pop("query", "")
    wire = await Wire.open("127.0.0.1", port)
    try:
        await wire.request("GET", "/stream/a" + query, **headers)
        head = await wire.answer()
        try:
            return head, await wire.body(), True
        except Cut as cut:
            return head, cut.args[0], False
    finally:
        await wire.close()


async def by_offset(port: int) -> bytes:
    """Resume with `?offset`."""
    data, ended = b"", False
    while not ended:
        try:
            head, more, ended = await ask(port, query=f"?offset={len(data)}")
        except (Cut, OSError):
            continue
        assert (head.status, head["x-stream-offset"]) == (200, str(len(data)))
        data += more
    return data


async def by_range(port: int) -> bytes:
    """Resume with a Range that follows the stream (RFC 8673)."""
    data, ended = b"", False
    while not ended:
        try:
            head, more, ended = await ask(port, range=f"bytes={len(data)}-{10**12}")
        except (Cut, OSError):
            continue
        if head.status == 416:
            assert head["content-range"] == f"bytes */{len(data)}"
            break
        assert head.status == 206
        assert head["content-range"].startswith(f"bytes {len(data)}-")
        data += more
    return data


async def by_events(port: int) -> bytes:
    """Resume as EventSource does: with Last-Event-ID, until `event: end` or 204."""
    data, last, ended = b"", "", False
    while not ended:
        try:
            head, answer, _ = await ask(port, accept="text/event-stream", last_event_id=last)
        except (Cut, OSError):
            continue
        if head.status == 204:
            break
        assert head.status == 200
        for event in Decoder().feed(answer):
            members, last = json.loads(event.data), event.id
            ended = event.name == "end"
            if ended:
                assert members["size"] == len(data)
                break
            assert members["offset"] == len(data)
            data += (
                members["text"].encode() if "text" in members else b64decode(members["base64"], validate=True)
            )
    return data


READERS = pytest.mark.parametrize("read", [by_offset, by_range, by_events])
Read = Callable[[int], Coroutine[Any, Any, bytes]]


@READERS
async def test_a_live_stream_is_followed_across_disconnects(loom: Loom, between: Between, read: Read):
    draw = random.Random(SEED)
    storm = Storm(SEED, cuts=CUTS, up=SHORTEST, down=24 << 10)
    proxy = await between(loom, storm)
    producer = await loom.live("/stream/a", b"begun")
    reading = asyncio.create_task(read(proxy.port))
    sent = bytearray(b"begun")
    while storm.cuts < CUTS:
        piece = draw.choice([draw.randbytes(2000), "ein paar Wörter\r\n".encode() * 50, b"\xf0\x9f"])
        await producer.chunk(piece)
        sent += piece
        await asyncio.sleep(0.001)  # the stream stays live during the cuts
    await producer.chunk(b"")
    assert await producer.body() == b""
    assert await reading == sent


@READERS
async def test_a_finished_stream_is_read_across_disconnects(loom: Loom, between: Between, read: Read):
    draw = random.Random(SEED)
    data = draw.randbytes(4 << 20) + "Wörter\n".encode() * 100_000
    await loom.stored("/stream/a", data)
    storm = Storm(SEED, cuts=CUTS, up=SHORTEST, down=60 << 10)
    proxy = await between(loom, storm)
    assert await read(proxy.port) == data
    assert storm.cuts == CUTS

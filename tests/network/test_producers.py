"""Producers on a bad network: after they resume, each byte is stored once and in order."""

import asyncio
import os
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.network.conftest import Between
from tests.support.proxy import CALM, CUTS, Fault, Kind, Proxy, Storm, Way, Weather
from tests.support.running import Loom, Serve
from tests.support.wire import Cut, Head, Wire

from loom.model import State

SEED = int(os.environ.get("SEED", "3060"))
LOST = (Cut, OSError, TimeoutError)


class Producer:
    """The simplest producer that resumes: HEAD returns the offset, PATCH appends there."""

    def __init__(self, proxy: Proxy, id: str, data: bytes, draw: random.Random) -> None:
        self._proxy = proxy
        self._target = f"/stream/{id}"
        self._data = data
        self._draw = draw
        self._patience = 0.05
        self.acknowledged = 0

    async def run(self) -> None:
        """Send until the server reports that the stream is complete."""
        while not await self._attempt(self._create()):
            pass
        done = False
        while not done:
            head = await self._attempt(self._request("HEAD"))
            if head is None:
                continue
            offset = int(head["upload-offset"])
            # The server never loses acknowledged bytes.
            assert offset >= self.acknowledged
            self.acknowledged = offset
            done = head["upload-complete"] == "?1"
            while not done and (answer := await self._attempt(self._patch(offset))):
                if answer.status == 409:
                    break
                assert answer.status in (200, 204)
                offset = self.acknowledged = int(answer["upload-offset"])
                done = answer["upload-complete"] == "?1"

    async def _create(self) -> Head:
        head = await self._request("POST", b"", upload_complete="?0", idempotency_key="the-one")
        assert head.status == 201
        return head

    async def _patch(self, offset: int) -> Head:
        part = self._data[offset : offset + self._draw.randrange(1, 32 << 10)]
        last = offset + len(part) == len(self._data)
        return await self._request(
            "PATCH",
            part,
            upload_offset=offset,
            upload_complete=f"?{last:d}",
            content_type="application/partial-upload",
        )

    async def _request(self, method: str, body: bytes | None = None, **headers: Any) -> Head:
        wire = await Wire.open("127.0.0.1", self._proxy.port)
        try:
            await wire.request(method, self._target, body, **headers)
            return await wire.answer()
        finally:
            await wire.close()

    async def _attempt(self, request: Coroutine[Any, Any, Head]) -> Head | None:
        """Return the response, None if it was lost. The timeout grows until the next response."""
        try:
            async with asyncio.timeout(self._patience):
                head = await request
        except TimeoutError:
            self._patience *= 2
            return None
        except LOST:
            return None
        self._patience = 0.05
        return head


async def content(loom: Loom, id: str) -> bytes:
    return await (await loom.get(f"/stream/{id}?notail")).body()


@pytest.mark.parametrize(("store_kind", "cuts"), [("files", 1000), ("memory", 200)], indirect=["store_kind"])
async def test_an_upload_cut_a_thousand_times_is_stored_once_and_whole(
    loom: Loom, between: Between, cuts: int
):
    draw = random.Random(SEED)
    # Enough bytes that the last cut comes before the last byte.
    data = draw.randbytes(cuts * (24 << 10))
    storm = Storm(SEED, cuts=cuts, up=24 << 10, down=300)
    proxy = await between(loom, storm)
    await Producer(proxy, "a", data, draw).run()
    assert storm.cuts == cuts
    assert storm.struck[Kind.STALL]
    assert await content(loom, "a") == data
    info = await loom.service.info("a")
    assert (info.state, info.size) == (State.COMPLETE, len(data))


@pytest.mark.parametrize("kind", CUTS)
async def test_a_producer_whose_request_is_cut_keeps_the_received_bytes_and_may_resume(
    loom: Loom, between: Between, kind: Kind
):
    proxy = await between(loom, Weather((Fault(kind, Way.UP, 1000),)))
    wire = await Wire.open("127.0.0.1", proxy.port)
    await wire.post("/stream/a")
    follower = await loom.follow("/stream/a")
    await wire.chunk(b"x" * 800)
    assert await follower.take(800) == b"x" * 800
    await wire.chunk(b"y" * 400)
    info = await loom.until("a", State.INTERRUPTED)
    sent = b"x" * 800 + b"y" * 400
    assert sent.startswith(stored := await content(loom, "a"))
    assert len(stored) == info.size
    assert await follower.take(info.size - 800) == stored[800:]
    resumed = await loom.ask(
        "PATCH", "/stream/a", sent[info.size :], upload_offset=info.size, upload_complete="?1"
    )
    assert resumed.head.status == 204
    assert await content(loom, "a") == sent
    assert await follower.body() == sent[info.size :]
    await wire.close()


async def test_a_response_that_is_cut_loses_nothing_of_the_upload(loom: Loom, between: Between):
    proxy = await between(loom, Weather((Fault(Kind.HALF_CLOSE, Way.DOWN, 0),)))
    wire = await Wire.open("127.0.0.1", proxy.port)
    await wire.request("POST", "/stream/a", b"data", upload_complete="?1")
    with pytest.raises(Cut):
        await wire.answer()
    assert (await loom.until("a", State.COMPLETE)).size == 4
    repeated = await loom.ask("PATCH", "/stream/a", b"", upload_offset=4, upload_complete="?1")
    assert repeated.head.status == 204
    await wire.close()


async def test_a_producer_that_half_closes_after_its_request_is_answered(loom: Loom, between: Between):
    proxy = await between(loom, CALM)
    wire = await Wire.open("127.0.0.1", proxy.port)
    await wire.request("POST", "/stream/a", b"data", upload_complete="?1")
    wire.half_close()
    assert (await wire.answer()).status == 201
    assert (await loom.service.info("a")).state is State.COMPLETE
    await wire.close()


async def test_bytes_that_a_stalled_network_delivers_late_are_not_stored_twice(loom: Loom, between: Between):
    """The network delivers bytes after their client has resumed on another connection."""
    stall = Fault(Kind.STALL, Way.UP, 500, hold=0.3)
    proxy = await between(loom, Weather((stall,)))
    wire = await Wire.open("127.0.0.1", proxy.port)
    await wire.post("/stream/a")
    follower = await loom.follow("/stream/a")
    await wire.chunk(b"x" * 400)
    assert await follower.take(400) == b"x" * 400
    await wire.chunk(b"y" * 400)
    held = loom.logged(method="POST")
    await wire.close()
    sent, at, status = b"x" * 400 + b"y" * 400 + b"z" * 10, 400, 409
    while status == 409:
        resumed = await loom.ask("PATCH", "/stream/a", sent[at:], upload_offset=at, upload_complete="?1")
        status, at = resumed.head.status, int(resumed.head["upload-offset"])
    assert status == 204
    assert (await held)["cut"]
    assert await content(loom, "a") == sent


async def test_a_stalled_producer_stays_live_unless_the_server_limits_silence(serve: Serve, between: Between):
    stall = Weather((Fault(Kind.STALL, Way.UP, 500, hold=3600),))
    for timeout in (0, 0.1):
        loom = await serve(producer_idle_timeout=timeout)
        proxy = await between(loom, stall)
        wire = await Wire.open("127.0.0.1", proxy.port)
        await wire.post("/stream/a")
        await wire.chunk(b"x" * 1000)
        if timeout:
            await loom.follow("/stream/a")
            assert (await loom.until("a", State.INTERRUPTED)).reason.endswith("nothing for too long")
        else:
            follower = await loom.follow("/stream/a")
            got = await follower.read_chunk()
            assert (await loom.service.info("a")).state is State.LIVE
            resumed = await loom.ask("PATCH", "/stream/a", b"!", upload_offset=len(got), upload_complete="?1")
            assert resumed.head.status == 204
        await wire.close()

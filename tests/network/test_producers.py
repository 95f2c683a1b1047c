"""Producers on a bad network: what they resume is stored once, in order, to the last byte."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from tests.http.conftest import Loom
from tests.http.wire import Cut, Head, Wire
from tests.network.conftest import Between
from tests.network.proxy import Proxy, Storm

from loom.model import State

SEED = 3060
LOST = (Cut, OSError, TimeoutError)


class Producer:
    """As plain as a resumable producer can be: HEAD tells where it is, PATCH goes on from there."""

    def __init__(self, proxy: Proxy, id: str, data: bytes, draw: random.Random) -> None:
        self._proxy = proxy
        self._target = f"/stream/{id}"
        self._data = data
        self._draw = draw
        self._patience = 0.05
        self.acknowledged = 0

    async def run(self) -> None:
        """Until the server says that the stream is complete."""
        while not await self._attempt(self._create()):
            pass
        done = False
        while not done:
            told = await self._attempt(self._request("HEAD"))
            if told is None:
                continue
            offset = int(told["upload-offset"])
            # What was acknowledged is never taken back.
            assert offset >= self.acknowledged
            self.acknowledged = offset
            done = told["upload-complete"] == "?1"
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
        """The answer, None if the network has swallowed it. Patience grows while nothing comes at all."""
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


async def test_an_upload_cut_a_thousand_times_is_stored_once_and_whole(loom: Loom, between: Between):
    draw = random.Random(SEED)
    # More than a thousand requests can pass, so that the last cut comes before the last byte.
    data = draw.randbytes(24 << 20)
    storm = Storm(SEED, cuts=1000, up=24 << 10, down=300)
    proxy = await between(loom, storm)
    await Producer(proxy, "a", data, draw).run()
    assert storm.cuts == 1000
    assert await content(loom, "a") == data
    info = await loom.service.info("a")
    assert (info.state, info.size) == (State.COMPLETE, len(data))

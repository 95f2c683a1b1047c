"""The client on a bad network: the input of a push is stored once and whole."""

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest
from tests.network.conftest import Between
from tests.support.proxy import Storm
from tests.support.running import Loom

from loom.client.producing import push
from loom.client.push import Pace
from loom.client.session import Session, Timeouts
from loom.model import State

SEED = int(os.environ.get("SEED", "104"))
QUICK = Pace(idle=0.5, stall=0.5, gather=0.01, answer=3, retry=0.001, retry_most=0.05, patience=30)
SOON = Timeouts(connect=3, answer=3, read=3)


class Job:
    """An input that continues until there were enough cuts. `written` is all of it."""

    def __init__(self, storm: Storm, cuts: int) -> None:
        self.written = bytearray()
        self._storm = storm
        self._cuts = cuts
        self._random = random.Random(SEED)

    async def output(self) -> AsyncIterator[bytes]:
        while self._storm.cuts < self._cuts:
            piece = self._random.randbytes(3000)
            self.written += piece
            yield piece
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("store_kind", ["files"], indirect=True)
async def test_a_push_cut_a_thousand_times_is_stored_once_and_whole(loom: Loom, between: Between):
    # Stalls take much time, and few of them are enough.
    storm = Storm(SEED, cuts=1000, up=16 << 10, down=200, stalls=0.005)
    job = Job(storm, 1000)
    proxy = await between(loom, storm)
    async with Session(proxy.url, timeouts=SOON) as session:
        pushed = await push(session, "a", job.output(), pace=QUICK)
    assert storm.cuts == 1000
    assert (pushed.offset, pushed.complete) == (len(job.written), True)
    assert await (await loom.get("/stream/a")).body() == job.written
    assert (await loom.service.info("a")).state is State.COMPLETE

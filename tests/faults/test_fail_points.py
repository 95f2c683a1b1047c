"""One failure at one operation of the real server under load: the n-th write, flush or commit. The table has
the expected behaviour of the store. Everything that was reported before holds after the next start.
"""

import asyncio
import os
import random
from contextlib import suppress

import pytest
from tests.faults.child import Fault
from tests.faults.conftest import SEED, rounds, within
from tests.faults.life import STORE_FAILED
from tests.faults.load import LOST
from tests.faults.world import World
from tests.support.peers import ask, connect, soon
from tests.support.server import tell, until

STOPS = [
    *((operation, "log/", kind, 150) for operation in ("write", "sync") for kind in ("EIO", "ENOSPC")),
    *(("sync", "content/", kind, 20) for kind in ("EIO", "ENOSPC")),
    ("commit", "", "EIO", 3),
]
"""Operation, names, error, and how many go well before, at most: the store must not go on after these."""
GOES_ON = [("write", "content/", "ENOSPC", 40), ("commit", "", "ENOSPC", 3)]
"""Failures that end streams, at most."""
TORN = [("write", "log/", "torn", 150), ("write", "content/", "torn", 40)]
"""Half a write, then the process is killed."""
AT_START = [("open", ""), ("write", ""), ("sync", ""), ("rename", ""), ("commit", "")]
TURNS = 1


async def probe(server) -> list[int]:
    """Collect the responses of /readyz on one connection until it ends."""
    statuses = []
    try:
        async with connect(server) as wire:
            while True:
                await wire.request("GET", "/readyz")
                statuses.append((await wire.answer()).status)
                await wire.body()
                await asyncio.sleep(0.01)
    except LOST:
        return statuses


def in_words(case) -> str:
    return " ".join(str(each).strip("/") for each in case[:3] if each)


@pytest.mark.parametrize("case", STOPS, ids=in_words)
@within(TURNS)
async def test_a_failure_that_could_lose_bytes_stops_the_server(case, tmp_path, run):
    for turn in range(rounds(TURNS)):
        world, server, struck = await fails(case, tmp_path / f"{turn}", run, turn)
        living, probing = asyncio.create_task(world.live(server)), asyncio.create_task(probe(server))
        await until("the fault strikes", lambda: living.done() or os.path.exists(struck), 60)  # noqa: B023
        await soon(living)
        assert await server.ended() == STORE_FAILED
        statuses = await soon(probing)
        assert set(statuses) <= {200, 503}
        assert statuses == sorted(statuses), "a store that has stopped said that it is ready"
        await world.check(await run(tmp_path / f"{turn}"))


@pytest.mark.parametrize("case", GOES_ON, ids=in_words)
@within(TURNS)
async def test_a_full_disk_at_one_operation_affects_no_other_stream(case, tmp_path, run):
    for turn in range(rounds(TURNS)):
        world, server, struck = await fails(case, tmp_path / f"{turn}", run, turn)
        living = asyncio.create_task(world.live(server))
        await until("the fault strikes", lambda: living.done() or os.path.exists(struck), 60)  # noqa: B023
        await asyncio.sleep(0.3)
        head, _ = await ask(server, "GET", "/readyz")
        assert head.status == 200
        await server.kill()
        await soon(living)
        await world.check(await run(tmp_path / f"{turn}"))


@pytest.mark.parametrize("case", TORN, ids=in_words)
@within(TURNS)
async def test_half_a_write_and_a_kill_lose_nothing(case, tmp_path, run):
    for turn in range(rounds(TURNS)):
        world, server, _ = await fails(case, tmp_path / f"{turn}", run, turn)
        await soon(world.live(server))
        assert await server.ended() < 0
        await world.check(await run(tmp_path / f"{turn}"))


async def fails(case, data, run, turn):
    """Return a world with streams, and a server that is about to fail."""
    operation, prefix, kind, most = case
    rng = random.Random(f"{SEED} {case} {turn}")
    struck = f"{data}.struck"
    fault = Fault(operation, prefix, kind, nth=rng.randint(1, most), struck=struck)
    tell(f"seed {SEED}: {fault}")
    world = World(rng.getrandbits(32), fleeting=1)
    server = await run(data, program=fault.program())
    return world, server, struck


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("case", AT_START, ids=in_words)
async def test_a_failed_start_is_reported_and_loses_nothing_for_the_next(case, nth, tmp_path, run, seed):
    data, world = tmp_path / "data", World(seed)
    for _ in range(2):  # the first start of all, and one that has a log to replay
        operation, prefix = case
        fault = Fault(operation, prefix, "EIO", nth=nth, early=True)
        with suppress(AssertionError):  # the server reports that it cannot start, or it starts
            await (await run(data, program=fault.program())).kill()
        server = await run(data)
        await world.check(server)
        living = asyncio.create_task(world.live(server))
        await asyncio.sleep(0.2)
        await server.kill()
        await soon(living)
    await world.check(await run(data))

"""kill -9 under load, with readers that resume: a byte once received at an offset never changes, and
everything reported stays true.
"""

import asyncio
import random

from tests.faults.conftest import rounds, within
from tests.faults.world import World
from tests.support.peers import soon
from tests.support.server import tell

KILLS = 20


@within(KILLS)
async def test_readers_resume_after_kills_and_no_byte_they_received_changes(tmp_path, run, seed):
    rng, world = random.Random(seed), World(seed)
    for _ in range(rounds(KILLS)):
        server = await run(tmp_path / "data")
        await world.check(server)
        living = asyncio.create_task(world.live(server))
        await asyncio.sleep(rng.uniform(0.1, 1.2))
        await server.kill()
        await soon(living)
    await world.check(await run(tmp_path / "data"))
    tell(f"seed {seed}: {world}")
    assert sum(reader.resumed for reader in world.readers) > rounds(KILLS)

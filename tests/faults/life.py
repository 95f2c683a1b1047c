"""A server on a file system, restarted after every crash of it."""

import asyncio
import random
from collections.abc import Sequence

from tests.faults.conftest import Run
from tests.faults.volume import Volume
from tests.faults.world import World
from tests.support.peers import soon
from tests.support.server import LOOM, Server

STORE_FAILED = 70
"""The exit code of a server whose store has stopped."""


class Life:
    """Runs `program`, which is `loom` or a failing one, with `options` as settings."""

    def __init__(
        self, volume: Volume, run: Run, seed: int, *, program: Sequence[str] = LOOM, **options: object
    ) -> None:
        self.world = World(seed)
        self._volume = volume
        self._run = run
        self._program = (*volume.enter, *program)
        self._options = options
        self._rng = random.Random(seed)

    async def start(self) -> Server:
        """Start the server and compare its streams with what was reported."""
        server = await self._run(self._volume.path / "data", program=self._program, **self._options)
        await self.world.check(server)
        return server

    async def crash(self) -> None:
        """Run the load for a while, lose the power meanwhile, then mount the file system again.

        Some servers notice the failed disk and stop.
        """
        server = await self.start()
        living = asyncio.create_task(self.world.live(server))
        await asyncio.sleep(self._rng.uniform(0.05, 1.0))
        await asyncio.to_thread(self._volume.crash)
        if self._program[-1] == LOOM[-1] and self._rng.random() < 0.3:
            await soon(living)
            assert await server.ended() == STORE_FAILED
        await server.kill()
        await soon(living)
        await asyncio.to_thread(self._volume.unmount)
        await asyncio.to_thread(self._volume.mount)

    async def crashes(self, count: int) -> None:
        """Run so many rounds, then check once more."""
        for _ in range(count):
            await self.crash()
        await self.start()

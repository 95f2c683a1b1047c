"""How long and from which seed: SEED and ROUNDS in the environment, which `scripts/soak` sets."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.volume import Volume, why_not
from tests.support.server import Server

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "0"))
"""How many rounds each test goes; 0: as many as CI has time for."""
PER_ROUND = 60
"""Seconds that a round takes at the very most."""

Run = Callable[..., Awaitable[Server]]


def rounds(usual: int) -> int:
    """How many this run goes, where CI goes `usual` ones."""
    return ROUNDS or usual


def within(usual: int) -> pytest.MarkDecorator:
    """The time limit of a test of so many rounds."""
    return pytest.mark.timeout(60 + PER_ROUND * rounds(usual))


@pytest.fixture
def seed() -> int:
    """Told with every failure."""
    return SEED


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Start a server on a data directory; none is left in the end. What it logs is in `server.log`."""
    servers: list[Server] = []

    async def start(data: Path, **options: object) -> Server:
        servers.append(await Server.start(data, tmp_path / "server.log", **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        await server.kill()


@pytest.fixture
def volume_of(tmp_path: Path) -> Iterator[Callable[[str], Volume]]:
    """Make a file system of a kind, mounted; in the end nothing of it is left."""
    if reason := why_not():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    volumes: list[Volume] = []

    def make(kind: str) -> Volume:
        volumes.append(Volume(kind, tmp_path))
        volumes[-1].mount()
        return volumes[-1]

    yield make
    for volume in volumes:
        volume.close()

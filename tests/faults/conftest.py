"""How long and from which seed: SEED and ROUNDS in the environment, which `scripts/soak` sets."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.volume import Volume, why_not
from tests.support.server import Server

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "0"))
"""Rounds of each test; 0 for as many as CI has time for."""
PER_ROUND = 60
"""Seconds that a round takes at most."""

Run = Callable[..., Awaitable[Server]]


def rounds(usual: int) -> int:
    """Return the rounds of this run; CI does the `usual` number."""
    return ROUNDS or usual


def within(usual: int) -> pytest.MarkDecorator:
    """Return the time limit for a test of so many rounds."""
    return pytest.mark.timeout(60 + PER_ROUND * rounds(usual))


@pytest.fixture
def seed() -> int:
    """Return the seed, which is printed with every failure."""
    return SEED


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Start servers on data directories; stop all of them at the end. Their logs are in `server.log`."""
    servers: list[Server] = []

    async def start(data: Path, **options: object) -> Server:
        servers.append(await Server.start(data, tmp_path / "server.log", **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        await server.kill()


@pytest.fixture
def volume_of(tmp_path: Path) -> Iterator[Callable[[str], Volume]]:
    """Create mounted file systems of a kind; remove them at the end."""
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

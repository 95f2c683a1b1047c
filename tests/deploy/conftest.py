"""A server to be reached through proxies."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Start a server; its data is removed at the end."""
    server = await Server.start(tmp_path / "data", tmp_path / "server.log", durability="os")
    yield server
    await server.kill()
    shutil.rmtree(tmp_path / "data")

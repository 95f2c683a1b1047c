import json
import resource
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.server import Server

RECORD = '{"timestamp": '

Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server on this test's data directory. After the test none runs and none has logged an error."""
    servers: list[Server] = []
    data, log = tmp_path / "data", tmp_path / "server.log"
    log.touch()

    async def start(**settings: object) -> Server:
        servers.append(await Server.start(data, log, **settings))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        await server.kill()
    shutil.rmtree(data, ignore_errors=True)
    for line in log.read_text().splitlines(keepends=True):
        assert line.startswith(RECORD), line
        # A kill may cut off a record; the record of the next server then follows on the same line.
        if line.endswith("\n"):
            record = RECORD + line.split(RECORD)[-1]
            assert json.loads(record)["level"] in ("debug", "info", "warning"), line


@pytest.fixture(scope="session", autouse=True)
def many_files() -> Iterator[None]:
    """Allow this process thousands of connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)

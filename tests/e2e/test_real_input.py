"""The output of a real command, stored and followed while it runs."""

import asyncio
import shlex
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import follow, soon
from tests.support.server import BIN, tell

ROOT = Path(__file__).parents[2]
MODULES = " ".join(f"tests/unit/test_{name}.py" for name in ("config", "metadata", "service", "grep_scanner"))
"""Hundreds of tests. The slowest are the last, so that the command runs long after its first line."""
COMMAND = f"{sys.executable} -m pytest -v --color=yes -p no:cacheprovider {MODULES}"
COLOUR = b"\x1b[32m"


async def watch(curl: str, url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(curl, "-sS", "--no-buffer", url, stdout=PIPE, limit=1 << 24)


async def rest(reader: asyncio.subprocess.Process, first: bytes = b"") -> bytes:
    """Return everything that a reader prints; it exits with 0."""
    assert reader.stdout
    shown = first + await reader.stdout.read()
    assert await reader.wait() == 0
    return shown


@pytest.mark.timeout(180)
async def test_readers_before_during_and_after_the_build_and_after_kill_9_get_the_bytes_of_tee(
    serve: Serve, tool, tmp_path
):
    curl, server = tool("curl"), await serve()
    url, copy = f"{server.url}/stream/tests", tmp_path / "copy"
    async with follow(server, "/spy") as spy:
        stream = shlex.join([str(BIN / "stream"), server.url, "tests", "--meta", "kind=tests"])
        build = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", f"{COMMAND} 2>&1 | tee {shlex.quote(str(copy))} | {stream}"),
            cwd=ROOT,
        )
        assert b"START: tests\n" in await soon(spy.until(b"START: tests\n"))
        early = await watch(curl, url)
    assert early.stdout
    first = await soon(early.stdout.readuntil(COLOUR))
    assert build.returncode is None
    late = await watch(curl, url)
    assert await build.wait() in (0, 1)
    original = copy.read_bytes()
    tell(f"{len(original)} bytes, {original.count(COLOUR)} times green")
    assert await rest(early, first) == original
    assert await rest(late) == original
    assert await rest(await watch(curl, url)) == original
    await server.kill()
    server = await serve()
    assert await rest(await watch(curl, f"{server.url}/stream/tests")) == original

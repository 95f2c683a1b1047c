"""Processes that search, and the end of the server."""

import os
from pathlib import Path

import aiohttp
import pytest
from tests.support.server import Server, until


def children(pid: int) -> list[int]:
    """Return the processes that search for the server with this pid."""
    return [
        int(child)
        for task in os.listdir(f"/proc/{pid}/task")
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        if "loom.streams.grep.worker" in Path(f"/proc/{child}/cmdline").read_text()
    ]


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_no_process_that_searches_outlives_the_server(tmp_path, how):
    server = await Server.start(tmp_path / "data", tmp_path / "log")
    try:
        pid = server.pid
        assert not children(pid)
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{server.url}/stream/a", data=b"hit\n"):
                pass
            async with session.get(f"{server.url}/stream/a?grep=hit") as response:
                assert len((await response.text()).splitlines()) == 2
        workers = children(pid)
        assert len(workers) == 1
    finally:
        await (server.kill() if how == "killed" else server.stop())
    await until("the worker has ended", lambda: not any(Path(f"/proc/{each}").exists() for each in workers))

"""`loom push` while its server is killed and restarted: the stored stream has the same bytes."""

import asyncio
import socket

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import Content, ask, soon
from tests.support.program import program
from tests.support.server import Server

PIECE = 50_000
RESTARTS = 6


async def reached(server: Server, offset: int) -> None:
    """Wait until `offset` bytes are durable."""
    while True:
        head, _ = await ask(server, "HEAD", "/stream/s")
        if head.status == 200 and int(head["upload-offset"]) >= offset:
            return
        await asyncio.sleep(0.02)


@pytest.mark.timeout(120)
async def test_a_push_survives_kills_and_restarts_of_the_server(serve: Serve):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    content, written = Content(7), 0
    server = await serve(port=port)
    async with program("loom", "push", "s", env={"LOOM_SERVER": server.url}) as process:
        for restart in range(RESTARTS):
            for _ in range(10):
                process.write(content.at(written, PIECE))
                written += PIECE
            await soon(reached(server, written - 5 * PIECE))
            process.write(content.at(written, PIECE))
            written += PIECE
            await (server.kill() if restart % 2 else server.stop())
            # The job keeps writing while no server runs.
            process.write(content.at(written, PIECE))
            written += PIECE
            server = await serve(port=port)
        await process.end_input()
        code, _ = await asyncio.wait_for(process.ended(), 60)
    assert code == 0
    head, body = await ask(server, "GET", "/stream/s")
    assert head["x-stream-state"] == "complete"
    assert len(body) == written
    assert content.holds(0, body)

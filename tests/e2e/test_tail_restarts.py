"""`loom push` and `loom tail` while their server is killed and restarted: no byte differs."""

import asyncio
import socket

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.test_push_restarts import reached
from tests.support.program import program

RESTARTS = 10
LINES = 400
"""Lines between two restarts."""


@pytest.mark.timeout(120)
async def test_a_tail_resumes_at_its_byte_through_ten_restarts(serve: Serve):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = await serve(port=port)
    env = {"LOOM_SERVER": server.url}
    sent = [f"{number:08} a line of a build\n".encode() for number in range(RESTARTS * LINES)]
    async with program("loom", "push", "s", env=env) as producer:
        producer.write(sent[0])
        await asyncio.wait_for(reached(server, len(sent[0])), 30)
        async with program("loom", "tail", "-n", "100", "s", env=env) as consumer:
            first = (await consumer.line()).encode()
            reading = asyncio.create_task(all_of(consumer))
            for restart in range(RESTARTS):
                producer.write(b"".join(sent[max(1, restart * LINES) : (restart + 1) * LINES]))
                await asyncio.wait_for(reached(server, restart * LINES * len(sent[0])), 30)
                await (server.kill() if restart % 2 else server.stop())
                server = await serve(port=port)
            await producer.end_input()
            assert (await asyncio.wait_for(producer.ended(), 60))[0] == 0
            got = await asyncio.wait_for(reading, 60)
            assert await consumer.ended() == (0, "")
    assert first + got == b"".join(sent)


async def all_of(process):
    whole = b""
    while line := await process.line():
        whole += line.encode()
    return whole

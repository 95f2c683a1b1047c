"""Large streams, and a reader that does not read."""

import asyncio
import hashlib
from asyncio.subprocess import PIPE

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import Content, bytes_of, follow, produce, send, soon
from tests.support.server import BIN, MIB, Server, tell

GIB = 1024 * MIB
RESIDENT = 100 * MIB
GROWTH = 48 * MIB
BLOCK = 10 * MIB
BLOCKS = 20
STUCK_SECONDS = 10.0


@pytest.mark.timeout(180)
async def test_a_gibibyte_is_returned_unchanged_and_costs_no_memory(serve: Serve, tool):
    server = await serve()
    starting = server.most_resident
    sent = await push(server, "large")
    received = await pull(tool("curl"), f"{server.url}/stream/large")
    most = server.most_resident
    tell(f"at most {starting >> 20} MiB while starting, {most >> 20} MiB in all")
    assert received == sent
    assert most < RESIDENT


async def push(server: Server, id: str) -> str:
    """Send 1 GiB of arbitrary bytes and return their SHA-256."""
    digest, content = hashlib.sha256(), Content(1)
    program = await asyncio.create_subprocess_exec(BIN / "stream", server.url, id, stdin=PIPE)
    assert program.stdin
    for number in range(GIB // MIB):
        block = number.to_bytes(8, "big") + content.at(number * 4099, MIB - 8)
        digest.update(block)
        program.stdin.write(block)
        await program.stdin.drain()
    program.stdin.close()
    assert await program.wait() == 0
    return digest.hexdigest()


async def pull(curl: str, url: str) -> str:
    digest = hashlib.sha256()
    program = await asyncio.create_subprocess_exec(curl, "-sS", url, stdout=PIPE, limit=MIB)
    assert program.stdout
    while data := await program.stdout.read(MIB):
        digest.update(data)
    assert await program.wait() == 0
    return digest.hexdigest()


@pytest.mark.timeout(120)
async def test_a_stuck_reader_slows_no_other_and_gets_every_byte_later(serve: Serve):
    server = await serve()
    content, size = Content(1), 0
    async with (
        produce(server, "/stream/flood") as producer,
        follow(server, "/stream/flood") as reader,
        follow(server, "/stream/flood", buffer=4096) as stuck,
    ):
        before = server.forget_peak()
        began = asyncio.get_running_loop().time()
        reading = bytes_of(reader)
        # The reader has each block before the next is sent: neither it nor the producer waits for `stuck`.
        for number in range(1, BLOCKS + 1):
            sending = asyncio.create_task(send(producer, content, size, BLOCK))
            while size < number * BLOCK:
                data = await soon(anext(reading))
                assert content.holds(size, data)
                size += len(data)
            await sending
            await asyncio.sleep(began + STUCK_SECONDS * number / BLOCKS - asyncio.get_running_loop().time())
        await producer.chunk(b"")
        assert await soon(producer.body()) == b""
        assert await soon(anext(reading, b"")) == b""
        growth = server.most_resident - before

        size = 0
        async for data in bytes_of(stuck):
            assert content.holds(size, data)
            size += len(data)
        assert size == BLOCKS * BLOCK
    tell(f"{growth >> 20} MiB more")
    assert growth < GROWTH

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import Content, ask, connect, follow, is_cut, produce, soon, take
from tests.support.server import Server, tell
from tests.support.wire import Wire

FIRST_ANSWER_CPU = 1.5
"""Seconds of CPU. The elapsed time depends on the load of this machine; bench/startup.py measures it."""
SHUTDOWN_SECONDS = 3


@pytest.mark.parametrize("data", ["new", "old"])
async def test_first_response_costs_a_second_or_so_of_cpu(serve: Serve, data: str):
    if data == "old":
        await (await serve()).kill()
    server = await serve()
    head, _ = await ask(server, "GET", "/healthz")
    tell(f"first answer after {server.cpu:.2f} s of CPU, at most {server.most_resident >> 20} MiB resident")
    assert head.status == 200
    assert server.cpu < FIRST_ANSWER_CPU


async def test_stop_leaves_live_streams_interrupted_with_every_byte(serve: Serve):
    server = await serve(shutdown_timeout=SHUTDOWN_SECONDS)
    contents = {f"/stream/{number}": Content(number).at(0, 10_000) for number in range(10)}
    async with AsyncExitStack() as stack:
        producers = [await stack.enter_async_context(produce(server, target)) for target in contents]
        followers = [await stack.enter_async_context(follow(server, target)) for target in [*contents] * 3]
        spy = await stack.enter_async_context(follow(server, "/spy"))
        idle = await stack.enter_async_context(connect(server))
        for producer, content in zip(producers, contents.values(), strict=True):
            await producer.chunk(content)
        for follower, content in zip(followers, [*contents.values()] * 3, strict=True):
            assert await follower.take(len(content)) == content

        assert await stopped(server) == 0
        assert all(await soon(asyncio.gather(*map(is_cut, [*producers, *followers, spy]))))
        assert await idle.ended() == b""

    again = await serve()
    for target, content in contents.items():
        head, body = await ask(again, "GET", f"{target}?notail")
        assert (head["x-stream-state"], body) == ("interrupted", content)
    assert await again.stop() == 0


async def test_neither_a_stuck_reader_nor_a_busy_producer_delays_the_stop(serve: Serve):
    server = await serve(shutdown_timeout=SHUTDOWN_SECONDS)
    content = Content(1)
    async with (
        produce(server, "/stream/busy") as producer,
        follow(server, "/stream/busy", buffer=4096),  # never reads
        follow(server, "/stream/busy") as reader,
    ):
        producing = asyncio.create_task(send_until_lost(producer, content))
        shown = await soon(take(reader, 8 << 20))
        assert await stopped(server) == 0
        sent = await soon(producing)
    assert content.holds(0, shown)

    again = await serve()
    head, body = await ask(again, "GET", "/stream/busy?notail")
    assert head["x-stream-state"] == "interrupted"
    assert len(shown) <= len(body) <= sent
    assert content.holds(0, body)


async def send_until_lost(producer: Wire, content: Content) -> int:
    sent = 0
    try:
        while True:
            data = content.at(sent, 1 << 16)
            sent += len(data)
            await producer.chunk(data)
    except ConnectionError:
        return sent


async def stopped(server: Server) -> int:
    """Stop the server and return its exit code, which arrives in time."""
    began = time.monotonic()
    code = await server.stop()
    took = time.monotonic() - began
    tell(f"stopped in {took:.2f} s")
    assert took < SHUTDOWN_SECONDS + 1.5
    return code

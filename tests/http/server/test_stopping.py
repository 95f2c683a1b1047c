"""The order of a shutdown, and what it does not wait for."""

import asyncio
import contextlib
import signal
import socket
import sys

import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import GET, Follower, answering, part, start
from tests.support.wire import Cut, Wire

from loom.http.server import Limits, Server, serving


class Running:
    """A server and the task that runs it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.task = asyncio.create_task(server.serve_until_stopped())
        self.port = int(server.url.rsplit(":", 1)[1])

    async def dial(self) -> Wire:
        client = await Wire.open("127.0.0.1", self.port)
        await client.send(GET)
        return client


async def test_stop_closes_the_listener_then_runs_on_stop_then_lets_responses_end():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        await send(part(b"a"))
        await drained.wait()
        await send(part(b"b", more=False))

    async def on_stop() -> None:
        with pytest.raises(ConnectionRefusedError):
            await running.dial()
        drained.set()

    drained = asyncio.Event()
    running = Running(Server(app, host="127.0.0.1", port=0, on_stop=on_stop))
    client = await running.dial()
    await client.answer()
    assert await client.read_chunk() == b"a"
    running.server.stop()
    assert await client.body() == b"b"
    assert await client.ended() == b""
    await running.task
    await client.close()


async def test_stop_closes_idle_connections_at_once():
    running = Running(Server(answering(200), host="127.0.0.1", port=0))
    client = await running.dial()
    await client.answer()
    running.server.stop()
    assert await client.ended() == b""
    await running.task
    await client.close()


async def test_responses_that_do_not_end_are_cut_at_the_deadline():
    async def on_stop() -> None:
        await asyncio.Event().wait()

    follower = Follower()
    running = Running(Server(follower, host="127.0.0.1", port=0, on_stop=on_stop, shutdown_timeout=0.1))
    client = await running.dial()
    await client.answer()
    running.server.stop()
    with pytest.raises(Cut):
        await client.body()
    await running.task
    await client.close()


class Endless:
    """An app that sends as fast as it can, until `end`."""

    def __init__(self) -> None:
        self.full = asyncio.Event()
        self.ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        while not self.ending:
            sending = asyncio.ensure_future(send(part(b"x" * 65_536)))
            await asyncio.wait({sending}, timeout=0.5)
            if not sending.done():
                self.full.set()
            await sending
        await send(part(b"end", more=False))

    async def end(self) -> None:
        self.ending = True


async def test_a_reader_that_reads_nothing_does_not_delay_the_stop():
    app = Endless()
    limits = Limits(stalled_timeout=0.1)
    running = Running(
        Server(app, host="127.0.0.1", port=0, on_stop=app.end, shutdown_timeout=1000, limits=limits)
    )
    client = await running.dial()
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await app.full.wait()
    running.server.stop()
    await running.task
    await client.close()


async def test_a_slow_reader_delays_the_stop_while_it_reads():
    """Each read extends the wait."""
    app = Endless()
    limits = Limits(stalled_timeout=0.5)
    running = Running(
        Server(app, host="127.0.0.1", port=0, on_stop=app.end, shutdown_timeout=1000, limits=limits)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1 << 16)
    writer.write(GET)
    client = Wire(reader, writer)
    await client.answer()
    await app.full.wait()
    running.server.stop()
    taken = 0
    while (piece := await client.read_chunk()) != b"end":
        taken += len(piece)
        if taken % (1 << 20) == 0:
            await asyncio.sleep(0.1)
    assert taken > 1 << 20
    assert await client.read_chunk() == b""
    await client.close()
    await running.task


@pytest.mark.parametrize("stuck", ["on_stop", "answer"])
async def test_second_stop_waits_for_nothing(stuck):
    async def on_stop() -> None:
        stopping.set()
        if stuck == "on_stop":
            await asyncio.Event().wait()

    stopping = asyncio.Event()
    running = Running(Server(Follower(), host="127.0.0.1", port=0, on_stop=on_stop, shutdown_timeout=1000))
    client = await running.dial()
    await client.answer()
    running.server.stop()
    await stopping.wait()
    running.server.stop()
    await running.task
    with pytest.raises(Cut):
        await client.body()
    await client.close()


async def test_error_of_on_stop_is_raised_after_the_stop():
    async def on_stop() -> None:
        raise ZeroDivisionError

    running = Running(Server(answering(200), host="127.0.0.1", port=0, on_stop=on_stop))
    client = await running.dial()
    await client.answer()
    running.server.stop()
    with pytest.raises(ZeroDivisionError):
        await running.task
    assert await client.ended() == b""
    await client.close()


async def test_stop_before_the_start_stops_the_server():
    async with serving(answering(200)):
        pass


async def test_an_address_in_use_is_an_error_of_the_system():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            Server(answering(200), host="127.0.0.1", port=taken.getsockname()[1])


async def test_ipv6_address_is_served_and_named_in_brackets():
    try:
        server = Server(answering(200), host="::1", port=0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    running = Running(server)
    assert server.url == f"http://[::1]:{running.port}"
    client = await Wire.open("::1", running.port)
    await client.send(GET)
    assert (await client.answer()).status == 200
    await client.close()
    server.stop()
    await running.task


PROGRAM = """
import asyncio, sys, uvloop
from loom.http.server import Server
from tests.http.server.support import Follower

async def on_stop():
    print("stopping", flush=True)
    if "stuck" in sys.argv:
        await asyncio.Event().wait()

async def main():
    server = Server(
        Follower(), host="127.0.0.1", port=0, shutdown_timeout=1000 if "stuck" in sys.argv else 0.1,
        on_listening=lambda url: print(url, flush=True), on_stop=on_stop,
    )
    await server.serve()
    print("closed", flush=True)

uvloop.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", ["once", "stuck"])
async def test_signal_stops_a_second_one_forces_and_code_after_serve_still_runs(number, mode):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, mode, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout
    try:
        port = int((await child.stdout.readline()).rsplit(b":", 1)[1])
        client = await Wire.open("127.0.0.1", port)
        await client.send(GET)
        await client.answer()
        child.send_signal(number)
        assert await child.stdout.readline() == b"stopping\n"
        if mode == "stuck":
            child.send_signal(number)
        assert await child.stdout.readline() == b"closed\n"
        assert await child.wait() == 0
        await client.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()

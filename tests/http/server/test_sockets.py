"""Clients that vanish without closing, and a process out of descriptors."""

import asyncio
import ctypes
import socket
import struct
import sys
import tempfile

import psutil
import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import CHUNKED_POST, GET, Seen, part, served, start
from tests.support.wire import Cut, Wire

from loom.http.server import Server

SO_ATTACH_FILTER = 26


def pull_the_plug(client: Wire) -> None:
    """Drop what arrives at the client before TCP sees it, as on a machine that lost power.

    A socket filter (linux/filter.h) of one instruction accepts no byte.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


async def wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Ticker:
    """An app that sends until its client disconnects, which sets `left`."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.started = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tick() -> None:
            await send(start(200))
            while True:
                await send(part(b"x" * 100_000))
                self.started.set()
                await asyncio.sleep(self.interval)

        ticking = asyncio.create_task(tick())
        await wait_for_disconnect(receive)
        self.left.set()
        ticking.cancel()


async def test_dead_reader_is_noticed():
    ticker = Ticker(0.02)
    async with served(ticker, dead_timeout=0.3, dead_check=0.05) as dial:
        client = await dial()
        await client.send(GET)
        await ticker.started.wait()
        pull_the_plug(client)
        await ticker.left.wait()


async def test_sending_a_file_to_a_dead_reader_ends():
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(wait_for_disconnect(receive))
        await send(start(200))
        while not leaving.done():
            await send({"type": "http.response.zerocopysend", "file": file, "more_body": True})
            started.set()
        ended.set()

    started, ended = asyncio.Event(), asyncio.Event()
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 20)
        async with served(app, dead_timeout=0.3, dead_check=0.05) as dial:
            client = await dial()
            await client.send(GET)
            await started.wait()
            pull_the_plug(client)
            await ended.wait()


async def test_reader_that_only_pauses_is_not_considered_dead():
    ticker = Ticker(0)
    async with served(ticker, dead_timeout=0.3, dead_check=0.05) as dial:
        client = await dial()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await ticker.started.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ticker.left.wait(), 1)


async def test_every_connection_is_probed_and_sends_without_delay():
    server = Server(Seen(), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve_until_stopped())
    client = await Wire.open("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    await client.send(GET)
    await client.answer()
    (connection,) = server.registry.connections
    sock = connection.transport.get_extra_info("socket")
    options = {
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 10,
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
        (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
    }
    assert {option: sock.getsockopt(*option) for option in options} == options
    await client.close()
    server.stop()
    await serving


async def answered(port: int) -> None:
    """Ask until a response arrives: the server may not have closed the old connections yet."""
    while True:
        client = await Wire.open("127.0.0.1", port)
        try:
            await client.send(GET)
            assert (await client.answer()).status == 200
            return
        except (Cut, ConnectionError):
            pass
        finally:
            await client.close()


FEW_DESCRIPTORS = """
import asyncio, os, resource, uvloop
from loom.http.server import Server
from tests.http.server.support import Seen

def listening(url):
    few = len(os.listdir("/proc/self/fd")) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    print(url, flush=True)

async def main():
    await Server(Seen(), host="127.0.0.1", port=0, on_listening=listening).serve()

uvloop.run(main())
"""


async def test_server_out_of_descriptors_neither_exits_nor_spins():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FEW_DESCRIPTORS, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout
    port = int((await child.stdout.readline()).rsplit(b":", 1)[1])
    try:
        clients = []
        for _ in range(50):
            clients.append(await Wire.open("127.0.0.1", port))
            await clients[-1].send(CHUNKED_POST)
            await asyncio.sleep(0.005)  # the server may start it before it has to close an idle one
        before = sum(psutil.Process(child.pid).cpu_times()[:2])
        await asyncio.sleep(0.5)
        assert sum(psutil.Process(child.pid).cpu_times()[:2]) - before < 0.1
        await clients[0].send(b"0\r\n\r\n")
        assert (await clients[0].answer()).status == 200
        for client in clients:
            await client.close()
        await answered(port)
        idle = [await Wire.open("127.0.0.1", port) for _ in range(50)]
        await answered(port)
        assert await idle[0].ended() == b"", "the oldest idle one makes room"
        for client in idle:
            await client.close()
    finally:
        child.terminate()
        assert await child.wait() == 0

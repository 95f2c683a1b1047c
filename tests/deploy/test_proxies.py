"""Loom behind real proxies, configured by the files in deploy/: nothing is delayed, changed or cut."""

import asyncio
import hashlib
import os
import socket
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support.program import free_port
from tests.support.server import Server
from tests.support.wire import Wire

DEPLOY = Path(__file__).parents[2] / "deploy"
LOOM = "127.0.0.1:3060"
MIB = 1 << 20
UPLOAD = 100 * MIB
RATE = 40 * MIB
"""What the slow way to Loom lets through in a second, in each direction."""


def nginx(port: int, home: Path, config: str) -> list[str]:
    """Build the whole configuration around the example, which is a file for Debian's conf.d."""
    site = config.replace("listen 80;", f"listen 127.0.0.1:{port};")
    assert site != config
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    (home / "nginx.conf").write_text(
        f"{user}daemon off;\npid {home}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return ["nginx", "-p", str(home), "-e", "stderr", "-c", str(home / "nginx.conf")]


def caddy(port: int, home: Path, config: str) -> list[str]:
    site = config.replace("loom.example {", f"http://:{port} {{")
    assert site != config
    (home / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile")]


def haproxy(port: int, home: Path, config: str) -> list[str]:
    site = config.replace("bind :80", f"bind 127.0.0.1:{port}")
    assert site != config
    (home / "haproxy.cfg").write_text(site)
    return ["haproxy", "-db", "-f", str(home / "haproxy.cfg")]


PROXIES: dict[str, tuple[str, Callable[[int, Path, str], list[str]]]] = {
    "nginx": ("nginx.conf", nginx),
    "caddy": ("Caddyfile", caddy),
    "haproxy": ("haproxy.cfg", haproxy),
}


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as each:
        each.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        # To its end: until then a proxy counts it among the connections of this address.
        return b"".join(iter(lambda: each.recv(4096), b"")).startswith(b"HTTP/1.1 200")
    return False


@asynccontextmanager
async def proxied(
    proxy: tuple[str, str], target: int, home: Path, changes: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """The proxy as its example sets it up, but for `changes`, in front of the port `target`; gives its own
    port."""
    name, path = proxy
    port = free_port()
    file, command = PROXIES[name]
    example = (DEPLOY / file).read_text()
    config = example.replace(LOOM, f"127.0.0.1:{target}")
    assert config != example
    for old, new in (changes or {}).items():
        assert old in config
        config = config.replace(old, new)
    _, *rest = command(port, home, config)
    async with running([path, *rest], port, home):
        yield port


@asynccontextmanager
async def running(command: list[str], port: int, home: Path) -> AsyncIterator[None]:
    """Run a proxy, from the moment at which Loom answers through its port."""
    log = home / "proxy.log"
    env = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=out, stderr=STDOUT, env=env
        )
    try:
        # In a thread: this loop may run the relay between the proxy and Loom.
        while process.returncode is None and not await asyncio.to_thread(answers, port):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert process.returncode is None, log.read_text()
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def slow_way(target: int) -> AsyncIterator[int]:
    """Run a relay that passes RATE bytes a second in each direction and buffers almost nothing."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        with suppress(ConnectionError):
            while data := await reader.read(256 << 10):
                due = max(due, loop.time()) + len(data) / RATE
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(due - loop.time())
            if not writer.is_closing():
                writer.write_eof()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
            try:
                await asyncio.gather(pump(reader, back), pump(there, writer))
            finally:
                back.close()
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=256 << 10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, tool) -> tuple[str, str]:
    """Return the name of a proxy and the path of its program."""
    return request.param, tool(request.param)


async def test_live_log_passes_line_by_line_in_both_directions(proxy, server: Server, tmp_path: Path):
    async with proxied(proxy, server.port, tmp_path) as port:
        creating = await Wire.open("127.0.0.1", port)
        await creating.request("POST", "/stream/log", b"", upload_complete="?0")
        assert (await creating.answer()).status == 201
        await creating.body()
        follower = await Wire.open("127.0.0.1", port)
        await follower.request("GET", "/stream/log")
        producer = await Wire.open("127.0.0.1", port)
        await producer.request(
            *("PATCH", "/stream/log"),
            transfer_encoding="chunked",
            content_type="application/partial-upload",
            upload_offset=0,
            upload_complete="?1",
        )
        lines = [f"line {number} \r\n".encode() + bytes([number]) for number in range(6)]
        # Each line is sent only after the one before was read: a proxy that delays one stops the exchange.
        for number, line in enumerate(lines):
            await producer.chunk(line)
            if number == 0:
                assert (await follower.answer()).status == 200
            assert await follower.take(len(line)) == line
        await producer.chunk(b"")
        assert (await producer.answer()).status == 204
        assert producer.head["upload-offset"] == str(sum(map(len, lines)))
        assert await follower.body() == b""
        for wire in (creating, follower, producer):
            await wire.close()


async def test_large_upload_over_a_slow_path_is_the_same_at_both_ends(proxy, server: Server, tmp_path: Path):
    block = os.urandom(MIB)
    sent, got = hashlib.sha256(), hashlib.sha256()
    async with slow_way(server.port) as slow, proxied(proxy, slow, tmp_path) as port:
        producer = await Wire.open("127.0.0.1", port)
        await producer.request("POST", "/stream/large", content_length=UPLOAD, expect="")
        for number in range(UPLOAD // MIB):
            piece = number.to_bytes(4) + block[4:]
            sent.update(piece)
            await producer.send(piece)
        assert (await producer.answer()).status == 201
        await producer.body()
        await producer.close()

        reader = await Wire.open("127.0.0.1", port)
        await reader.request("GET", "/stream/large")
        assert (await reader.answer()).status == 200
        assert reader.head["x-stream-state"] == "complete"
        while piece := await some(reader):
            got.update(piece)
        await reader.close()
    assert got.digest() == sent.digest()


async def test_nginx_refuses_more_connections_of_one_address_than_its_example_allows(
    server: Server, tool, tmp_path: Path
):
    way, few = ("nginx", tool("nginx")), {"limit_conn loom 200;": "limit_conn loom 2;"}
    async with proxied(way, server.port, tmp_path, few) as port:
        readers = [await Wire.open("127.0.0.1", port) for _ in range(3)]
        for reader, status in zip(readers, (200, 200, 429), strict=True):
            await reader.request("GET", "/spy")
            assert (await reader.answer()).status == status
        for reader in readers:
            await reader.close()


async def some(wire: Wire) -> bytes:
    """Return the next bytes of the response in any framing; empty at its end."""
    if "content-length" in wire.head:
        left = int(wire.head["content-length"])
        data = await wire.reader.read(min(MIB, left))
        wire.head.headers["content-length"] = str(left - len(data))
        assert data or not left, "cut"
        return data
    return await wire.read_chunk()


@pytest.mark.parametrize("file", [file for file, _ in PROXIES.values()])
def test_no_timeout_is_short_enough_to_cut_a_silent_stream(file):
    words = (DEPLOY / file).read_text().split("\n")
    timeouts = [line.split("#")[0].split() for line in words if "timeout" in line.split("#")[0]]
    short = {"connect", "http-request"}
    assert all(line[-1].rstrip(";") == "24h" or set(line) & short for line in timeouts)

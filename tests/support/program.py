"""Our programs as real processes, and a server that a test controls."""

import asyncio
import os
import random
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    """Return this environment without variables that our programs read."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LOOM_")}


def free_port() -> int:
    """Return a port on which nothing listens, and which the system gives to no connection meanwhile."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", random.randrange(first // 2, first))) as each,
        ):
            return int(each.getsockname()[1])


class Program:
    """A running program."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def write(self, data: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(data)

    async def end_input(self) -> None:
        """Close standard input."""
        assert self._process.stdin
        self._process.stdin.close()
        with suppress(ConnectionError):
            await self._process.stdin.wait_closed()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def line(self) -> str:
        """Return the next line of standard output."""
        assert self._process.stdout
        return (await self._process.stdout.readline()).decode()

    async def log_line(self) -> str:
        """Return the next line of standard error."""
        assert self._process.stderr
        return (await self._process.stderr.readline()).decode()

    async def ended(self) -> tuple[int, str]:
        """Wait for the end with input left open; return the exit code and the rest of standard error."""
        err = b"" if self._process.stderr is None else await self._process.stderr.read()
        return await self._process.wait(), err.decode()


@asynccontextmanager
async def program(
    name: str,
    *arguments: str | Path,
    stdin: int = PIPE,
    stderr: int = PIPE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Program]:
    """Start a program and kill it at the end of the block. `env` is added to the environment."""
    process = await asyncio.create_subprocess_exec(
        BIN / name,
        *arguments,
        stdin=stdin,
        stdout=PIPE,
        stderr=stderr,
        env=environment() | dict(env or {}),
        cwd=cwd,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(
    name: str, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[int, str, str]:
    """Run a program without input; return exit code, standard output and standard error."""
    async with program(name, *arguments, stdin=asyncio.subprocess.DEVNULL, env=env, cwd=cwd) as running:
        out, err = await running._process.communicate()
        code, _ = await running.ended()
    return code, out.decode(), err.decode()


class Peer:
    """One connection that a `Listener` accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> str:
        """Return the head of the request."""
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def chunk(self) -> bytes:
        """Return the next chunk of the request's body; the last one is empty."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def body(self) -> bytes:
        """Return the rest of the request's body."""
        whole = bytearray()
        while piece := await self.chunk():
            whole += piece
        return bytes(whole)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Listener:
    """A server whose connections the test answers itself."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._taken: list[asyncio.StreamWriter] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def listening(cls, tls: ssl.SSLContext | None = None) -> AsyncIterator["Listener"]:
        """Listen while the block runs."""
        listener = cls()
        await listener.open(tls)
        try:
            yield listener
        finally:
            await listener.close()

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=1 << 22, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._taken.append(writer)
        self._peers.put_nowait(Peer(reader, writer))

    @property
    def accepted(self) -> int:
        """How many connections were opened."""
        return len(self._taken)

    async def accept(self) -> Peer:
        """Return the next connection."""
        return await self._peers.get()

    async def close(self) -> None:
        """Stop listening, and cut every connection."""
        assert self._server
        self._server.close()
        for writer in self._taken:
            writer.transport.abort()
        await self._server.wait_closed()

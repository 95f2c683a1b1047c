"""Producers and followers on raw connections: each records the bytes that it sent or received."""

import asyncio
import random
import socket
from asyncio import IncompleteReadError
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tests.support.server import PATIENCE, Server
from tests.support.wire import Cut, Head, Wire

T = TypeVar("T")
PERIOD = 1 << 20
PAD = random.Random(3060).randbytes(PERIOD) * 2
STRIDE = 104_729  # prime to the period


class Content:
    """The bytes of a numbered stream: endless, known at every offset, different for every number."""

    def __init__(self, number: int) -> None:
        self._shift = number * STRIDE % PERIOD

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes [offset, offset + size), at most one period."""
        assert size <= PERIOD
        start = (self._shift + offset) % PERIOD
        return PAD[start : start + size]

    def holds(self, offset: int, data: bytes) -> bool:
        """Return True if the content at `offset` is `data`."""
        return all(
            data[at : at + PERIOD] == self.at(offset + at, min(PERIOD, len(data) - at))
            for at in range(0, len(data), PERIOD)
        )


class Peer(Wire):
    """A connection whose loss always raises ConnectionError."""

    async def send(self, data: bytes) -> None:
        self._check()
        await super().send(data)

    def reset(self) -> None:
        self._check()
        super().reset()

    def _check(self) -> None:
        if self.writer.transport.is_closing():  # uvloop knows nothing of it any more
            raise ConnectionResetError


@asynccontextmanager
async def connect(server: Server, *, buffer: int = 0) -> AsyncIterator[Wire]:
    """Open a raw connection; `buffer` limits the bytes that its receiving end holds."""
    sock = socket.socket()
    try:
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    except BaseException:
        sock.close()
        raise
    wire = Peer(*await asyncio.open_connection(sock=sock, limit=buffer or 1 << 18))
    try:
        yield wire
    finally:
        await wire.close()


@asynccontextmanager
async def produce(server: Server, target: str, **headers: object) -> AsyncIterator[Wire]:
    """Start a producer: it has received 201 and has sent no byte."""
    async with connect(server) as wire:
        await wire.post(target, **headers)
        assert (await wire.answer()).status == 201
        yield wire


@asynccontextmanager
async def follow(server: Server, target: str, *, buffer: int = 0) -> AsyncIterator[Wire]:
    """Start a reader that has received the head of its response."""
    async with connect(server, buffer=buffer) as wire:
        await wire.request("GET", target)
        assert (await wire.answer()).status == 200
        yield wire


async def ask(server: Server, method: str, target: str, **headers: Any) -> tuple[Head, bytes]:
    """Send a request without a body and return its whole response."""
    async with connect(server) as wire:
        await wire.request(method, target, connection="close", **headers)
        await wire.answer()
        return wire.head, b"" if method == "HEAD" else await wire.body()


async def bytes_of(wire: Wire) -> AsyncIterator[bytes]:
    """Yield the body of a response as it arrives. Raises Cut where it is cut."""
    try:
        if "content-length" in wire.head:
            left = int(wire.head["content-length"])
            while left:
                data = await wire.reader.read(min(left, 1 << 16))
                if not data:
                    raise Cut
                left -= len(data)
                yield data
        else:
            while data := await wire.read_chunk():
                yield data
    except (IncompleteReadError, ConnectionError) as error:
        raise Cut from error


async def send(wire: Wire, content: Content, offset: int, size: int) -> None:
    """Send bytes [offset, offset + size) as pieces of a chunked body."""
    stop = offset + size
    while offset < stop:
        data = content.at(offset, min(1 << 18, stop - offset))
        await wire.chunk(data)
        offset += len(data)


async def take(wire: Wire, least: int) -> bytes:
    """Return at least so many of the next bytes."""
    data = bytearray()
    async for piece in bytes_of(wire):
        data += piece
        if len(data) >= least:
            break
    return bytes(data)


async def is_cut(wire: Wire) -> bool:
    """Read to the end of the response; return True if it was cut."""
    try:
        async for _ in bytes_of(wire):
            pass
    except Cut:
        return True
    return False


async def soon(coming: Awaitable[T]) -> T:
    """Await something with a time limit, so that a failure shows where it hung."""
    return await asyncio.wait_for(coming, PATIENCE)

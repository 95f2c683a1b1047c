"""A raw HTTP client for tests: returns framing exactly as received and sends what no library would."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any


class Cut(Exception):
    """The connection ended before the response did."""


@dataclass(frozen=True)
class Head:
    """Status line and headers of a response, with names in lower case."""

    version: str
    status: int
    headers: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.headers[name]

    def __contains__(self, name: str) -> bool:
        return name in self.headers


class Wire:
    """One connection. `head` is that of the last response."""

    head: Head

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Wire":
        return cls(*await asyncio.open_connection(host, port, limit=1 << 24))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, method: str, target: str, body: bytes | None = None, version: str = "1.1", **headers: Any
    ) -> None:
        """Send a request; with a body its Content-Length too. `x_y="z"` is the header x-y."""
        fields = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            fields["content-length"] = len(body)
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + (body or b""))

    async def post(self, target: str, **headers: Any) -> None:
        """Begin a POST with a chunked body."""
        await self.request("POST", target, transfer_encoding="chunked", **headers)

    async def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked body; an empty one ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def answer(self) -> Head:
        """Return the next status line and headers."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, _ = f"{first} ".split(" ", 2)
        pairs = [line.split(": ", 1) for line in lines]
        names = [name.lower() for name, _ in pairs]
        assert len(set(names)) == len(names), f"a header came twice: {names}"
        self.head = Head(version, int(status), dict(zip(names, (value for _, value in pairs), strict=True)))
        return self.head

    async def read_chunk(self) -> bytes:
        """Return the next chunk as it was framed; empty at the end."""
        try:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error

    async def take(self, size: int) -> bytes:
        """Return so many bytes of a chunked response, from any number of chunks."""
        data = b""
        while len(data) < size:
            chunk = await self.read_chunk()
            assert chunk, f"ended after {data!r}"
            data += chunk
        assert len(data) == size, data
        return data

    async def body(self) -> bytes:
        """Return the rest of the body by the framing of the response. Raises Cut with the bytes received
        before.
        """
        data = b""
        try:
            if "content-length" in self.head:
                return await self.reader.readexactly(int(self.head["content-length"]))
            if self.head.headers.get("transfer-encoding") == "chunked":
                while chunk := await self.read_chunk():
                    data += chunk
                return data
            return await self.reader.read()
        except (Cut, asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(data or getattr(error, "partial", b"")) from error

    async def until(self, end: bytes) -> bytes:
        """Return the bytes of a chunked response up to and including `end`."""
        data = b""
        while not data.endswith(end):
            chunk = await self.read_chunk()
            assert chunk, f"ended after {data!r}"
            data += chunk
        return data

    async def ended(self) -> bytes:
        """Return everything until the server closes; a reset counts as an end."""
        data = b""
        try:
            while piece := await self.reader.read(65536):
                data += piece
        except ConnectionError:
            pass
        return data

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Close with RST, as a killed process or a firewall does."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass

    def unread(self) -> bytes:
        """Return the bytes that were received and not read."""
        return bytes(self.reader._buffer)  # type: ignore[attr-defined]

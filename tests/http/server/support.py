"""Small apps, and a server for each test."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.support.wire import Wire

from loom.http.server import Limits, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Dial(Protocol):
    """Opens a connection, which `served` closes at its end."""

    async def __call__(self, tls: ssl.SSLContext | None = None) -> Wire: ...


@asynccontextmanager
async def served(app: ASGIApp, *, tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[Dial]:
    """Run a server, and yield a function that connects to it."""
    async with serving(app, limits=Limits(**limits), tls=tls, shutdown_timeout=1) as url:
        host, port = urlsplit(url).netloc.split(":")
        clients: list[Wire] = []

        async def dial(tls: ssl.SSLContext | None = None) -> Wire:
            clients.append(Wire(*await asyncio.open_connection(host, port, ssl=tls, limit=1 << 24)))
            return clients[-1]

        try:
            yield dial
        finally:
            for client in clients:
                await client.close()


class Seen:
    """An app that keeps every request and responds with its body, or not at all if the body breaks off."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body = b""
        more = True
        while more:
            message = await receive()
            self.messages.put_nowait(message)
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        await send(start(200, [(b"content-length", b"%d" % len(body))]))
        await send(part(body, more=False))

    async def delivered(self) -> tuple[bytes, str]:
        """Return all bytes of the next request, and how they ended: `end` or `disconnect`."""
        body = b""
        while True:
            message = await self.messages.get()
            if message["type"] == "http.disconnect":
                return body, "disconnect"
            body += message["body"]
            if not message["more_body"]:
                return body, "end"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the last request."""
        headers: list[tuple[bytes, bytes]] = self.scopes[-1]["headers"]
        return headers


class Follower:
    """An app whose response lasts until the client disconnects, which sets `left`."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        await send(part(b"first"))
        self.started.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


async def send_in_steps(client: Wire, data: bytes, step: int) -> None:
    """Send pieces of `step` bytes so that the server, which shares this loop, reads each by itself."""
    for start in range(0, len(data), step):
        client.writer.write(data[start : start + step])
        await asyncio.sleep(0)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Poll for a condition that has no event."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def start(status: int, headers: list[tuple[bytes, bytes]] | None = None) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers or []}


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def answering(status: int, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> ASGIApp:
    """Return an app that responds immediately and never receives the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status, [(b"content-length", b"%d" % len(body)), *(headers or [])]))
        await send(part(body, more=False))

    return app

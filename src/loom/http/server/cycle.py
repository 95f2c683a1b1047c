"""One request and its response: the `receive` and `send` of an app (ASGI 3, HTTP 2.3).

Owns the body as it arrives, and how the response ends: one that is not complete is cut.
Knows nothing of parsing: the connection calls the methods named `on_…`, and is called when the cycle is
finished.
"""

import asyncio
import os
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.errors import LoomError
from loom.http.extensions import CROWD, ZERO_COPY
from loom.http.headers import Headers
from loom.http.problem import problem, problem_of
from loom.http.server.channel import Channel
from loom.http.server.request import Refusal
from loom.http.server.response import CONTINUE, LAST_CHUNK, Framing, make_chunk, make_head

RECEIVE_BUFFER = 64 << 10
"""Reading pauses while the app has yet to receive more than this many bytes of the body."""

CHUNKED, LENGTH, CLOSE, NO_BODY = Framing.CHUNKED, Framing.LENGTH, Framing.CLOSE, Framing.NO_BODY

FRAMES: dict[Framing | None, Callable[[bytes], bytes]] = {CHUNKED: make_chunk, CLOSE: bytes}
"""How a crowd frames a part of a body, where its length need not be known."""

log = structlog.get_logger("loom")


class Cycle:
    """A request as it arrives, and its response.

    `received`: the whole request has arrived. `disconnected`: no more of it will arrive, whole or not.
    `finished`: the response is complete, or never will be. `framing` is None until the response starts.
    """

    framing: Framing | None = None
    received = False
    disconnected = False
    finished = False
    whole = False
    """True if the response was sent as one whole, its end included."""
    size = 0
    """Bytes of the head."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        channel: Channel,
        on_finished: Callable[["Cycle"], None],
        *,
        keep_alive: bool,
        expects_continue: bool = False,
    ) -> None:
        self.app = app
        self.scope = scope
        self.channel = channel
        self.keep_alive = keep_alive
        self._on_finished = on_finished
        self._expects_continue = expects_continue
        self._parts: list[bytes] = []
        self.buffered = 0
        self._end_delivered = False
        self._unsent: list[bytes] = []  # the head, until the first part of the body
        self._left = 0  # of a Content-Length
        self._changed = asyncio.Event()

    # The connection's side.

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body. Pause reading while the app has not received the pieces before."""
        if not self.finished:
            self._parts.append(data)
            self.buffered += len(data)
            if self.buffered > RECEIVE_BUFFER:
                self.channel.pause_reading()
            self._changed.set()

    def on_body_end(self) -> None:
        """Note that the request is whole."""
        self.received = True
        self._changed.set()

    def on_disconnect(self) -> None:
        """Note that no more will arrive. The app receives the bytes that did before the disconnect."""
        self.disconnected = True
        self._changed.set()

    async def run(self) -> None:
        """Run the app, and send a response or cut the connection if it fails to."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except LoomError as error:
            await self._fail(problem_of(error))
        except Exception as error:
            await self._fail(problem(500, "internal", "The server failed; see its log."))
            log.error("the app failed", path=self.scope.get("path"), exc_info=error)
        else:
            if not self.finished and not self.disconnected and not self.channel.gone:
                await self._fail(problem(500, "internal", "The server did not send a response."))
                log.error("the app did not complete its response", path=self.scope.get("path"))
        finally:
            if not self.finished:
                # A client that ended its request early, and got no response, may have requests before that
                # wait, or a refusal: the connection continues with those.
                if self.framing or not self.disconnected:
                    self._cut()
                self._finish()

    # The app's side.

    async def receive(self) -> Message:
        """Return the bytes that arrived since the last call; wait for some; then return `http.disconnect`."""
        self._send_continue()
        while not self._parts:
            if self.received and not self._end_delivered:
                break
            if self.disconnected or self.finished:
                return {"type": "http.disconnect"}
            self._changed.clear()
            await self._changed.wait()
        parts, self._parts, self.buffered = self._parts, [], 0
        self.channel.resume_reading()
        self._end_delivered = self.received
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self.received}

    async def send(self, message: Message) -> None:
        """Send a part of the response. Wait while the client lags; do nothing once it has disconnected."""
        channel = self.channel
        if channel.write_paused:
            await channel.wait_to_write()
        if channel.gone:
            await asyncio.sleep(0)  # an app that only sends would never let its loop report or cancel
            return
        kind = message["type"]
        if self.framing is None:
            if kind != "http.response.start":
                raise RuntimeError(f"A response starts with http.response.start, not with {kind}.")
            self._start(message)
        elif self.finished:
            raise RuntimeError(f"The response is complete: {kind} is not allowed.")
        elif kind == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == CROWD and self.framing in FRAMES:
            self._send_body(b"", True)
            await channel.wait_joined(message["member"], FRAMES[self.framing])
        elif kind == ZERO_COPY and channel.zero_copy:
            await self._send_file(message)
            if not channel.gone:
                self._send_body(b"", message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is not a part of a response.")

    def _send_continue(self) -> None:
        """Send a 100 if the client waits for it before the body (RFC 9110 section 10.1.1)."""
        if self._expects_continue:
            self._expects_continue = False
            if not (self.framing or self._parts or self.received or self.disconnected):
                self.channel.write(CONTINUE)

    def _start(self, message: Message) -> None:
        """Make the head. It leaves with the first part of the body, as ASGI requires."""
        status = message["status"]
        if not self.received:
            # A success that starts early goes out while the body still arrives. Any other response replaces
            # the rest of the request, and the connection cannot be used after that.
            if status < 300:
                self._send_continue()
            else:
                self.keep_alive = False
        head = make_head(
            status,
            message.get("headers", ()),
            method=self.scope["method"],
            http_version=self.scope["http_version"],
            keep_alive=self.keep_alive,
        )
        self.framing, self._left, self.keep_alive = head.framing, head.length, head.keep_alive
        self._unsent = [head.data]

    def _send_body(self, body: bytes, more: bool) -> None:
        size = len(body)
        self.whole = bool(self._unsent) and not more
        out, self._unsent = self._unsent, []
        if self.framing is CHUNKED:
            if size:
                out += (b"%x\r\n" % size, body, b"\r\n")
            if not more:
                out.append(LAST_CHUNK)
        elif self.framing is not NO_BODY:
            self._count(size)
            out.append(body)
        if self._left and not more:
            raise RuntimeError("The response is shorter than its Content-Length.")
        # One write: asyncio's writelines has no backpressure, and spins on empty parts.
        self.channel.write(out[0] if len(out) == 1 else b"".join(out))
        if not more:
            self._finish()

    async def _send_file(self, message: Message) -> None:
        """Send a slice of an open file (ASGI extension `http.response.zerocopysend`)."""
        file = message["file"] if isinstance(message["file"], int) else message["file"].fileno()
        offset, count = message.get("offset"), message.get("count")
        if offset is None:
            offset = os.lseek(file, 0, os.SEEK_CUR)
        if count is None:
            count = os.fstat(file).st_size - offset
        if self.framing is NO_BODY or not count:
            return
        out, self._unsent = self._unsent, []
        if self.framing is CHUNKED:
            out.append(b"%x\r\n" % count)
            self._unsent = [b"\r\n"]
        else:
            self._count(count)
        try:
            self.channel.write(b"".join(out))
            await self.channel.send_file(file, offset, count)
        except BaseException:
            self._cut()
            raise

    def _count(self, size: int) -> None:
        if self.framing is LENGTH:
            if size > self._left:
                raise RuntimeError("The response is longer than its Content-Length.")
            self._left -= size

    async def _fail(self, response: tuple[int, Headers, bytes]) -> None:
        """Send a whole response, or cut the one that has started."""
        if self.framing is None:
            await respond(self.send, response)
        elif not self.finished:
            self._cut()

    def _cut(self) -> None:
        self.channel.cut(reset=self.framing is CLOSE)

    def _finish(self) -> None:
        """Discard the rest of the request, and let the connection continue."""
        self.finished = True
        self._parts.clear()
        self._changed.set()
        self._on_finished(self)


def refusing(refusal: Refusal) -> ASGIApp:
    """Return an app that answers with `refusal`."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, problem(*refusal))

    return refuse


async def respond(send: Send, response: tuple[int, Headers, bytes]) -> None:
    """Send a whole response."""
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

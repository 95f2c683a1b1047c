"""One request and its answer: the two ends that the app holds, `receive` and `send` (ASGI 3, HTTP 2.3).

Owns the framing of the answer and the truth of its end: an answer that does not reach it is cut. Knows
nothing of parsing; the protocol feeds it and is told when the answer is over.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache

import structlog
from starlette.types import ASGIApp, Message, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE
from uvicorn.server import ServerState

from loom.errors import LoomError
from loom.http.problem import Headers, problem, problem_of
from loom.http.server.wire import Wire

SHARED_BELOW = 16 << 10
"""A piece smaller is framed once for all who send it; hashing a larger one costs more than a copy."""

log = structlog.get_logger("loom")


class Framing(Enum):
    """How the other end knows where an answer ends (RFC 9112 section 6.3)."""

    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3
    NO_BODY = 4


CHUNKED, LENGTH, NO_BODY = Framing.CHUNKED, Framing.LENGTH, Framing.NO_BODY


class Cycle:
    """A request as it comes in, and its answer.

    `ended`: the whole request was received. `hung_up`: no more of it will come, ended or not. `over`: the
    answer is complete, or will never be given. `framing` is None until the answer has begun.
    """

    framing: Framing | None = None
    ended = False
    hung_up = False
    over = False

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        wire: Wire,
        state: ServerState,
        on_over: Callable[["Cycle"], None],
        *,
        keep_alive: bool,
        expects_continue: bool = False,
    ) -> None:
        self.app = app
        self.scope = scope
        self.wire = wire
        self.keep_alive = keep_alive
        self._state = state
        self._on_over = on_over
        self._expects_continue = expects_continue
        self._parts: list[bytes] = []
        self._buffered = 0
        self._end_told = False
        self._left = 0
        self._unsent: list[bytes] = []
        self._news = asyncio.Event()

    # What the protocol tells.

    def feed(self, data: bytes) -> None:
        """Some more of the body; when the app is behind, no more is read from the connection."""
        if not self.over:
            self._parts.append(data)
            self._buffered += len(data)
            if self._buffered > HIGH_WATER_LIMIT:
                self.wire.pause_reading()
            self._news.set()

    def end(self) -> None:
        """The body is whole."""
        self.ended = True
        self._news.set()

    def hang_up(self) -> None:
        """No more will come; the app is told after the bytes that did."""
        self.hung_up = True
        self._news.set()

    # What the app calls.

    async def receive(self) -> Message:
        """The bytes received since the last call, else wait for some; `http.disconnect` after the last."""
        self._continue()
        while not self._parts:
            if self.ended and not self._end_told:
                break
            if self.hung_up or self.over:
                return {"type": "http.disconnect"}
            self._news.clear()
            await self._news.wait()
        parts, self._parts, self._buffered = self._parts, [], 0
        self.wire.resume_reading()
        self._end_told = self.ended
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self.ended}

    async def send(self, message: Message) -> None:
        """Send a part of the answer; waits while too much is unsent, does nothing once the client is gone."""
        wire = self.wire
        if wire.write_paused:
            await wire.drain()
        if wire.gone:
            await asyncio.sleep(0)  # let an app that only sends be told, or cancelled
            return
        kind = message["type"]
        if self.framing is None:
            if kind != "http.response.start":
                raise RuntimeError(f"An answer starts with http.response.start, not {kind}.")
            self._start(message["status"], message.get("headers", ()))
        elif self.over:
            raise RuntimeError(f"The answer is complete: no {kind} may follow.")
        elif kind == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.zerocopysend" and wire.zero_copy:
            await self._send_file(message)
            if not wire.gone:
                self._send_body(b"", message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} is no part of an answer.")

    async def run(self) -> None:
        """Let the app answer; whatever it leaves undone is answered or cut."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except LoomError as error:
            await self._fail(problem_of(error))
        except Exception as error:
            await self._fail(problem(500, "internal", "The server failed; its log says how."))
            log.error("the app failed", path=self.scope.get("path"), exc_info=error)
        else:
            if not self.over and not self.hung_up and not self.wire.gone:
                await self._fail(problem(500, "internal", "The server did not answer."))
                log.error("the app left its answer unfinished", path=self.scope.get("path"))
        finally:
            if not self.over:
                if self.framing or not self.hung_up:
                    self._cut()
                self._leave()

    def _continue(self) -> None:
        """Ask for the body if the client waits for that (RFC 9110 section 10.1.1).

        An early answer of success asks too: it goes out while the body comes in.
        """
        if self._expects_continue:
            self._expects_continue = False
            if not (self.framing or self._parts or self.ended or self.hung_up):
                self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the head; it leaves with the first part of the body, as ASGI asks.

        Connection and Transfer-Encoding are ours to say; what the app says of the first is a wish.
        """
        if not self.ended and status < 300:
            self._continue()
        elif not self.ended:
            self.keep_alive = False
        lines = [STATUS_LINE[status]]
        length: int | None = None
        for name, value in [*self._state.default_headers, *headers]:
            if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                raise RuntimeError(f"{name!r} or its value may not be a header.")
            name = name.lower()
            if name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            if name == b"transfer-encoding":
                continue
            if name == b"content-length":
                length = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        self.framing = self._choose_framing(status, length)
        if self.framing is LENGTH:
            self._left = length or 0
        elif self.framing is CHUNKED:
            lines.append(b"transfer-encoding: chunked\r\n")
        if self.framing is Framing.CLOSE:
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._unsent = [b"".join(lines)]

    def _choose_framing(self, status: int, length: int | None) -> Framing:
        if self.scope["method"] == "HEAD" or status in (204, 304):
            return NO_BODY
        if length is not None:
            return LENGTH
        return CHUNKED if self.scope["http_version"] == "1.1" else Framing.CLOSE

    def _send_body(self, body: bytes, more: bool) -> None:
        size = len(body)
        out, self._unsent = self._unsent, []
        if self.framing is CHUNKED:
            if 0 < size < SHARED_BELOW:
                out.append(chunk_of(body))
            elif size:
                out += (b"%x\r\n" % size, body, b"\r\n")
            if not more:
                out.append(b"0\r\n\r\n")
        elif self.framing is not NO_BODY:
            self._count(size)
            out.append(body)
        if self._left and not more:
            raise RuntimeError("The answer is shorter than its Content-Length.")
        self.wire.write(b"".join(out))  # asyncio's writelines knows no backpressure and spins on empty parts
        if not more:
            self._leave()

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
        out, self._unsent = self._unsent, [b"\r\n"] if self.framing is CHUNKED else []
        if self.framing is CHUNKED:
            out.append(b"%x\r\n" % count)
        else:
            self._count(count)
        try:
            self.wire.write(b"".join(out))
            await self.wire.send_file(file, offset, count)
        except BaseException:
            self._cut()
            raise

    def _count(self, size: int) -> None:
        if self.framing is LENGTH:
            if size > self._left:
                raise RuntimeError("The answer is longer than its Content-Length.")
            self._left -= size

    async def _fail(self, told: tuple[int, Headers, bytes]) -> None:
        """Answer with a problem, or if the answer has begun cut it."""
        if self.framing is None:
            await answer(self.send, told)
        elif not self.over:
            self._cut()

    def _cut(self) -> None:
        self.wire.cut(reset=self.framing is Framing.CLOSE)

    def _leave(self) -> None:
        """Nothing more of the request is wanted, nothing more of the answer comes."""
        self.over = True
        self._parts.clear()
        self._news.set()
        self._on_over(self)


@lru_cache(maxsize=16)
def chunk_of(data: bytes) -> bytes:
    """A chunk of the chunked coding. All followers of a stream send the same bytes: they share this too."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def answer(send: Send, told: tuple[int, Headers, bytes]) -> None:
    """Send a whole answer."""
    status, headers, body = told
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

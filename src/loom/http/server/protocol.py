"""A connection: requests are parsed, queued, answered in order, and refused when they are no HTTP.

Owns what is read and for how long: limits of the head, requests behind others, the rest of a body that nobody
wants. Knows nothing of answers but that they are over.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import cast
from urllib.parse import unquote

import httptools
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loom.http.problem import problem
from loom.http.server.config import Config
from loom.http.server.cycle import Cycle, answer
from loom.http.server.wire import Wire

log = structlog.get_logger("loom")


class Phase(Enum):
    """What the parser waits for."""

    IDLE = 1
    HEAD = 2
    BODY = 3


Fault = tuple[int, str, str]
"""Status, code and sentence of a refusal."""

TOO_LARGE: Fault = (431, "head_too_large", "The request line and headers, or the trailers, are too large.")
TOO_SLOW: Fault = (408, "head_too_slow", "The request's headers took too long.")


class Connection(HttpToolsProtocol):
    """One client. `cycles` holds the request being answered and, behind it, those that wait."""

    config: Config
    wire: Wire
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limits = self.config.limits
        self.wire = self.flow = Wire(transport, self.loop, self.limits)
        self.cycles: deque[Cycle] = deque()
        self.phase = Phase.IDLE
        self.deaf = False  # what still comes is thrown away
        self.half_closed = False  # nothing comes any more
        self._unparsed = 0  # bytes since the parser last told something, and so holds
        self._discarded = 0
        self._timer: asyncio.TimerHandle | None = None
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()
        self.wire.lost()
        for cycle in self.cycles:
            cycle.hang_up()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It may still read: who is being answered is told, and decides."""
        self.half_closed = True
        for cycle in self.cycles:
            cycle.hang_up()
        return bool(self.cycles) and self.transport.get_extra_info("sslcontext") is None

    def shutdown(self) -> None:
        """The server stops: end when the answer being given is over."""
        if self.cycles:
            self.cycles[0].keep_alive = False
        else:
            self.transport.close()

    def check(self) -> None:
        """End a connection that looks alive only because nothing is read or acknowledged on it."""
        expect_more = not self.cycles or not self.cycles[0].ended
        if self.wire.peer_is_dead(expect_more=expect_more):
            self.transport.abort()

    # What comes in.

    def data_received(self, data: bytes) -> None:
        while data and not self.deaf:
            room = len(data) if self.phase is Phase.BODY else self.limits.head - self._unparsed
            piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            self._unparsed += len(piece)
            self._parse(piece)
            if self._unparsed >= self.limits.head:
                self._refuse(TOO_LARGE)
        if self.deaf:
            self._discarded += len(data)
            if self._discarded > self.limits.discard:
                self.transport.abort()
        elif self.phase is Phase.HEAD and self._timer is None and not self.cycles:
            self._arm(self.limits.head_timeout, self._refuse, TOO_SLOW)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self.deaf:
                self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse((400, "bad_request", f"This is no valid HTTP: {error}."))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the request once more without its wish for another protocol, and what follows (RFC 9110 7.8).

        The parser takes all behind such a head for the other protocol, the body too.
        """
        version = self.parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.phase = Phase.HEAD
        self._disarm()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is Phase.HEAD:  # otherwise a trailer: dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.deaf:
            return
        method = self.parser.get_method()
        self.scope["method"] = method.decode("ascii")
        self.scope["http_version"] = version = self.parser.get_http_version()
        if fault := self._fault(method, version):
            self._refuse(fault)
        elif not self.parser.should_upgrade():
            self._begin(version)

    def _fault(self, method: bytes, version: str) -> Fault | None:
        """What forbids to take this request, by its head. Sets the path in the scope."""
        if version not in ("1.0", "1.1"):
            return 505, "http_version", "This server speaks HTTP/1.1 and HTTP/1.0."
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return 400, "bad_host", "A request has exactly one Host header."
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and version == "1.0":
            return 400, "bad_request", "HTTP/1.0 knows no Transfer-Encoding."
        if any(coding.lower() != b"chunked" for coding in codings):
            return 501, "unknown_transfer_coding", "The only Transfer-Encoding known here is chunked."
        try:
            target = httptools.parse_url(self.url) if method != b"CONNECT" else None
        except httptools.HttpParserInvalidURLError:
            target = None
        if target is None or target.path is None:
            return 400, "bad_target", "The request names no path."
        self.scope["raw_path"] = target.path
        self.scope["path"] = unquote(target.path.decode("ascii"))
        self.scope["query_string"] = target.query or b""
        return None

    def _begin(self, version: str) -> None:
        self.phase = Phase.BODY
        self._unparsed = 0
        if self.wire.zero_copy:
            self.scope["extensions"] = {"http.response.zerocopysend": {}}
        if len(self.cycles) > self.limits.pipelined:
            self.deaf = True
            return
        self._queue(
            self.app,
            cast(Scope, self.scope),
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            expects_continue=version == "1.1" and self.expect_100_continue,
        )

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self.deaf:
            self.cycles[-1].feed(body)

    def on_message_complete(self) -> None:
        if self.phase is Phase.BODY and not self.deaf:
            self.cycles[-1].end()
            self.phase = Phase.IDLE
            self._unparsed = 0

    # What is answered.

    def _queue(self, app: ASGIApp, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        cycle = Cycle(
            app,
            scope,
            self.wire,
            self.server_state,
            self._over,
            keep_alive=keep_alive,
            expects_continue=expects_continue,
        )
        self.cycles.append(cycle)
        if len(self.cycles) == 1:
            self._run(cycle)

    def _run(self, cycle: Cycle) -> None:
        task = self.loop.create_task(cycle.run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _over(self, cycle: Cycle) -> None:
        """What follows an answer: the next request, or an end that lets the client read it."""
        self.server_state.total_requests += 1
        if self.wire.gone:
            return
        self.cycles.popleft()
        self.wire.resume_reading()
        if cycle.framing and not (cycle.keep_alive and cycle.ended):
            self._close(clean=cycle.ended)
        elif self.cycles:
            self._run(self.cycles[0])
        elif self.deaf or self.half_closed:
            self._close(clean=False)
        else:
            self._await_request()

    def _refuse(self, fault: Fault) -> None:
        """Answer with a problem when the turn comes, and read nothing more; a body in the middle is lost."""
        if self.deaf:
            return
        self.deaf = True
        self._disarm()
        if self.phase is Phase.BODY:
            self.cycles[-1].hang_up()
        status, code, detail = fault
        log.info("request refused", status=status, code=code, detail=detail, client=self.client)
        method = "HEAD" if self.parser.get_method() == b"HEAD" else "GET"
        scope = {"type": "http", "method": method, "http_version": "1.1"}
        self._queue(_refusal(fault), scope, keep_alive=False, expects_continue=False)

    def _close(self, *, clean: bool) -> None:
        """End after what was written. With more coming, a plain close would reset the connection, and the
        client would lose the answer before it reads it: so for a while the rest is thrown away first.
        """
        self.cycles.clear()
        if self.half_closed or (clean and not self.deaf):
            self.transport.close()
            return
        self.deaf = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(self.limits.discard_timeout, self.transport.abort)

    # Time.

    def _await_request(self) -> None:
        if self.phase is Phase.HEAD:
            self._arm(self.limits.head_timeout, self._refuse, TOO_SLOW)
        else:
            self._arm(self.limits.idle_timeout, self.transport.close)

    def _arm(self, delay: float, action: Callable[..., None], *args: object) -> None:
        self._disarm()
        self._timer = self.loop.call_later(delay, action, *args)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal(fault: Fault) -> ASGIApp:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, problem(*fault))

    return refuse

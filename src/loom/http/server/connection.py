"""A connection: parses requests, queues them, answers them in order, and refuses what is not HTTP.

Owns what is read and for how long: the limits of a head, the requests that wait for the current response, the
rest of a request that is discarded. Of responses it knows only that they are finished.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import islice

import httptools
import structlog
from starlette.types import ASGIApp, Scope

from loom.http.caps import Caps, Slot
from loom.http.headers import Headers
from loom.http.server.channel import Channel
from loom.http.server.cycle import Cycle, refusing
from loom.http.server.limits import Limits
from loom.http.server.registry import Registry
from loom.http.server.request import (
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    NO_MEMORY,
    Refusal,
    expects_continue,
    origin,
    read_head,
)

log = structlog.get_logger("loom")


class Phase(Enum):
    """What the parser waits for."""

    IDLE = 1
    HEAD = 2
    BODY = 3


IDLE, HEAD, BODY = Phase.IDLE, Phase.HEAD, Phase.BODY

HEAD_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client. `_cycles` holds the request that is being answered, then those that wait."""

    transport: asyncio.Transport
    channel: Channel

    def __init__(
        self, app: ASGIApp, limits: Limits, registry: "Registry[Connection]", caps: Caps, slot: Slot
    ) -> None:
        self._app = app
        self._limits = limits
        self._registry = registry
        self._caps = caps
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._parser = self._new_parser()
        self._phase = IDLE
        self._target = b""
        self._headers: Headers = []
        self._cycles: deque[Cycle] = deque()
        self._eof = False  # nothing more arrives
        self._discarding = False  # what still arrives is discarded
        self._discarded = 0
        self._unread = b""  # not parsed yet, because requests wait
        self.waiting = 0
        """Bytes that wait for a response in front, or for the rest of a head."""
        self._whole = False  # the latest response was sent as a whole
        self._unparsed = 0  # bytes since the parser's last callback: it may hold all of them
        self._timer: asyncio.TimerHandle | None = None

    # What the transport reports.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.channel = Channel(transport, self._loop, self._limits)
        ends = (transport.get_extra_info(name) for name in ("sockname", "peername"))
        self._origin = origin(*ends, zero_copy=self.channel.zero_copy)
        self._slot.close = transport.abort
        self._registry.connections.add(self)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        self._count_waiting(0)
        self._caps.release(self._slot)
        self._registry.remove(self)
        self._disarm()
        self.channel.on_lost()
        for cycle in self._cycles:
            cycle.on_disconnect()
        self._cycles.clear()
        del self._parser  # the two refer to each other

    def eof_received(self) -> bool:
        """Report the end of the requests. The client may still read: the app decides."""
        self._eof = True
        for cycle in self._cycles:
            cycle.on_disconnect()
        return bool(self._cycles) and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        self.channel.on_pause_writing()

    def resume_writing(self) -> None:
        self.channel.on_resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data, self._unread = self._unread + data, b""
        starts_in_body = self._phase is BODY
        while data and not self._discarding:
            if len(self._cycles) > self._limits.pipelined and self._phase is IDLE:
                self._unread, data = data, b""
                break
            # A head ends with this sequence: a piece holds few requests, and none is parsed while many wait.
            end = data.find(HEAD_END) + len(HEAD_END)
            room = end if end >= len(HEAD_END) else len(data)
            # A head goes to the parser in pieces, so that an endless one stops at the limit; so do trailers.
            if self._phase is not BODY:
                room = min(room, self._limits.head - self._unparsed)
            elif not starts_in_body:
                room = min(room, self._limits.head)
            piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
            self._unparsed += len(piece)
            self._parse(piece)
            if self._unparsed >= self._limits.head:
                self._refuse(HEAD_TOO_LARGE)
        if self.waiting or self._phase is HEAD or len(self._cycles) > 1:
            self._update_waiting()
        if self._discarding:
            self._discarded += len(data)
            if self._discarded > self._limits.discard:
                self.transport.abort()
        elif self._phase is HEAD and self._timer is None and not self._cycles:
            self._arm(self._limits.head_timeout, self._refuse, HEAD_TOO_SLOW)

    # What the server calls.

    def shutdown(self) -> None:
        """Close after the current response."""
        if self._cycles:
            self._cycles[0].keep_alive = False
        else:
            self.transport.close()

    def check(self) -> None:
        """Close if the client is dead, which reading and writing may never notice."""
        expect_more = not self._cycles or not self._cycles[0].received
        stalled = self._whole and self.channel.is_stalled()
        if stalled or self.channel.client_is_dead(expect_more=expect_more):
            self.transport.abort()

    def drop_waiting(self) -> None:
        """Discard the requests that wait and all that arrives after them; refuse a head that is not whole.

        The connection closes after the current response. A client may repeat what got no response.
        """
        if not self._cycles:
            self._refuse(NO_MEMORY)
        self._discarding = True
        while len(self._cycles) > 1:
            self._cycles.pop()
        self._unread = b""
        self._headers = []
        self._disarm()
        self._count_waiting(0)

    # What waits.

    def _update_waiting(self) -> None:
        """Count what waits. Read on only if all was parsed: until then a disconnect must be noticed."""
        size = len(self._unread)
        if not self._discarding:
            size += self._unparsed if self._phase is HEAD else 0
            size += sum(cycle.size + cycle.buffered for cycle in islice(self._cycles, 1, None))
        self.channel.hold_reading(bool(self._unread))
        self._count_waiting(size)

    def _count_waiting(self, size: int) -> None:
        change, self.waiting = size - self.waiting, size
        if change:
            self._registry.count_waiting(change, self._limits.waiting)

    # Parsing, and what the parser reports.

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A request after one with `Connection: close` is not an error: it is never answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._discarding:
                    return
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self._parser = self._new_parser()
            except httptools.HttpParserCallbackError:
                raise  # a bug of ours: the loop logs it and closes the connection
            except httptools.HttpParserError as error:
                self._refuse(Refusal(400, "bad_request", f"This is not valid HTTP: {error}."))
                return

    def _without_upgrade(self) -> bytes:
        """Return the head again without Upgrade, which a server may ignore (RFC 9110 section 7.8).

        The parser takes all bytes after a head with Upgrade for the other protocol, the body too.
        """
        version = self._parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._target, version)]
        lines += [b"%b: %b" % header for header in self._headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        self._phase = HEAD
        self._target = b""
        self._headers = []
        self._disarm()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is HEAD and not self._discarding:  # otherwise a trailer: dropped
            self._headers.append((name.lower(), value.rstrip(b" \t")))
            if len(self._headers) > self._limits.fields:
                self._refuse(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        if self._discarding:
            return
        parser = self._parser
        head = read_head(parser.get_method(), parser.get_http_version(), self._target, self._headers)
        if isinstance(head, Refusal):
            self._refuse(head)
        elif not parser.should_upgrade():
            self._phase = BODY
            size, self._unparsed = self._unparsed, 0
            self._queue(self._app, self._origin | head, size, keep_alive=parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self._discarding:
            self._cycles[-1].on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is BODY and not self._discarding:
            self._cycles[-1].on_body_end()
            self._phase = IDLE
            self._unparsed = 0

    # Responses.

    def _queue(self, app: ASGIApp, scope: Scope, size: int = 0, *, keep_alive: bool) -> None:
        modern = scope["http_version"] == "1.1"
        cycle = Cycle(
            app,
            scope,
            self.channel,
            self._on_finished,
            keep_alive=keep_alive and modern,
            expects_continue=modern and expects_continue(scope["headers"]),
        )
        cycle.size = size
        self._cycles.append(cycle)
        if len(self._cycles) == 1:
            self._caps.set_busy(self._slot)
            self._registry.start(cycle.run())

    def _on_finished(self, cycle: Cycle) -> None:
        """Answer the next request, wait for one, or close in a way that lets the client read the response."""
        if self.transport.is_closing():
            return
        self._cycles.popleft()
        self._whole = cycle.whole
        self.channel.resume_reading()
        if cycle.framing and not (cycle.keep_alive and cycle.received):
            self._close(clean=cycle.received)
        elif self._cycles:
            self._registry.start(self._cycles[0].run())
            self._update_waiting()
            if self._unread:
                self.data_received(b"")
        elif self._discarding or self._eof:
            self._close(clean=False)
        else:
            self._await_request()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a problem, in turn, and read nothing more. A body that has not ended is lost."""
        if self._discarding:
            return
        self._discarding = True
        self._disarm()
        if self._phase is BODY:
            self._cycles[-1].on_disconnect()
        log.info("request refused", client=self._origin["client"], **refusal._asdict())
        # Before the target, the parser still has the method of the request before.
        method = "HEAD" if self._target and self._parser.get_method() == b"HEAD" else "GET"
        self._queue(
            refusing(refusal), {"method": method, "http_version": "1.1", "headers": []}, keep_alive=False
        )

    def _close(self, *, clean: bool) -> None:
        """Close after the bytes written so far; unless `clean`, discard what still arrives for a while.

        A plain close with data unread resets the connection, and the client would never read the response.
        """
        self._cycles.clear()
        if self._eof or (clean and not self._discarding):
            self.transport.close()
            return
        self._discarding = True
        self._caps.set_idle(self._slot)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(self._limits.discard_timeout, self.transport.abort)

    # Timers.

    def _await_request(self) -> None:
        self._caps.set_idle(self._slot)
        if self._phase is HEAD:
            self._arm(self._limits.head_timeout, self._refuse, HEAD_TOO_SLOW)
        else:
            self._arm(self._limits.idle_timeout, self.transport.close)

    def _arm(self, delay: float, action: Callable[..., None], *args: object) -> None:
        self._disarm()
        self._timer = self._loop.call_later(delay, action, *args)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""The log line of every request, written at its end, and the figures of all of them.

Owns what a line says: no query, no header, no token.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.metrics import Metrics

RECORD = "loom.record"
"""Where a request's Record stands in its ASGI scope."""


@dataclass(slots=True, eq=False)
class Record:
    """What became of a request: `status` is None until the answer has begun, `cut` is why it never ended,
    `code` why it was refused, `who` the name of the token."""

    status: int | None = None
    received: int = 0
    sent: int = 0
    stream: str = ""
    state: str = ""
    cut: str = ""
    code: str = ""
    who: str = ""


class Traffic:
    """The records of the requests there are, and the bytes of those there were."""

    def __init__(self) -> None:
        self._open: set[Record] = set()
        self._received = self._sent = 0

    def begin(self) -> Record:
        """A request has come."""
        record = Record()
        self._open.add(record)
        return record

    def end(self, record: Record) -> None:
        """It has ended."""
        self._open.discard(record)
        self._received += record.received
        self._sent += record.sent

    def total(self) -> tuple[int, int]:
        """Bytes received and sent until now."""
        received = self._received + sum(record.received for record in self._open)
        return received, self._sent + sum(record.sent for record in self._open)


class AccessLog:
    """Middleware: gives the request its Record, counts what is sent and logs one line at the end."""

    def __init__(self, app: ASGIApp, traffic: Traffic, metrics: Metrics) -> None:
        self._app = app
        self._traffic = traffic
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = self._traffic.begin()

        # Not a coroutine: a follower's every chunk comes through here.
        def counted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body":
                record.sent += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                record.status = message["status"]
            elif message["type"] == "http.response.zerocopysend":
                record.sent += message["count"]
            return send(message)

        begun = time.perf_counter()
        try:
            await self._app(scope, receive, counted)
        except asyncio.CancelledError:
            record.cut = record.cut or "the server stopped"
            raise
        finally:
            self._traffic.end(record)
            code = record.code
            if not code and record.status is not None and record.status >= HTTPStatus.BAD_REQUEST:
                code = HTTPStatus(record.status).name.lower()
            self._metrics.request(scope["method"], record.status, code, record.cut)
            _log(scope, record, time.perf_counter() - begun)


def _log(scope: Scope, record: Record, seconds: float) -> None:
    told = {"stream": record.stream, "state": record.state, "cut": record.cut, "who": record.who}
    structlog.get_logger("loom").info(
        "request",
        client=(scope.get("client") or ("",))[0],
        method=scope["method"],
        path=quote(scope["path"], safe="/%!$&'()*+,;=:@~"),
        status=record.status,
        received=record.received,
        sent=record.sent,
        seconds=round(seconds, 6),
        **{name: value for name, value in told.items() if value},
    )

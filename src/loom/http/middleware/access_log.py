"""The log line of each request, written at its end, and the bytes of all requests.

Owns what a line says: no query, no header, no token.
"""

import asyncio
import time
from collections.abc import Awaitable
from http import HTTPStatus
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.http.record import RECORD, Record
from loom.metrics import Metrics


class Traffic:
    """Counts the bytes of all requests: those that run and those that have ended."""

    def __init__(self) -> None:
        self._open: set[Record] = set()
        self._received = self._sent = 0

    def begin(self) -> Record:
        """Return the record of a new request."""
        record = Record()
        self._open.add(record)
        return record

    def end(self, record: Record) -> None:
        """Keep the bytes of a request that has ended."""
        self._open.discard(record)
        self._received += record.received
        self._sent += record.sent

    def total(self) -> tuple[int, int]:
        """Return the bytes received and sent so far."""
        received = self._received + sum(record.received for record in self._open)
        return received, self._sent + sum(record.sent for record in self._open)


class AccessLog:
    """Middleware: give the request its Record, count what is sent, and log one line at the end."""

    def __init__(self, app: ASGIApp, traffic: Traffic, metrics: Metrics) -> None:
        self._app = app
        self._traffic = traffic
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = self._traffic.begin()

        # Not a coroutine: each chunk for each follower passes here.
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
    optional = {"stream": record.stream, "state": record.state, "cut": record.cut, "who": record.who}
    structlog.get_logger("loom").info(
        "request",
        client=(scope.get("client") or ("",))[0],
        method=scope["method"],
        path=quote(scope["path"], safe="/%!$&'()*+,;=:@~"),
        status=record.status,
        received=record.received,
        sent=record.sent,
        seconds=round(seconds, 6),
        **{name: value for name, value in optional.items() if value},
    )

"""The log line of each request, written at its end.

Owns what a line contains: no query, no header, no token.
"""

import asyncio
import time
from collections.abc import Awaitable
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.http.extensions import CROWD, ZERO_COPY
from loom.http.record import RECORD, Record, Traffic, audit_refusal, client_of, path_of
from loom.metrics import Metrics

REFUSED = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS,
)
"""Statuses of refusals that depend on the client: they are in the audit log."""


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
                record.written += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                record.status = message["status"]
            elif message["type"] == CROWD:
                record.member = message["member"]
            elif message["type"] == ZERO_COPY:
                record.written += message["count"]
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
            if record.status in REFUSED:
                audit_refusal(scope, code)
            _log(scope, record, time.perf_counter() - begun)


def _log(scope: Scope, record: Record, seconds: float) -> None:
    optional = {"stream": record.stream, "state": record.state, "cut": record.cut}
    optional |= {"owner": record.owner, "who": record.who}
    structlog.get_logger("loom").info(
        "request",
        client=client_of(scope),
        method=scope["method"],
        path=path_of(scope),
        status=record.status,
        received=record.received,
        sent=record.sent,
        seconds=round(seconds, 6),
        **{name: value for name, value in optional.items() if value},
    )

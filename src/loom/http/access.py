"""The log line of every request, written at its end. Owns what it says: no query, no header, no token."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RECORD = "loom.record"
"""Where a request's Record stands in its ASGI scope."""


@dataclass(slots=True)
class Record:
    """What became of a request: `status` is None until the answer has begun, `cut` is why it never ended,
    `who` the name of the token."""

    status: int | None = None
    received: int = 0
    sent: int = 0
    stream: str = ""
    state: str = ""
    cut: str = ""
    who: str = ""


class AccessLog:
    """Middleware: gives the request its Record, counts what is sent and logs one line at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = Record()

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

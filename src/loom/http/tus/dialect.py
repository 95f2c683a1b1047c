"""Which requests are in tus 1.0, and what all their responses have in common."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.http.exchange import Exchange, Handler, respond
from loom.http.headers import values_of
from loom.http.problem import problem
from loom.http.record import RECORD
from loom.http.tus.protocol import RESUMABLE, SUPPORTED, VERSION

METHODS = frozenset({"PATCH", "DELETE", "HEAD"})
"""The methods that a client may send as POST, where it cannot send others."""


class Tus:
    """Middleware: refuse another version, apply X-HTTP-Method-Override, and mark each response.

    It concerns requests for streams with Tus-Resumable. OPTIONS needs no version.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope.get("headers", ())
        versions = values_of(headers, b"tus-resumable")
        if not versions or scope["method"] == "OPTIONS" or not _concerns_streams(scope["path"]):
            await self._app(scope, receive, send)
            return

        # Not a coroutine: each part of a response passes here.
        def marked(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], RESUMABLE]}
            return send(message)

        if versions != [VERSION]:
            scope[RECORD].code = "unsupported_tus_version"
            detail = "This server speaks tus 1.0.0; Tus-Version lists every version that it speaks."
            refusal = problem(412, "unsupported_tus_version", detail, headers=[SUPPORTED])
            await respond(scope, marked, *refusal)
            return
        method = b",".join(values_of(headers, b"x-http-method-override")).decode("latin-1")
        if scope["method"] == "POST" and method in METHODS:
            scope = {**scope, "method": method}
        await self._app(scope, receive, marked)


def by_dialect(plain: Handler, tus: Handler) -> Handler:
    """Return a handler that passes requests with Tus-Resumable to `tus`, all others to `plain`."""

    async def handle(exchange: Exchange) -> None:
        await (tus if exchange.all(b"tus-resumable") else plain)(exchange)

    return handle


def _concerns_streams(path: str) -> bool:
    return path == "/stream" or path.startswith("/stream/")

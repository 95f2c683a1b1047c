"""The address of the client, where a trusted proxy has connected in its place."""

from starlette.types import ASGIApp, Receive, Scope, Send

from loom.http.addresses import Proxies
from loom.http.headers import values_of


class Clients:
    """Middleware: set `client` to the address that the log shows and all limits count.

    Its port is 0 behind a proxy, which does not report it.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            peer = scope["client"][0]
            forwarded = values_of(scope["headers"], b"x-forwarded-for")
            client = self._proxies.client(peer, forwarded)
            if client != peer:
                scope["client"] = (client, 0)
        await self._app(scope, receive, send)

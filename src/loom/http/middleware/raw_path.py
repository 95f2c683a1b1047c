"""The path as the client sent it."""

from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send


class RawPath:
    """Middleware: set `path` to what the client sent, still percent-encoded, where a server has decoded it.

    Routes, access log and guard see that path: only `model.parse_id` decodes ids.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes | None = scope.get("raw_path")
            path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)

"""The ASGI app: routes, middleware, and how errors are told. One object, for any ASGI server.

From the outside in: the log line, CORS, errors as problems, the guard, the routes. Routes, log and guard see
the path as it was sent, still percent-encoded: only `model.parse_id` decodes ids.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from loom.access.auth import Auth
from loom.config import Settings
from loom.errors import LoomError
from loom.http.exchange import Disconnected, Resource, respond
from loom.http.headers import SANDBOX
from loom.http.middleware.access_log import RECORD, AccessLog, Record, Traffic
from loom.http.middleware.guard import Cors, Guard
from loom.http.middleware.tracing import Tracing
from loom.http.pages import Pages
from loom.http.problem import ACCEPT_PATCH, problem, problem_of
from loom.http.service.events import FeedEvents
from loom.http.service.health import Ops
from loom.http.service.listing import Listing
from loom.http.service.metrics import Scrape
from loom.http.service.openapi import Document
from loom.http.service.spy import SpyHole
from loom.http.service.tokens import Tokens
from loom.http.stream.read import Streams
from loom.http.stream.upload_headers import limit_headers
from loom.http.stream.write import Uploads
from loom.metrics import Metrics
from loom.streams.service import Service
from loom.streams.spy import Spy

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


def build_app(
    service: Service,
    spy: Spy,
    auth: Auth,
    settings: Settings,
    metrics: Metrics | None = None,
    spans: "TracerProvider | None" = None,
) -> ASGIApp:
    """Loom over HTTP. Who calls starts the parts and ends them. Without `spans` nothing is traced."""
    metrics = metrics or Metrics()
    traffic = Traffic()
    streams = Streams(service)
    uploads = Uploads(
        service,
        max_metadata_bytes=settings.max_metadata_bytes,
        early_response=settings.early_response,
        producer_idle_timeout=settings.producer_idle_timeout,
    )
    listing = Listing(service)
    ops = Ops(service)
    document = Document(max_metadata_bytes=settings.max_metadata_bytes)
    pages = Pages()
    routes = [
        Route("/stream", Resource(POST=uploads.create_new)),
        Route("/stream/", Resource(POST=uploads.create_new)),
        Route(
            "/stream/{id:path}",
            Resource(
                [(b"accept-patch", ACCEPT_PATCH), *limit_headers(service.limits.stream_bytes)],
                GET=streams.read,
                POST=uploads.create,
                PATCH=uploads.patch,
                DELETE=streams.delete,
            ),
        ),
        Route("/streams", Resource(GET=listing.read, DELETE=listing.delete)),
        Route("/events", Resource(GET=FeedEvents(service).read)),
        Route("/tokens", Resource(POST=Tokens(auth).sign)),
        Route("/spy", Resource(GET=SpyHole(spy, service).read)),
        Route("/metrics", Resource(GET=Scrape(service, traffic, metrics).read)),
        Route("/healthz", Resource(GET=ops.alive)),
        Route("/readyz", Resource(GET=ops.ready)),
        Route("/openapi.json", Resource(GET=document.read)),
        Route("/", Resource(GET=pages.root)),
        Route("/ui", Resource(GET=pages.root)),
        Route("/ui/", Resource(GET=pages.streams)),
        Route("/ui/stream/{id:path}", Resource(GET=pages.stream)),
        Route("/ui/assets/{name:path}", Resource(GET=pages.asset)),
    ]
    app: ASGIApp = Router(routes, redirect_slashes=False, default=_nothing_here)
    app = _guarded(app, auth, settings)
    if spans is not None:
        app = Tracing(app, spans)
    return RawPath(AccessLog(app, traffic, metrics))


def _guarded(app: ASGIApp, auth: Auth, settings: Settings) -> ASGIApp:
    """The routes behind who may come in, and how refusals are told."""
    app = Guard(
        app,
        auth,
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )
    app = Errors(app)
    if settings.cors_origins:
        app = Cors(app, settings.cors_origins)
    return app


class RawPath:
    """Middleware: the path is what the client sent, not what the server made of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes | None = scope.get("raw_path")
            path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


class Errors:
    """Middleware: an error becomes a problem, or cuts an answer that has begun by being raised on.

    What the client is told is never more than the sentence of a LoomError; anything else is our bug, logged
    with its traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
            return
        except Disconnected:
            scope[RECORD].cut = "the client left"
            return
        except LoomError as error:
            failure = error
        except Exception:
            structlog.get_logger("loom").exception("a request failed", path=scope["path"])
            failure = LoomError("The server could not answer this; its log says why.")
        record: Record = scope[RECORD]
        if record.status is not None:
            record.cut = failure.code
            raise failure
        record.code = failure.code
        await respond(scope, send, *problem_of(failure, headers=[SANDBOX]))


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
        return
    scope[RECORD].code = "no_such_path"
    await respond(scope, send, *problem(404, "no_such_path", "There is nothing at this path."))

"""The ASGI app: its routes and its middleware. Any ASGI server can run it. Public.

From the outside in: the path as sent, the client's address, the access log, traces, CORS, errors as problems,
the guard, the routes.
"""

from typing import TYPE_CHECKING

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from loom.access.auth import Auth
from loom.access.quotas import Quotas
from loom.config import Settings
from loom.http.addresses import Proxies
from loom.http.caps import Caps
from loom.http.durable.bodies import Bodies
from loom.http.durable.reads import Reads as DurableReads
from loom.http.durable.writes import Appends
from loom.http.exchange import Resource, respond
from loom.http.headers import ACCEPT_PATCH
from loom.http.middleware.access_log import AccessLog
from loom.http.middleware.clients import Clients
from loom.http.middleware.errors import Errors
from loom.http.middleware.guard import Cors, Guard
from loom.http.middleware.raw_path import RawPath
from loom.http.middleware.tracing import Tracing
from loom.http.pages import Pages
from loom.http.pages.client import Client
from loom.http.problem import problem
from loom.http.record import RECORD, Traffic
from loom.http.searches import Searches
from loom.http.service.events import ServiceEvents
from loom.http.service.health import Probes
from loom.http.service.listing import Lists
from loom.http.service.metrics import Scrape
from loom.http.service.openapi import Document
from loom.http.service.spy import SpyOutput
from loom.http.service.tokens import Tokens
from loom.http.stream.read import Reads
from loom.http.stream.response_headers import limit_headers
from loom.http.stream.write import Writes
from loom.http.tus.dialect import Tus, by_dialect
from loom.http.tus.protocol import options as tus_options
from loom.http.tus.uploads import Uploads
from loom.metrics import Metrics
from loom.streams.grep.search import Grep
from loom.streams.service import Service
from loom.streams.spy import Spy

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


def build_app(
    service: Service,
    spy: Spy,
    grep: Grep,
    auth: Auth,
    settings: Settings,
    metrics: Metrics | None = None,
    spans: "TracerProvider | None" = None,
    caps: Caps | None = None,
) -> ASGIApp:
    """Build the app. The caller starts and stops the parts. Without `spans` nothing is traced.

    `caps` are those of the server that runs the app; the requests of a client are limited by them too.
    """
    metrics, caps = metrics or Metrics(), caps or Caps()
    traffic = Traffic()
    searches = Searches()
    lists = Lists(service, searches)
    tokens = Tokens(auth)
    probes = Probes(service, auth)
    routes = [
        *_stream_routes(service, Reads(service, grep, searches), settings),
        Route("/streams", Resource(GET=lists.read, DELETE=lists.delete)),
        Route("/folders", Resource(GET=lists.folders)),
        Route("/events", Resource(GET=ServiceEvents(service).read)),
        Route("/tokens", Resource(POST=tokens.sign)),
        Route("/tokens/{jti}", Resource(DELETE=tokens.revoke)),
        Route("/spy", Resource(GET=SpyOutput(spy, service).read)),
        Route("/metrics", Resource(GET=Scrape(service, grep, traffic, metrics, caps).read)),
        Route("/healthz", Resource(GET=probes.alive)),
        Route("/readyz", Resource(GET=probes.ready)),
        Route("/openapi.json", Resource(GET=Document(settings.max_metadata_bytes).read)),
        *_page_routes(Pages()),
    ]
    app: ASGIApp = Router(routes, redirect_slashes=False, default=_no_such_path)
    app = _guarded(app, auth, settings, caps.each)
    if spans is not None:
        app = Tracing(app, spans)
    return RawPath(Clients(AccessLog(app, traffic, metrics), Proxies(settings.trusted_proxies)))


def _stream_routes(service: Service, reads: Reads, settings: Settings) -> list[Route]:
    quotas = Quotas(service.holdings, service.now)
    writes = Writes(
        service,
        quotas,
        max_metadata_bytes=settings.max_metadata_bytes,
        early_response=settings.early_response,
        producer_idle_timeout=settings.producer_idle_timeout,
    )
    uploads = Uploads(service, writes, max_metadata_bytes=settings.max_metadata_bytes)
    limit = service.limits.stream_bytes
    new = Resource(tus_options(limit), POST=by_dialect(writes.create_new, uploads.create_new))
    stream = Resource(
        [ACCEPT_PATCH, *limit_headers(limit), *tus_options(limit)],
        GET=reads.read,
        HEAD=by_dialect(reads.read, uploads.report),
        POST=by_dialect(writes.create, uploads.create),
        PATCH=by_dialect(writes.patch, uploads.append),
        DELETE=writes.delete,
    )
    return [
        *(Route("/stream", new), Route("/stream/", new), Route("/stream/{id:path}", stream)),
        Route("/v1/stream/{id:path}", _durable(service, writes, quotas, settings)),
    ]


def _durable(service: Service, writes: Writes, quotas: Quotas, settings: Settings) -> Resource:
    reads = DurableReads(service, long_poll_timeout=settings.long_poll_timeout)
    appends = Appends(
        service,
        writes,
        quotas,
        Bodies(settings.max_append_bytes),
        max_metadata_bytes=settings.max_metadata_bytes,
    )
    return Resource(GET=reads.read, PUT=appends.put, POST=appends.post, DELETE=appends.delete)


def _page_routes(pages: Pages) -> list[Route]:
    client = Client(pages)
    return [
        Route("/", Resource(GET=pages.root)),
        Route("/ui", Resource(GET=pages.root)),
        Route("/ui/", Resource(GET=pages.streams)),
        Route("/ui/stream/{id:path}", Resource(GET=pages.stream)),
        Route("/ui/live/{prefix:path}", Resource(GET=pages.live)),
        Route("/ui/assets/{name:path}", Resource(GET=pages.asset)),
        Route("/client", Resource(GET=client.root)),
        Route("/client/", Resource(GET=client.page)),
        Route("/client/simple", Resource(GET=client.index)),
        Route("/client/simple/", Resource(GET=client.index)),
        Route("/client/simple/{project}", Resource(GET=client.project)),
        Route("/client/simple/{project}/", Resource(GET=client.project)),
        Route("/client/{file}", Resource(GET=client.wheel)),
    ]


def _guarded(app: ASGIApp, auth: Auth, settings: Settings, at_once: int) -> ASGIApp:
    """Put the guard around the routes, and around it what turns refusals into responses."""
    app = Guard(
        app,
        auth,
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
        rate_limit=settings.rate_limit,
        at_once=at_once,
    )
    app = Tus(Errors(app))
    if settings.cors_origins:
        app = Cors(app, settings.cors_origins)
    return app


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
        return
    scope[RECORD].code = "no_such_path"
    await respond(scope, send, *problem(404, "no_such_path", "This path does not exist."))

"""Admit or refuse a request: tokens and limits, and the Host and Origin checks against hostile web pages.

A web page can send requests to any server that its browser reaches, also to one on the same machine. Where
the server needs a token that the page does not know, the page is harmless. Without tokens two checks refuse
it: the Host header (DNS rebinding makes `evil.example` an address of this machine) and the Origin header,
which no page can forge.
"""

import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from loom.access.auth import Auth
from loom.access.throttle import Admission
from loom.errors import Forbidden, Misdirected, TooMany
from loom.http.addresses import network_of
from loom.http.exchange import PRINCIPAL
from loom.http.headers import EXPOSED
from loom.http.middleware.readers import Readers
from loom.http.problem import problem
from loom.http.record import RECORD, client_of
from loom.wire.hosts import is_address, is_loopback

PROBES = ("/healthz", "/readyz")
"""Paths whose requests are not limited."""
OPEN = (*PROBES, "/openapi.json", "/", "/ui", "/client")
OPEN_FOLDERS = ("/ui/", "/client/")
"""Paths that need no token, and folders of files that are the same on every server."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/]+)(?::\d*)?")


class Guard:
    """Middleware: pass a request on, or raise Misdirected, Forbidden, Unauthorized, Throttled or TooMany."""

    SAFE: ClassVar = frozenset({"GET", "HEAD", "OPTIONS"})

    def __init__(
        self,
        app: ASGIApp,
        auth: Auth,
        *,
        host: str,
        allowed_hosts: Collection[str] = (),
        cors_origins: Collection[str] = (),
        rate_limit: float = 0.0,
        at_once: int = 0,
    ) -> None:
        self._app = app
        self._auth = auth
        self._admission = Admission(auth, time.monotonic, rate=rate_limit)
        self._readers = Readers(auth)
        self._at_once = at_once
        self._open = Counter[str]()
        self._hosts = {host_name(name) for name in allowed_hosts}
        self._local = is_loopback(host)
        self._origins = cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = network_of(client_of(scope))
        with self._counted(client):
            await self._admit(scope, receive, send, client)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, client: str) -> None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        if path not in PROBES:
            self._admission.check_address(client)
        self._check_host(headers)
        if not self._auth.required and method not in self.SAFE:
            self._check_origin(headers)
        if method != "OPTIONS" and path not in OPEN and not path.startswith(OPEN_FOLDERS):
            # Two Authorization headers are joined, so that they match no token.
            given = ",".join(headers.getlist("authorization")).encode("latin-1")
            changes = self._auth.changes
            principal = scope[PRINCIPAL] = self._admission.principal(client, given)
            scope[RECORD].owner, scope[RECORD].who = principal.owner_name, principal.name
            if method == "GET":
                # A producer may finish what it has begun; a reader may not.
                await self._readers.attend(given, principal, changes, self._app(scope, receive, send))
                return
        await self._app(scope, receive, send)

    @contextmanager
    def _counted(self, client: str) -> Iterator[None]:
        """Count a request of this client while the block runs. Raises TooMany."""
        if 0 < self._at_once <= self._open[client]:
            raise TooMany(f"This address has {self._at_once} requests open, which is the limit. Retry later.")
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def _check_host(self, headers: Headers) -> None:
        # A request in HTTP/1.0 may have no Host. Every browser sends one.
        host = headers.get("host")
        if host is not None and not self._serves(host_name(host)):
            raise Misdirected(
                "This server does not serve that Host; the setting allowed_hosts lists those it serves."
            )

    def _serves(self, name: str) -> bool:
        """Return True if this server serves the host `name`.

        Without tokens and allowed_hosts it serves no name that DNS resolves: a hostile page may have chosen
        that name.
        """
        if is_loopback(name) or "*" in self._hosts:
            return True
        if self._hosts:
            return name in self._hosts
        return self._auth.required or (not self._local and is_address(name))

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is not None:
            foreign = origin not in self._origins and not same_host(origin, headers.get("host", ""))
        else:
            foreign = headers.get("sec-fetch-site", "").lower() == "cross-site"
        if foreign and "*" not in self._origins:
            raise Forbidden(
                "A page of another origin may not write here; the setting cors_origins lists those that may."
            )


class Cors(CORSMiddleware):
    """Middleware: let pages of these origins read every response, also the refusals of the guard."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        methods = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        super().__init__(
            app, allow_origins=origins, allow_methods=methods, allow_headers=["*"], expose_headers=EXPOSED
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight request, a refusal as a problem."""
        response = super().preflight_response(request_headers)
        if response.status_code == 400:
            refusal = "The setting cors_origins does not allow this request."
            status, headers, body = problem(403, Forbidden.code, refusal, headers=[(b"vary", b"Origin")])
            response = Response(body, status)
            response.raw_headers = headers
        return response


def host_name(host: str) -> str:
    """Return the name in a Host header without port, brackets and final dot; empty if it is malformed."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").rstrip(".").lower() if found else ""


def same_host(origin: str, host: str) -> bool:
    """Return True if an Origin has the host and port of the request. The scheme may differ behind a proxy."""
    default = {"http": 80, "https": 443}
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        port = default.get(theirs.scheme)
        return bool(theirs.hostname) and (ours.hostname, ours.port or port) == (
            theirs.hostname,
            theirs.port or port,
        )
    except ValueError:
        return False

"""One session with one server. Owns connections, the token, timeouts, and how responses become errors.

Proxies and netrc from the environment are ignored: many proxies hold a request back until its end. Redirects
are not followed: one may carry the token elsewhere, or lead to a login page whose HTML looks like a stream.
"""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from yarl import URL

from loom import __version__
from loom.client.address import has_user, token_fault, url_fault, warn_unencrypted
from loom.client.errors import BY_STATUS, ClientError, Foreign, InvalidRequest, Lost, Refused
from loom.client.faults import expects_tls, not_http, unreachable
from loom.errors import InvalidId
from loom.ids import check_id, quote_id
from loom.wire.head import HEADERS, StreamHead
from loom.wire.media import PROBLEM

DETAIL_BYTES = 64 * 1024
MAX_RETRY_AFTER = 300.0
OF_ANYONE = (400, 404, 405, 410)
"""Statuses with which any web server answers requests that it does not know. Loom's have a problem detail."""

KEEPALIVE = {
    socket.TCP_KEEPIDLE: 30,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 120_000,
}
"""Detect a server that vanished within two minutes. A server that is merely silent stays connected."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait: `connect` for a connection, `answer` for the headers of a response, `read` between two
    parts of a body that is stored, and `patience` for a server that is lost or unavailable, over all attempts
    (None: no limit)."""

    connect: float = 10.0
    answer: float = 30.0
    read: float = 60.0
    patience: float | None = 60.0


class Backoff:
    """Retry with backoff: delays double and are jittered, or are as long as the server asks.

    `patience` limits the seconds that all attempts since the last success may take.
    """

    def __init__(self, patience: float | None, *, first: float = 0.25, most: float = 10.0) -> None:
        self._patience = patience
        self._first = first
        self._most = most
        self._since: float | None = None
        self._delay = first

    def reset(self) -> None:
        """Record a success."""
        self._since = None
        self._delay = self._first

    async def wait(self, error: ClientError) -> None:
        """Wait before the next attempt. Raise `error` if it is not temporary or patience has run out."""
        if not error.temporary:
            raise error
        now = asyncio.get_running_loop().time()
        since = self._since = now if self._since is None else self._since
        requested = getattr(error, "retry_after", None) or 0.0
        delay = max(requested, random.uniform(self._delay / 2, self._delay))
        if self._patience is not None and now + delay > since + self._patience:
            raise error
        self._delay = min(2 * self._delay, self._most)
        await asyncio.sleep(delay)


class Session:
    """Connections to one server. Use as `async with`.

    `server` is an http or https URL and may have a path; `proxy` is the URL of an HTTP proxy. Set
    SSL_CERT_FILE for a custom certificate authority, as for OpenSSL. Raises InvalidRequest, and warns with
    UnencryptedToken if the token is sent to another machine without TLS.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        for name, url in (("server", server), ("proxy", proxy)):
            if url is not None and (fault := url_fault(url)):
                raise InvalidRequest(f"The {name} {url!r} {fault}.")
        if token is not None and (fault := token_fault(token)):
            raise InvalidRequest(f"The token {fault}.")
        if token is not None and has_user(server):
            raise InvalidRequest("Give a token or a user in the URL, not both.")
        if token is not None or has_user(server):
            warn_unencrypted(server, stacklevel=2)
        self.server = URL(server)
        self.timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._headers = {"User-Agent": f"loom/{__version__}", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: aiohttp.ClientSession | None = None
        self._answered = False
        """True once the server has shown that it speaks HTTP at this URL."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. May be repeated; a later request opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    @property
    def name(self) -> str:
        """The URL of the server, without a user and a password."""
        return str(self.server.with_user(None))

    def url(self, path: str, query: Mapping[str, str] | None = None) -> URL:
        """Return the URL of `path`, which is percent-encoded."""
        url = self.server.with_path(f"{self.server.raw_path.rstrip('/')}{path}", encoded=True)
        return url.with_query(query or None)

    def stream_url(self, id: str, query: Mapping[str, str] | None = None) -> URL:
        """Return the URL of the stream `id`. Raises InvalidRequest."""
        try:
            return self.url(f"/stream/{quote_id(check_id(id))}", query)
        except InvalidId as error:
            raise InvalidRequest(str(error)) from None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        follow: bool = False,
        answer: float | None = -1.0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a response with status 2xx once its headers have arrived.

        The connection is closed unless the body is read to its end. With `follow` the body may pause for any
        time; keepalive probes detect a vanished server. `answer` limits the seconds until the headers arrive;
        None means no limit, for requests with a long body. Raises Refused and Lost, also from the block.
        """
        limit = self.timeouts.answer if answer == -1.0 else answer
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self.timeouts.connect, sock_read=None if follow else self.timeouts.read
        )
        origin = self.server.origin()
        try:
            async with asyncio.timeout(limit) as waiting:
                response = await self._open().request(
                    *(method, url),
                    headers=headers,
                    data=data,
                    timeout=timeout,
                    proxy=self._proxy,
                    allow_redirects=False,
                )
                waiting.reschedule(None)
            async with response:
                if response.status == HTTPStatus.BAD_REQUEST:
                    await self._check_scheme()
                self._answered = True
                if not 200 <= response.status < 300:
                    raise await refusal(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            proxied = isinstance(error, aiohttp.ClientProxyConnectionError)
            name = f"The proxy {URL(self._proxy or '').origin()}" if proxied else str(origin)
            raise unreachable(name, getattr(error, "certificate_error", error.os_error)) from error
        except TimeoutError as error:
            raise Lost(f"{origin} did not answer in time.") from error
        except aiohttp.ClientHttpProxyError as error:
            raise Lost(f"The proxy refused the connection with status {error.status}.") from error
        except aiohttp.ClientError as error:
            await self._check_scheme()
            if not self._answered and isinstance(error, aiohttp.ClientResponseError):
                raise not_http(str(origin)) from error
            raise Lost(f"The connection to {origin} was lost.") from error

    async def _check_scheme(self) -> None:
        """Raise InvalidRequest if the server has never answered properly and expects TLS."""
        if not self._answered and (wrong := await asyncio.to_thread(expects_tls, str(self.server))):
            raise wrong

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # Any number of followers is normal: each has a connection of its own.
                connector=aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                trust_env=False,
            )
        return self._http


async def refusal(response: aiohttp.ClientResponse) -> Refused:
    """Return the error that a response stands for: its problem detail (RFC 9457), else its status line."""
    body = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(5):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > DETAIL_BYTES:
                    break
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail")
    if not isinstance(detail, str) or not detail:
        detail = f"The server answered {response.status} {response.reason}."
        if location := response.headers.get("Location"):
            detail = f"The server answered {response.status} and points to {location}; it was not followed."
        elif response.status in OF_ANYONE and response.content_type != PROBLEM:
            return foreign(response, f"with {response.content_type}")
    kind = BY_STATUS.get(response.status, Refused)
    return kind(response.status, detail, problem=problem, retry_after=_retry_after(response))


def head_of(response: aiohttp.ClientResponse, *needed: str) -> StreamHead:
    """Return what the headers say about the stream. `needed` are members of StreamHead.

    Raises Refused if one of `needed` is missing, or if a value is not Loom's.
    """
    try:
        head = StreamHead.of(response.headers)
    except ValueError as error:
        raise foreign(response, f"with the header {error}, which Loom does not send") from None
    missing = [HEADERS[member][0] for member in needed if getattr(head, member) is None]
    if missing:
        raise foreign(response, f"without the header {' and '.join(missing)}")
    return head


def foreign(response: aiohttp.ClientResponse, difference: str) -> Foreign:
    """Return the error for a response that is not Loom's: `difference` describes it."""
    url = response.url.with_user(None).with_query(None)
    return Foreign(
        response.status,
        f"{url} answered {response.status} {difference}. It is no Loom server, or a proxy has changed the "
        "response: check the URL of the server.",
    )


def check_end(response: aiohttp.ClientResponse) -> None:
    """Raise Lost if the end of a body that was read cannot be distinguished from a cut."""
    coding = response.headers.get("Transfer-Encoding", "").lower()
    if response.content_length is None and "chunked" not in coding:
        raise Lost(f"{response.url.origin()} answered without a length: the response may be cut.")


def _keepalive_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else None

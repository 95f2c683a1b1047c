"""One session with one server. Owns connections, the token, timeouts, and how answers become errors; with
`client/push.py` alone imports aiohttp. Knows nothing of what is asked.

No proxy and no netrc are taken from the environment: many proxies hold a request back until its end. A
redirect is never followed: it would carry a token elsewhere, or end at the HTML of a login page that is taken
for the stream.
"""

import asyncio
import json
import os
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from yarl import URL

from loom import __version__
from loom.client.address import has_user, token_fault, url_fault
from loom.client.errors import BY_STATUS, ClientError, InvalidRequest, Lost, Refused
from loom.errors import InvalidId
from loom.model import check_id, quote_id

DETAIL_BYTES = 64 * 1024
MAX_RETRY_AFTER = 300.0

KEEPALIVE = {
    socket.TCP_KEEPIDLE: 30,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 120_000,
}
"""A silent peer is an ordinary one, a server that vanished is noticed within two minutes all the same."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait: for a connection, for the head of an answer, between two pieces of a body that is all
    there, and, over all attempts, for a server that is lost or says it cannot now (None: for ever)."""

    connect: float = 10.0
    answer: float = 30.0
    read: float = 60.0
    patience: float | None = 60.0


class Backoff:
    """How long to wait before the next attempt: doubling, jittered, or what the server asked for. `patience`
    is how many seconds all attempts may take since the last success."""

    def __init__(self, patience: float | None, *, first: float = 0.25, most: float = 10.0) -> None:
        self._patience = patience
        self._first = first
        self._most = most
        self._since: float | None = None
        self._wait = first

    def reset(self) -> None:
        """Something went well."""
        self._since = None
        self._wait = self._first

    async def wait(self, error: ClientError) -> None:
        """Sleep. Raises `error` if it is not temporary or patience is at its end."""
        if not error.temporary:
            raise error
        now = asyncio.get_running_loop().time()
        since = self._since = now if self._since is None else self._since
        asked = getattr(error, "retry_after", None) or 0.0
        delay = max(asked, random.uniform(self._wait / 2, self._wait))
        if self._patience is not None and now + delay > since + self._patience:
            raise error
        self._wait = min(2 * self._wait, self._most)
        await asyncio.sleep(delay)


class Session:
    """Use as `async with`. `server` is an http or https URL that may have a path, `proxy` one of a proxy.

    A custom certificate authority comes from SSL_CERT_FILE, as OpenSSL has it. Raises InvalidRequest.
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
        self.server = URL(server)
        self.timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._headers = {"User-Agent": f"loom/{__version__}", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut what is open. May be repeated; another request opens it again."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def url(self, path: str, query: Mapping[str, str] | None = None) -> URL:
        """Where a path is found, which is percent-encoded already."""
        url = self.server.with_path(f"{self.server.raw_path.rstrip('/')}{path}", encoded=True)
        return url.with_query(query or None)

    def stream_url(self, id: str, query: Mapping[str, str] | None = None) -> URL:
        """Where the stream `id` is found. Raises InvalidRequest."""
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
        """An answer whose head has come and whose status is 2xx; cut unless its body is read to its end.

        With `follow` its body may be silent for ever; keep-alive probes notice that the server vanished.
        `answer` is how many seconds its head may take, None for ever, as one needs that sends a long body.
        Raises Refused and Lost, from the block too.
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
                if not 200 <= response.status < 300:
                    raise await refusal(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise Lost(f"{origin} cannot be reached: {why(error)}.") from error
        except TimeoutError as error:
            raise Lost(f"{origin} did not answer in time.") from error
        except aiohttp.ClientError as error:
            raise Lost(f"The connection to {origin} was lost.") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # Followers without number are the ordinary case.
                connector=aiohttp.TCPConnector(limit=0, socket_factory=keepalive_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                trust_env=False,
            )
        return self._http


async def refusal(response: aiohttp.ClientResponse) -> Refused:
    """The error that an answer means: with the server's own sentence (RFC 9457), else its status line."""
    body = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(5):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > DETAIL_BYTES:
                    break
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail")
    if not isinstance(detail, str) or not detail:
        detail = f"The server answered {response.status} {response.reason}."
        if location := response.headers.get("Location"):
            detail = f"The server answered {response.status} and points to {location}; it was not followed."
    kind = BY_STATUS.get(response.status, Refused)
    return kind(response.status, detail, problem=problem, retry_after=_retry_after(response))


def keepalive_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """A socket that notices a vanished server."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else None


def why(error: aiohttp.ClientConnectorError) -> str:
    """Why there is no connection, as the end of a sentence."""
    if error.errno and error.errno > 0 and not isinstance(error, aiohttp.ClientSSLError):
        # asyncio's own words tell the address once more.
        return os.strerror(error.errno)
    return error.strerror or str(error.os_error)

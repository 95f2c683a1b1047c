"""Send one stream in one POST. Owns what counts as success; reads no input of its own. `push.py` resumes.

It has succeeded when the server answered 201 and that answer ended as HTTP says it must: only then is
everything stored. The answer may begin before the first byte is sent or after the last; a refusal is seen
while bytes are still being sent.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from loom import __version__
from loom.client.errors import InputFailed, Lost
from loom.client.session import keepalive_socket, refusal, why
from loom.model import quote_id

CONNECT_TIMEOUT = 30.0


async def post(
    server: str,
    id: str,
    chunks: AsyncIterable[bytes],
    *,
    token: str | None = None,
    metadata: str | None = None,
    content_type: str | None = None,
    force: bool = False,
) -> None:
    """Create the stream `id` and send it `chunks`, each as it comes; returns once all of it is stored.

    `server` is an http or https URL that may have a path, `metadata` JSON text. At most one chunk and the
    transport's buffer are held in memory. When cancelled, or when `chunks` raises, the connection is cut and
    the server takes the stream as interrupted, never as complete. Raises Refused, Lost, InputFailed.
    """
    body = _Body(chunks)
    exchange = asyncio.ensure_future(
        _exchange(stream_url(server, id, force=force), _headers(token, metadata, content_type), body)
    )
    either: list[asyncio.Future[Any]] = [exchange, body.failed]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
    if body.failed.done():
        raise InputFailed("The input failed.") from body.failed.result()
    exchange.result()


def stream_url(server: str, id: str, *, force: bool = False) -> URL:
    """Where the stream `id` is found on `server`."""
    base = URL(server)
    url = base.with_path(f"{base.raw_path.rstrip('/')}/stream/{quote_id(id)}", encoded=True)
    return url.with_query(force="true") if force else url


def _headers(token: str | None, metadata: str | None, content_type: str | None) -> dict[str, str]:
    headers = {
        "User-Agent": f"loom/{__version__}",
        "Accept-Encoding": "identity",
        "Content-Type": content_type or "application/octet-stream",
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if metadata is not None:
        headers["X-Stream-Metadata"] = metadata
    return headers


class _Body:
    """The request's body. `sent` is True once all of it was handed over, `failed` is set if it has no end."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.sent = False
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # aiohttp holds the request's head back for the first chunk: an empty one lets it go at once.
        yield b""
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            self.failed.set_result(error)
            # aiohttp would not wake who waits for the rest of a response; `post` does, and cancels this.
            await asyncio.Event().wait()
        self.sent = True


async def _exchange(url: URL, headers: dict[str, str], body: _Body) -> None:
    """Send the request and wait for the end of its response."""
    # No proxy and no netrc from the environment: many proxies hold a request back until its end.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=keepalive_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        trust_env=False,
    )
    try:
        async with session, session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != HTTPStatus.CREATED:
                raise await refusal(response)
            async for _ in response.content.iter_any():
                pass
            ends = (
                response.content_length is not None
                or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            )
    except aiohttp.ClientConnectorError as error:
        raise Lost(f"{url.origin()} cannot be reached: {why(error)}.") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Lost(f"The connection to {url.origin()} was lost before it confirmed the stream.") from error
    if not ends:
        raise Lost(f"{url.origin()} answered without a length, so that its answer may have been cut.")
    if not body.sent:
        raise Lost(f"{url.origin()} ended its answer before it had the whole stream.")

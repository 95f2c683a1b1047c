"""Read one stream across disconnects. Owns the position of a reading, and when it has ended.

After a disconnect a reading reconnects at its offset, with the key of the stream that it began with: bytes of
another stream, which replaced it, are never mixed in. Only the state of a stream says that it has ended.
"""

import asyncio
import hashlib
import random
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from types import TracebackType
from typing import Self

import aiohttp

from loom.client.errors import Aborted, ClientError, Corrupted, Lost, NotFound
from loom.client.session import Backoff, Session, check_end, head_of
from loom.model import State
from loom.wire.fields import tag_of
from loom.wire.head import StreamHead

MAX_LINE = 1 << 20
"""Bytes of a line. A longer one is returned in parts."""
STEADY = 5.0
"""Seconds after which a connection counts as a success, even without a byte."""
POLL = 1.0
"""Seconds between two requests for a stream that does not exist yet."""


class Reading:
    """The bytes of one stream, in order and each once. Iterate over it, or over its `lines`, one time.

    `query` says where to begin. A reading ends at `stop`; without it, once the stream is complete.
    `persistent` retries the first request, too. `wait` waits for a stream that does not exist yet, without a
    limit, and then reads it from its first byte, whatever `query` says. `verify` compares a stream that was
    read from its first to its last byte with its digest, if the server has one. If the bytes before `start`
    were read earlier, `hashed` is their SHA-256.

    `offset` is that of the next byte, None while unknown. `key`, `state` and `metadata` (JSON text) are as
    the server reported them last. `size` is the final size of the stream, if known. `verified` says whether
    the digest was compared.

    Raises what Session.request does, Aborted, Corrupted, Replaced or NotFound for a stream that no longer
    exists, and Lost when `patience` has run out.
    """

    def __init__(
        self,
        session: Session,
        id: str,
        query: Mapping[str, str],
        *,
        start: int | None = None,
        stop: int | None = None,
        key: str | None = None,
        persistent: bool = False,
        verify: bool = False,
        wait: bool = False,
        hashed: "hashlib._Hash | None" = None,
    ) -> None:
        self.id = id
        self.key = key
        self.offset = start
        self.state: State | None = None
        self.metadata = "{}"
        self.size: int | None = None
        self.verified = False
        self._session = session
        self._query = query
        self._stop = stop
        self._received = 0
        self._ends_short = False
        self._persistent = persistent
        self._wait = wait and key is None
        self._hash = (hashed or hashlib.sha256()) if verify else None
        self._hashed = (start or 0) if hashed else 0
        self._pieces = self._run()
        session.stream_url(id)  # raises InvalidRequest now, not at the first step

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._pieces

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._pieces.aclose()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Iterate by line. Each line has its LF, if there is one; lines above 1 MiB are returned in parts."""
        held = b""
        async with aclosing(self._pieces):
            async for piece in self._pieces:
                *lines, held = (held + piece).split(b"\n") if held else piece.split(b"\n")
                for line in lines:
                    yield line + b"\n"
                if len(held) > MAX_LINE:
                    yield held
                    held = b""
        if held:
            yield held

    async def _run(self) -> AsyncGenerator[bytes, None]:
        backoff = Backoff(self._session.timeouts.patience)
        ended = self._stop is not None and self._stop <= (self.offset or 0)
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                if not ended:
                    async with aclosing(self._connection()) as pieces:
                        async for piece in pieces:
                            backoff.reset()
                            yield piece
                    ended = True
                await self._verify()
                return
            except ClientError as error:
                if self._wait and isinstance(error, NotFound):
                    # The stream will begin after this reading did: all of its bytes are wanted.
                    self._query, self._persistent = {}, True
                    backoff.reset()
                    await asyncio.sleep(random.uniform(POLL / 2, POLL))
                    continue
                if not self._persistent:
                    raise
                if error.temporary and self.state is State.ABORTED and not self._ends_short:
                    # The server cuts the response at the end of an aborted stream. A response to `notail`
                    # has a length, so that its end differs from a disconnect.
                    self._ends_short = True
                    continue
                # A stream may be silent: a long connection without a byte was no failed attempt.
                if asyncio.get_running_loop().time() - begun > STEADY:
                    backoff.reset()
                await backoff.wait(error)
                await self._find_offset()

    async def _connection(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of one response. Return only at the end of the bytes wanted, else raise."""
        async with self._request() as response:
            self._persistent, self._wait = True, False
            skip = self._begin(head_of(response, "state"), response.content_length)
            async for piece in response.content.iter_any():
                if skip:
                    # A server may begin earlier than requested.
                    piece, skip = piece[skip:], max(0, skip - len(piece))
                if piece := self._take(piece):
                    yield piece
                if self._stop is not None and self.offset == self._stop:
                    return
            check_end(response)
        if self.state is State.ABORTED:
            raise await self._aborted()
        if self._stop is not None:
            raise Lost(f"The response for {self.id} ended at byte {self.offset}, before byte {self._stop}.")

    def _request(self) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = self._condition()
        query = dict(self._query) if self.offset is None else {"offset": str(self.offset)}
        if self._ends_short:
            query["notail"] = ""
        if self._stop is not None:
            query, headers["Range"] = {}, f"bytes={self.offset}-{self._stop - 1}"
        url = self._session.stream_url(self.id, query)
        return self._session.request("GET", url, headers=headers, follow=True)

    def _begin(self, head: StreamHead, length: int | None) -> int:
        """Adopt the state in the headers. Return how many bytes to skip until the next byte wanted."""
        self.key = head.key or self.key
        self.state = head.state
        self.metadata = head.metadata or "{}"
        if head.start is None:
            return 0
        if length is not None and head.state is not None and head.state.final:
            self.size = head.start + length
        if self.offset is None:
            self.offset = head.start
        if head.start > self.offset:
            raise Corrupted(f"The server resumed at byte {head.start} instead of {self.offset}.")
        return self.offset - head.start

    def _take(self, piece: bytes) -> bytes:
        if self._stop is not None and self.offset is not None:
            piece = piece[: self._stop - self.offset]
        self._received += len(piece)
        if self.offset is not None:
            self.offset += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        return piece

    async def _find_offset(self) -> None:
        """Find the offset of the next byte where the first response did not have it: it began at a line that
        was not written yet."""
        if self.offset is not None or not self._received:
            return
        url = self._session.stream_url(self.id, self._query)
        with suppress(ClientError):
            async with self._session.request("HEAD", url, headers=self._condition()) as response:
                if (start := head_of(response).start) is not None:
                    self.offset = start + self._received

    async def _aborted(self) -> Aborted:
        reason = ""
        with suppress(ClientError, aiohttp.ClientError, ValueError, LookupError, TypeError):
            url = self._session.stream_url(self.id, {"info": ""})
            async with self._session.request("GET", url) as response:
                reason = str((await response.json())["reason"])
        return Aborted(self.id, reason, self.offset or 0)

    async def _verify(self) -> None:
        """Compare with the digest. The server may have to compute it first."""
        if self._hash is None or self.offset != self._hashed + self._received:
            return
        url = self._session.stream_url(self.id)
        async with self._session.request(
            "HEAD", url, headers=self._condition(), follow=True, answer=None
        ) as response:
            digest = head_of(response).digest
        if digest is not None and digest != b64encode(self._hash.digest()).decode():
            raise Corrupted(f"The bytes read from {self.id} do not match its digest.")
        self.verified = digest is not None

    def _condition(self) -> dict[str, str]:
        return {"If-Match": tag_of(self.key)} if self.key else {}

"""Read one stream across breaks. Owns where a reading stands, and what its end means.

A connection that breaks is made anew at the very offset, with the key of the stream that was begun, so that a
stream which replaced it can never be spliced in. Whether a stream has ended is told by its state alone.
"""

import asyncio
import hashlib
import random
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from types import TracebackType
from typing import Self

import aiohttp

from loom.client.errors import Aborted, ClientError, Corrupted, Lost, NotFound, Refused
from loom.client.session import Backoff, Session
from loom.model import State

MAX_LINE = 1 << 20
"""Bytes; a longer line comes in parts."""
STEADY = 5.0
"""Seconds after which a connection without a byte was a good one all the same."""
ASK_AGAIN = 1.0
"""Seconds between two looks whether a stream is there by now."""


class Reading:
    """The bytes of one stream, in order, each once: iterate over it, or over its `lines`. Iterate once.

    `query` says where to begin. Without `stop` it goes on until the stream is complete, else up to that
    byte. `offset` is where the next byte stands, None until that is known; `key`, `state` and `metadata`
    (JSON text) are as the server told last; `size` is how many bytes there are in all, if that is known.
    `persistent` waits for a server that is not there at the first attempt too. With `wait`, a stream that is
    not there yet is waited for, for any time, and then read from its first byte, whatever `query` says. With
    `verify`, a stream read from its first to its last byte is compared with its digest, if the server has
    one: `verified` says so. What stands before `start` may have been read earlier: `hashed` is its SHA-256.

    Raises what Session.request does, Aborted, Corrupted, and Replaced or NotFound of a stream that is not
    there any more; Lost when `patience` has ended.
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
        self._persistent = persistent
        self._wait = wait and key is None
        self._hash = (hashed or hashlib.sha256()) if verify else None
        self._hashed = (start or 0) if hashed else 0
        self._pieces = self._run()
        session.stream_url(id)  # a wrong id is told at once

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._pieces

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._pieces.aclose()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The same in lines, each with its LF but for a last one without, and parts of very long ones."""
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
                    self._query, self._persistent = {}, True
                    backoff.reset()
                    await asyncio.sleep(random.uniform(ASK_AGAIN / 2, ASK_AGAIN))
                    continue
                if not self._persistent:
                    raise
                if asyncio.get_running_loop().time() - begun > STEADY:
                    backoff.reset()
                await backoff.wait(error)
                await self._find_place()

    async def _connection(self) -> AsyncGenerator[bytes, None]:
        """What one answer gives; returns at the end of what is wanted, and there only."""
        async with self._ask() as response:
            self._persistent, self._wait = True, False
            skip = self._begin(response)
            async for piece in response.content.iter_any():
                if skip:
                    piece, skip = piece[skip:], max(0, skip - len(piece))
                if piece := self._take(piece):
                    yield piece
                if self._stop is not None and self.offset == self._stop:
                    return
            _check_end(response)
        if self.state is State.ABORTED:
            raise await self._aborted()
        if self._stop is not None:
            raise Lost(f"The stream {self.id} was cut at byte {self.offset}.")

    def _ask(self) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"If-Match": f'"{self.key}"'} if self.key else {}
        query = self._query if self.offset is None else {"offset": str(self.offset)}
        if self._stop is not None:
            query, headers["Range"] = {}, f"bytes={self.offset}-{self._stop - 1}"
        url = self._session.stream_url(self.id, query)
        return self._session.request("GET", url, headers=headers, follow=True)

    def _begin(self, response: aiohttp.ClientResponse) -> int:
        """Take in what the head says; how many bytes come that are not wanted."""
        told = response.headers
        self.key = told.get("X-Stream-Key", self.key)
        self.metadata = told.get("X-Stream-Metadata", "{}")
        try:
            self.state = State(told["X-Stream-State"])
            start = int(told["X-Stream-Offset"]) if "X-Stream-Offset" in told else None
        except (LookupError, ValueError):
            raise Refused(response.status, "What answered is no Loom server.") from None
        if response.content_length is not None and self.state.final and start is not None:
            self.size = start + response.content_length
        if self.offset is None:
            self.offset = start
        if self.offset is None or start is None or start == self.offset:
            return 0
        if start > self.offset:
            raise Corrupted(f"The server went on at byte {start} instead of {self.offset}.")
        return self.offset - start

    def _take(self, piece: bytes) -> bytes:
        if self._stop is not None and self.offset is not None:
            piece = piece[: self._stop - self.offset]
        self._received += len(piece)
        if self.offset is not None:
            self.offset += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        return piece

    async def _find_place(self) -> None:
        """Where the next byte stands, if that was not known: the line asked for had still to come."""
        if self.offset is None and self._received:
            url = self._session.stream_url(self.id, self._query)
            headers = {"If-Match": f'"{self.key}"'}
            with suppress(ClientError):
                async with self._session.request("HEAD", url, headers=headers) as response:
                    self.offset = int(response.headers["X-Stream-Offset"]) + self._received

    async def _aborted(self) -> Aborted:
        reason = ""
        with suppress(ClientError, aiohttp.ClientError, ValueError, LookupError, TypeError):
            url = self._session.stream_url(self.id, {"info": ""})
            async with self._session.request("GET", url) as response:
                reason = str((await response.json())["reason"])
        return Aborted(self.id, reason, self.offset or 0)

    async def _verify(self) -> None:
        """Compare with the digest, which the server may have to make first."""
        if self._hash is None or self.offset != self._hashed + self._received:
            return
        headers = {"If-Match": f'"{self.key}"'}
        url = self._session.stream_url(self.id)
        async with self._session.request("HEAD", url, headers=headers, follow=True, answer=None) as response:
            digest = _sha256(response.headers.get("Repr-Digest", ""))
        if digest is not None and digest != self._hash.digest():
            raise Corrupted(f"The bytes of {self.id} are not those that its digest was made of.")
        self.verified = digest is not None


def _check_end(response: aiohttp.ClientResponse) -> None:
    """Raise Lost if the end of this answer may as well be a cut."""
    coding = response.headers.get("Transfer-Encoding", "").lower()
    if response.content_length is None and "chunked" not in coding:
        raise Lost("The server answered without a length, so that its answer may have been cut.")


def _sha256(field: str) -> bytes | None:
    """The SHA-256 that a Repr-Digest field has (RFC 9530 section 2)."""
    for member in field.split(","):
        name, _, value = member.strip().partition("=")
        if name == "sha-256":
            with suppress(ValueError):
                return b64decode(value.strip(":"), validate=True)
    return None

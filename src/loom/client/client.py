"""The client of a server, for asyncio. Owns what can be asked; how bytes come and go is told elsewhere."""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from yarl import URL

from loom.client.errors import ClientError, InvalidRequest, Lost, Refused
from loom.client.files import Source, chunks_of
from loom.client.info import Change, StreamInfo
from loom.client.producing import Keeping, push
from loom.client.push import Creation, Pace
from loom.client.reading import Reading
from loom.client.session import Backoff, Session, Timeouts
from loom.model import DEFAULT_CONTENT_TYPE
from loom.wire.sse import Decoder

DEFAULT_SERVER = "http://127.0.0.1:3060"
PAGE = 1000


class AsyncClient:
    """Use as `async with`, in one event loop. Everything raises ClientError and nothing else on purpose.

    `server` is an http or https URL that may have a path. `token` is sent as a bearer token, `proxy` is the
    URL of an HTTP proxy, `timeouts` how long to wait for what.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.session = Session(server, token=token, proxy=proxy, timeouts=timeouts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut what is open. May be repeated."""
        await self.session.close()

    async def push(
        self,
        id: str,
        source: Source,
        *,
        metadata: Mapping[str, Any] | None = None,
        content_type: str = DEFAULT_CONTENT_TYPE,
        force: bool = False,
        ttl: int | None = None,
        spool: Path | None = None,
        patience: float = 60.0,
    ) -> int:
        """Create the stream `id` and bring it all of `source`; returns its size once its end is durable too.

        Lost connections and restarts of the server are survived, `patience` seconds after the source has
        ended. With `spool`, a directory, what could not be sent is kept there: Spooled. `force` replaces. The
        stream is deleted `ttl` seconds after its end; 0 keeps it, None leaves that to the server.
        """
        place = await push(
            self.session,
            id,
            chunks_of(source),
            creation=Creation(
                metadata=json.dumps(metadata or {}), content_type=content_type, force=force, ttl=ttl
            ),
            pace=Pace(patience=patience),
            keeping=Keeping(spool=spool),
        )
        return place.offset

    def follow(
        self,
        id: str,
        *,
        offset: int | None = None,
        lines: int | None = None,
        line: int | None = None,
        since: str | None = None,
        key: str | None = None,
        verify: bool = False,
        persistent: bool = False,
        wait: bool = False,
    ) -> Reading:
        """The bytes of a stream and what comes, until it is complete; see Reading.

        It begins at the first byte, or at `offset` (negative: so many bytes before the end), with the last
        `lines`, at the `line` of that number (1 is the first), or with what arrived `since` a time (RFC 3339)
        or for a duration such as 10m. With `key` only the stream of that key is read. With `wait` a stream
        that is not there yet is waited for, and read from its first byte.
        """
        places = {"offset": offset, "lines": lines, "line": line, "since": since}
        query = {name: str(value) for name, value in places.items() if value is not None}
        if len(query) > 1:
            raise InvalidRequest(f"Begin at one of {' and '.join(query)}.")
        return Reading(self.session, id, query, key=key, verify=verify, persistent=persistent, wait=wait)

    async def download(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Bytes [start, stop) of what is there now; a negative `start` counts from the end.

        A download that breaks is resumed; a complete stream that is read as a whole is compared with its
        digest, if the server has one.
        """
        headers = {"If-Match": f'"{key}"'} if key else {}
        async with self.session.request("HEAD", self.session.stream_url(id), headers=headers) as response:
            size, key = int(response.headers["Upload-Offset"]), response.headers["X-Stream-Key"]
            complete = response.headers.get("Upload-Complete") == "?1"
        start = max(0, size + start) if start < 0 else start
        stop = size if stop is None else min(stop, size)
        whole = complete and start == 0 and stop == size
        reading = Reading(
            self.session, id, {}, start=start, stop=stop, key=key, verify=whole, persistent=True
        )
        async with reading:
            async for piece in reading:
                yield piece

    async def read(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> bytes:
        """The same at once, in memory."""
        return b"".join([piece async for piece in self.download(id, start, stop, key=key)])

    async def info(self, id: str) -> StreamInfo:
        """What is known of one stream."""
        return _info(await self._json("GET", self.session.stream_url(id, {"info": ""})))

    async def streams(
        self,
        prefix: str = "",
        *,
        states: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        created_after: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[StreamInfo, None]:
        """The streams that match, newest first, page by page; `created_after` is a time (RFC 3339)."""
        query = {f"meta.{name}": value for name, value in (metadata or {}).items()}
        query |= {"prefix": prefix} if prefix else {}
        query |= {"state": ",".join(states)} if states else {}
        query |= {"created_after": created_after} if created_after else {}
        while limit is None or limit > 0:
            query["limit"] = str(PAGE if limit is None else min(limit, PAGE))
            page = await self._json("GET", self.session.url("/streams", query))
            for row in page.get("streams", ()):
                yield _info(row)
            if limit is not None:
                limit -= len(page.get("streams", ()))
            if not page.get("cursor"):
                return
            query["cursor"] = page["cursor"]

    async def delete(self, id: str) -> None:
        """Delete a stream, for good; a live one too."""
        async with self.session.request("DELETE", self.session.stream_url(id)) as response:
            await response.read()

    async def count(self, prefix: str) -> int:
        """How many streams `delete_all` would delete."""
        url = self.session.url("/streams", {"prefix": prefix, "dry_run": ""})
        return int((await self._json("DELETE", url))["count"])

    async def delete_all(self, prefix: str, *, confirm: int) -> int:
        """Delete every stream whose id begins with `prefix` if they are `confirm`, else raise Conflict."""
        url = self.session.url("/streams", {"prefix": prefix, "confirm": str(confirm)})
        return int((await self._json("DELETE", url))["deleted"])

    async def events(self, prefix: str = "", *, persistent: bool = False) -> AsyncGenerator[Change, None]:
        """What happens to streams from now on, across breaks; see Change for the one that comes first."""
        backoff = Backoff(self.session.timeouts.patience)
        url = self.session.url("/events", {"prefix": prefix} if prefix else None)
        last = ""
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            decoder = Decoder()
            try:
                async with self.session.request("GET", url, headers=headers) as response:
                    if not last:
                        yield Change("reset")
                    persistent = True
                    async for piece in response.content.iter_any():
                        backoff.reset()
                        events = decoder.feed(piece)
                        last = decoder.id or last
                        for event in events:
                            yield _change(event.name, event.data)
                raise Lost("The server ended its events.")
            except ClientError as error:
                if not persistent:
                    raise
                await backoff.wait(error)

    async def spy(self, *, color: bool = False) -> AsyncGenerator[bytes, None]:
        """All that is being sent, woven into one output. Raises Lost at a break: nothing is resumed here."""
        url = self.session.url("/spy", {"color": ""} if color else None)
        async with self.session.request("GET", url, follow=True) as response:
            yield b""
            async for piece in response.content.iter_any():
                yield piece
        raise Lost("The server ended the spying.")

    async def _json(self, method: str, url: URL) -> Any:
        async with self.session.request(method, url) as response:
            body = await response.read()
        try:
            return json.loads(body)
        except ValueError:
            raise Refused(response.status, "What answered is no Loom server.") from None


def _info(row: Mapping[str, Any]) -> StreamInfo:
    try:
        return StreamInfo.of(row)
    except (LookupError, TypeError, ValueError):
        raise Refused(200, "What answered is no Loom server, or one of another version.") from None


def _change(name: str, data: str) -> Change:
    if name == "reset":
        return Change(name)
    try:
        return Change(name, _info(json.loads(data)))
    except ValueError:
        raise Refused(200, "What answered is no Loom server.") from None

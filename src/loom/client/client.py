"""The client of a server, for asyncio. Owns the requests of a session other than uploads and reading."""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from loom.client.address import DEFAULT_SERVER
from loom.client.errors import ClientError, InvalidRequest, Lost
from loom.client.files import Source, chunks_of
from loom.client.grep import search
from loom.client.info import Change, StreamInfo
from loom.client.producing import Keeping, push
from loom.client.push import Pace
from loom.client.reading import Reading
from loom.client.session import Backoff, Session, Timeouts, foreign, head_of
from loom.client.uploads import Creation
from loom.model import DEFAULT_CONTENT_TYPE
from loom.wire.fields import tag_of
from loom.wire.matches import FoundLine, SearchEnd
from loom.wire.media import EVENTS
from loom.wire.metadata import decode
from loom.wire.sse import Decoder

PAGE = 1000

T = TypeVar("T")


class AsyncClient:
    """Talk to a Loom server. Use as `async with`, in one event loop.

    `server` is an http or https URL and may have a path. `token` is sent as a bearer token; `proxy` is the
    URL of an HTTP proxy. Every method raises ClientError for every failure of a request, and
    Refused for a response that is not Loom's.
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
        """Close all connections. May be repeated."""
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
        """Create the stream `id`, send `source` and return its size once the stream is complete and durable.

        After an outage of the network or the server, the push resumes from the last confirmed byte. Once the
        source has ended, an outage may last `patience` seconds. With `spool`, a directory, the rest is then
        stored there and Spooled is raised. `force` replaces a stream of this id. The stream is deleted `ttl`
        seconds after its end; 0 keeps it, None leaves that to the server.
        """
        state = await push(
            self.session,
            id,
            chunks_of(source),
            creation=Creation(
                metadata=json.dumps(metadata or {}), content_type=content_type, force=force, ttl=ttl
            ),
            pace=Pace(patience=patience),
            keeping=Keeping(spool=spool),
        )
        return state.offset

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
        """Read the bytes of a stream, stored and new, until it is complete; see Reading.

        Begin at the first byte, at `offset` (negative: from the end), at the last `lines`, at the `line` with
        this number (from 1), or at the first byte that arrived `since` a time (RFC 3339) or within a duration
        such as 10m. With `key`, read only the stream that has it. With `persistent`, retry the first request,
        too. With `verify`, compare the bytes with the digest of the stream. With `wait`, wait for a stream
        that does not exist yet and read it from its first byte.
        """
        query = _start(offset=offset, lines=lines, line=line, since=since)
        return Reading(self.session, id, query, key=key, verify=verify, persistent=persistent, wait=wait)

    async def download(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Read the bytes [start, stop) that are stored now; a negative `start` counts from the end.

        After a disconnect the download resumes. A complete stream that is read as a whole is compared with
        its digest, if the server has one.
        """
        headers = {"If-Match": tag_of(key)} if key else {}
        async with self.session.request("HEAD", self.session.stream_url(id), headers=headers) as response:
            head = head_of(response, "size", "key")
        size = head.size or 0
        start = max(0, size + start) if start < 0 else start
        stop = size if stop is None else min(stop, size)
        whole = bool(head.complete) and start == 0 and stop == size
        reading = Reading(
            self.session, id, {}, start=start, stop=stop, key=head.key, verify=whole, persistent=True
        )
        async with reading:
            async for piece in reading:
                yield piece

    async def read(
        self, id: str, start: int = 0, stop: int | None = None, *, key: str | None = None
    ) -> bytes:
        """Return the bytes [start, stop) that are stored now, in memory."""
        return b"".join([piece async for piece in self.download(id, start, stop, key=key)])

    async def grep(
        self,
        id: str,
        pattern: str,
        *,
        ignore_case: bool = False,
        before: int = 0,
        after: int = 0,
        limit: int | None = None,
        follow: bool = True,
        offset: int | None = None,
        lines: int | None = None,
        line: int | None = None,
        since: str | None = None,
        key: str | None = None,
    ) -> AsyncGenerator[FoundLine | SearchEnd, None]:
        """Search a stream on the server, and iterate over the lines that match; the last item is the end.

        `pattern` has RE2's syntax. Lines `before` and `after` each match have `context` set. The search ends
        after `limit` matches, or else at the end of the stream; without `follow`, at the end of what is
        stored. It begins as `follow` does, and continues after a disconnect.
        """
        query = _start(offset=offset, lines=lines, line=line, since=since)
        query |= {"grep": pattern, "before": str(before), "after": str(after)}
        query |= {"ignore_case": "true"} if ignore_case else {}
        query |= {} if follow else {"notail": ""}
        async with aclosing(search(self.session, id, query, limit, key)) as items:
            async for item in items:
                yield item

    async def info(self, id: str) -> StreamInfo:
        """Return what the server knows about one stream."""
        async with self.session.request("GET", self.session.stream_url(id, {"info": ""})) as response:
            return _member(response, await response.read(), StreamInfo.of)

    async def streams(
        self,
        prefix: str = "",
        *,
        states: Iterable[str] = (),
        outcomes: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        created_after: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[StreamInfo, None]:
        """Iterate over the streams that match, newest first.

        A stream matches if its id begins with `prefix`, its state is one of `states`, its outcome one of
        `outcomes`, its metadata has the members of `metadata`, and it was created after `created_after`
        (RFC 3339).
        """
        query = _filters(prefix, states, outcomes, metadata, created_after)
        while limit is None or limit > 0:
            query["limit"] = str(PAGE if limit is None else min(limit, PAGE))
            async with self.session.request("GET", self.session.url("/streams", query)) as response:
                rows, cursor = _member(response, await response.read(), _page)
            for row in rows:
                yield row
            if limit is not None:
                limit -= len(rows)
            if not cursor:
                return
            query["cursor"] = cursor

    async def total(
        self,
        prefix: str = "",
        *,
        states: Iterable[str] = (),
        outcomes: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        created_after: str | None = None,
    ) -> int:
        """Return how many streams match as in `streams`; 10,000 stands for that many or more."""
        query = _filters(prefix, states, outcomes, metadata, created_after) | {"count": "", "limit": "1"}
        async with self.session.request("GET", self.session.url("/streams", query)) as response:
            return _member(response, await response.read(), lambda reply: int(reply["count"]))

    async def delete(self, id: str) -> None:
        """Delete a stream, also a live one. Its bytes cannot be recovered."""
        async with self.session.request("DELETE", self.session.stream_url(id)) as response:
            if response.status != HTTPStatus.NO_CONTENT:
                raise foreign(response, "instead of 204")

    async def count(self, prefix: str) -> int:
        """Return how many streams `delete_all` would delete."""
        return await self._delete({"prefix": prefix, "dry_run": ""}, "count")

    async def delete_all(self, prefix: str, *, confirm: int) -> int:
        """Delete every stream whose id begins with `prefix`, and return their number.

        Raises Conflict, and deletes nothing, if their number is not `confirm`.
        """
        return await self._delete({"prefix": prefix, "confirm": str(confirm)}, "deleted")

    async def events(self, prefix: str = "", *, persistent: bool = False) -> AsyncGenerator[Change, None]:
        """Iterate over the changes of streams from now on, across disconnects. The first Change is a reset.

        With `persistent`, retry the first request, too.
        """
        backoff = Backoff(self.session.timeouts.patience)
        url = self.session.url("/events", {"prefix": prefix} if prefix else None)
        last = ""
        while True:
            headers = {"Accept": EVENTS} | ({"Last-Event-ID": last} if last else {})
            decoder = Decoder()
            try:
                async with self.session.request("GET", url, headers=headers) as response:
                    if response.content_type != EVENTS:
                        raise foreign(response, f"with {response.content_type} instead of {EVENTS}")
                    if not last:
                        yield Change("reset")
                    persistent = True
                    async for piece in response.content.iter_any():
                        backoff.reset()
                        events = decoder.feed(piece)
                        last = decoder.id or last
                        for event in events:
                            yield _member(response, event.data, partial(_change, event.name))
                raise Lost("The server ended the response with events.")
            except ClientError as error:
                if not persistent:
                    raise
                await backoff.wait(error)

    async def spy(self, *, color: bool = False) -> AsyncGenerator[bytes, None]:
        """Read the output of all live streams, merged. Raises Lost at a disconnect: it cannot be resumed."""
        url = self.session.url("/spy", {"color": ""} if color else None)
        async with self.session.request("GET", url, follow=True) as response:
            yield b""
            async for piece in response.content.iter_any():
                yield piece
        raise Lost("The server ended the output of all streams.")

    async def _delete(self, query: Mapping[str, str], member: str) -> int:
        async with self.session.request("DELETE", self.session.url("/streams", query)) as response:
            return _member(response, await response.read(), lambda reply: int(reply[member]))


def _filters(
    prefix: str,
    states: Iterable[str],
    outcomes: Iterable[str],
    metadata: Mapping[str, str] | None,
    created_after: str | None,
) -> dict[str, str]:
    """Return which streams match, as a query."""
    query = {f"meta.{name}": value for name, value in (metadata or {}).items()}
    given = {"prefix": prefix, "state": ",".join(states), "outcome": ",".join(outcomes)}
    given["created_after"] = created_after or ""
    return query | {name: value for name, value in given.items() if value}


def _start(**starts: int | str | None) -> dict[str, str]:
    """Return where to begin, as a query. Raises InvalidRequest for more than one place."""
    query = {name: str(value) for name, value in starts.items() if value is not None}
    if len(query) > 1:
        raise InvalidRequest(f"Begin at one of {' and '.join(query)}.")
    return query


def _member(response: aiohttp.ClientResponse, text: bytes | str, read: Callable[[Any], T]) -> T:
    """Return what `read` finds in the JSON of a response. Raise Refused if that is not Loom's."""
    try:
        return read(decode(text))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise foreign(response, "with a body that Loom does not send") from None


def _page(reply: Any) -> tuple[list[StreamInfo], str | None]:
    return [StreamInfo.of(row) for row in reply["streams"]], reply.get("cursor")


def _change(kind: str, row: Any) -> Change:
    return Change(kind, None if kind == "reset" else StreamInfo.of(row))

"""Search one stream on the server, across disconnects and the limits of the server. Owns where it continues.

A search continues at the offset that the server reports, or else at the latest match, with the key of the
stream that it began with. Lines that were returned are left out then.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

from loom.client.errors import ClientError, Lost, Refused, Replaced
from loom.client.session import Backoff, Session, foreign, head_of
from loom.wire.fields import tag_of
from loom.wire.matches import FoundLine, SearchEnd, SearchProgress, decode
from loom.wire.media import LINES

Item = FoundLine | SearchEnd

CONTINUED = ("time", "bytes")
"""Ends after which a further search continues at `next`."""


async def search(
    session: Session, id: str, query: Mapping[str, str], limit: int | None, key: str | None = None
) -> AsyncGenerator[Item, None]:
    """Yield the lines that a search finds, then its end.

    `query` says where the search begins and what it looks for; at most `limit` lines match. With `key`, only
    the stream that has it is searched. Raises what Session.request does, Replaced or NotFound for a stream
    that is gone, and Lost when `patience` has run out.
    """
    backoff = Backoff(session.timeouts.patience)
    place = _Place(dict(query), limit, key or "")
    while True:
        try:
            async with aclosing(_response(session, id, place)) as items:
                async for item in items:
                    backoff.reset()
                    yield item
                    if isinstance(item, SearchEnd):
                        return
        except ClientError as error:
            if not place.begun:
                raise
            await backoff.wait(error)


class _Place:
    """Where a search is, and what was found in all its requests."""

    def __init__(self, query: dict[str, str], limit: int | None, key: str) -> None:
        self.query = query
        self.key = key
        self.begun = False
        self._limit = limit
        self._shown = 0
        self._matches = 0
        self._searched = 0
        self._latest: FoundLine | None = None

    def begin(self) -> None:
        """Begin another request: its limit does not count the lines that were found before."""
        if self._limit is not None:
            # A search that continues at the latest match finds it again.
            self.query["limit"] = str(max(1, self._limit - self._matches + (self._latest is not None)))

    def line(self, line: FoundLine) -> bool:
        """Note a line. Returns False if it was returned before."""
        if not line.context:
            # Without a report of the progress, the search can continue at a match.
            self._latest = line
            self._continue(line.offset)
        if line.line <= self._shown:
            return False
        self._shown = line.line
        self._matches += not line.context
        return True

    def reported(self, progress: SearchProgress | SearchEnd) -> None:
        """Note from where the search can continue."""
        if progress.next is not None:
            self._latest = None
            self._continue(progress.next)

    def total(self, end: SearchEnd) -> SearchEnd:
        """Return the end of all requests together."""
        self._searched += end.searched
        return replace(end, matches=self._matches, searched=self._searched)

    def _continue(self, offset: int) -> None:
        for name in ("line", "lines", "since"):
            self.query.pop(name, None)
        self.query["offset"] = str(offset)


async def _response(session: Session, id: str, place: _Place) -> AsyncGenerator[Item, None]:
    """Yield what one response has, without the end if the search continues after it. Raises Lost if it has no
    end.
    """
    place.begin()
    headers = {"If-Match": tag_of(place.key)} if place.key else {}
    async with session.request(
        "GET", session.stream_url(id, place.query), headers=headers, follow=True
    ) as response:
        if response.content_type != LINES:
            raise foreign(response, f"with {response.content_type} instead of {LINES}")
        place.begun = True
        place.key = head_of(response, "key").key or ""
        async for text in response.content:
            try:
                found = decode(text)
            except (ValueError, TypeError, RecursionError):
                raise Lost("The response is not the result of a search, or was cut.") from None
            if isinstance(found, FoundLine):
                if place.line(found):
                    yield found
                continue
            place.reported(found)
            if isinstance(found, SearchEnd):
                end = place.total(found)
                if found.ended in CONTINUED:
                    return
                _check(end)
                yield end
                return
    raise Lost("The response to a search has no end.")


def _check(end: SearchEnd) -> None:
    """Raise the error that the end of a search reports."""
    if end.ended == "stopped":
        raise Lost(end.reason)
    if end.ended == "gone":
        raise Replaced(412, end.reason)
    if end.ended == "failed":
        raise Refused(500, end.reason)

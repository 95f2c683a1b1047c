"""GET /events: what happens to streams as a whole, as Server-Sent Events.

Owns what these events say, and who is told which.

    id: <epoch>:<number>    goes on from there, as Last-Event-ID
    event: created          or closed (complete or aborted), or deleted; a replaced stream is both
    data: {"id": "build/42", "key": "...", "state": "live", ...}        as in GET /streams

    event: reset            what happened before is not known any more: list the streams again
    data: {}
"""

import random
from collections.abc import AsyncGenerator, Callable

from loom.errors import StoreStopped
from loom.http.exchange import Exchange, body_part
from loom.http.service.listing import once, row
from loom.http.stream.sse import BEAT, EVENT_HEADERS, RETRY, beating
from loom.model import Info
from loom.streams.feed import Position
from loom.streams.service import Service
from loom.wire.sse import encode, encode_id, encode_retry

UNTOLD = 500
"""After so many changes that are not for a consumer it is given their id, so that its place stays known."""

Wanted = Callable[[Info], bool]


class FeedEvents:
    """The handler of /events."""

    def __init__(self, service: Service, *, beat: float = BEAT) -> None:
        self._service = service
        self._beat = beat

    async def read(self, exchange: Exchange) -> None:
        """What happens from now on, or behind Last-Event-ID, until the client leaves."""
        prefix = once(exchange.query_params.multi_items(), {"prefix"}).get("prefix", "")
        visible = exchange.visible()

        def wanted(info: Info) -> bool:
            return info.id.startswith(prefix) and visible(info.id)

        position = self._service.changes(b",".join(exchange.all(b"last-event-id")).decode("latin-1").strip())
        if exchange.head:
            await exchange.respond(200, EVENT_HEADERS)
            return
        with self._service.follower_slot():
            # Who leaves before anything has happened can go on from here too.
            await exchange.begin(200, EVENT_HEADERS, encode_id(position.id) if position.id else b"")
            await exchange.relay(beating(feed_events(position, wanted), self._beat), body_part)


async def feed_events(position: Position, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """The changes that are wanted, as events; ends when the server stops."""
    untold = 0
    try:
        while True:
            changes = await position.next()
            if changes is None:
                yield encode("{}", name="reset", id=position.id or "")
                continue
            for id, change in changes:
                untold += 1
                if wanted(change.info):
                    untold = 0
                    yield encode(row(change.info), name=change.kind, id=id)
            if untold >= UNTOLD and position.id:
                untold = 0
                yield encode_id(position.id)
    except StoreStopped:
        yield encode_retry(random.randint(*RETRY))

"""GET /events: changes to streams as Server-Sent Events. Owns the content of the events, and which of them a
client gets.

id: <epoch>:<number>    resumes from here, sent as Last-Event-ID
event: created          or changed (its metadata), closed (complete or aborted), or deleted; a replaced
                        stream is deleted, then created
data: {"id": "build/42", "key": "...", "state": "live", ...}        as in GET /streams

event: reset            earlier changes may be missing: list the streams again
data: {}
"""

from collections.abc import AsyncGenerator, Callable

from loom.errors import StoreStopped
from loom.http.exchange import Exchange
from loom.http.headers import EVENT_HEADERS
from loom.http.heartbeat import INTERVAL, reconnect_later, with_heartbeat
from loom.http.service.listing import once, words_of
from loom.model import Info, Outcome, Query
from loom.streams.feed import Position
from loom.streams.service import Service
from loom.wire.sse import encode, encode_id

SKIPPED = 500
"""After so many changes that a client does not get, it is sent their id, so that its position stays known."""

Wanted = Callable[[Info], bool]


class ServiceEvents:
    """The handler of /events."""

    def __init__(self, service: Service, *, heartbeat: float = INTERVAL) -> None:
        self._service = service
        self._heartbeat = heartbeat

    async def read(self, exchange: Exchange) -> None:
        """Send changes from now on, or after Last-Event-ID, until the client disconnects."""
        given = once(exchange.query_params.multi_items(), {"prefix", "outcome"})
        outcomes = words_of(Outcome, given["outcome"]) if "outcome" in given else frozenset()
        query = Query(prefix=given.get("prefix", ""), outcomes=frozenset(outcomes))
        visible = exchange.visible()

        def wanted(info: Info) -> bool:
            return query.matches(info) and visible(info.id)

        position = self._service.changes(b",".join(exchange.all(b"last-event-id")).decode("latin-1").strip())
        if exchange.head:
            await exchange.respond(200, EVENT_HEADERS)
            return
        with self._service.follower_slot():
            # A client that disconnects before the first event can resume from here too.
            await exchange.begin(200, EVENT_HEADERS, encode_id(position.id) if position.id else b"")
            await exchange.relay(with_heartbeat(change_events(position, wanted), self._heartbeat))


async def change_events(position: Position, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Yield the changes that are wanted as events; ends when the server stops."""
    skipped = 0
    try:
        while True:
            changes = await position.next()
            if changes is None:
                yield encode("{}", name="reset", id=position.id or "")
                continue
            events = [each.encoded for each in changes if wanted(each.change.info)]
            skipped = 0 if events else skipped + len(changes)
            if events:
                yield b"".join(events)
            if skipped >= SKIPPED and position.id:
                skipped = 0
                yield encode_id(position.id)
    except StoreStopped:
        yield reconnect_later()

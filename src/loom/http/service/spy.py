"""GET /spy: many streams interleaved in one response that does not end. Owns its form as events.

event: start    a stream that is not final, or a new one; data: {"id": ..., "key": ..., "offset": <where it
                starts here>}
event: joined   all streams that were not final when the client joined have started; data: {}
data: {"key": ..., "offset": <after it>, "text": "..."}        U+FFFD replaces what is not UTF-8
event: end      complete, aborted, deleted or replaced; data as that of start
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from loom.errors import StoreStopped
from loom.http.exchange import Exchange
from loom.http.headers import EVENT_HEADERS, LIVE_HEADERS
from loom.http.heartbeat import INTERVAL, reconnect_later, with_heartbeat
from loom.streams.service import Service
from loom.streams.spy import Source, Spy, TextOutput
from loom.wire.media import accepts_events
from loom.wire.sse import encode

# The bytes of streams are passed on unchanged, so no charset is certain. A terminal expects UTF-8.
HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), *LIVE_HEADERS]


class SpyOutput:
    """The handler of /spy."""

    def __init__(self, spy: Spy, service: Service, *, heartbeat: float = INTERVAL) -> None:
        self._spy = spy
        self._service = service
        self._heartbeat = heartbeat

    async def read(self, exchange: Exchange) -> None:
        """GET /spy: send until the client disconnects."""
        prefix = exchange.query_params.get("prefix", "")
        visible = exchange.visible()
        events = accepts_events(exchange.all(b"accept"))
        headers = EVENT_HEADERS if events else HEADERS
        if exchange.head:
            await exchange.respond(200, headers)
            return
        output = EventOutput() if events else TextOutput(exchange.given("color"))
        with self._service.follower_slot():
            async with aclosing(self._spy.interleave(output, prefix, visible)) as pieces:
                # Subscribed before the head is sent: a client that has the head misses nothing after it.
                first = await anext(pieces)
                await exchange.begin(200, headers, first + encode("{}", name="joined") if events else first)
                following = with_heartbeat(_until_stopped(pieces), self._heartbeat) if events else pieces
                await exchange.relay(following)


class EventOutput:
    """The output of a spy as events."""

    def announce(self, word: str, source: Source) -> bytes:
        """Return the event `start` or `end` of a stream."""
        members = {"id": source.id, "key": source.key, "offset": source.offset}
        return encode(json.dumps(members), name=word.lower())

    def show(self, source: Source, data: bytes) -> bytes:
        """Return an event with bytes of a stream."""
        after = source.offset - len(source.whole.held)
        members = {"key": source.key, "offset": after, "text": data.decode(errors="replace")}
        return encode(json.dumps(members, ensure_ascii=False))


async def _until_stopped(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Pass events on; ask the client to reconnect once the server stops."""
    try:
        async for piece in pieces:
            yield piece
    except StoreStopped:
        yield reconnect_later()

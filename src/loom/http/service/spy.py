"""GET /spy: all streams interleaved in one response that does not end."""

from contextlib import aclosing

from loom.http.exchange import Exchange, body_part
from loom.http.headers import NO_STORE, NOSNIFF, SAME_ORIGIN, SANDBOX, UNBUFFERED
from loom.streams.service import Service
from loom.streams.spy import Spy

# The bytes of streams are passed on unchanged, so no charset is certain. A terminal expects UTF-8.
HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    *(NO_STORE, NOSNIFF, SANDBOX, SAME_ORIGIN, UNBUFFERED),
]


class SpyOutput:
    """The handler of /spy."""

    def __init__(self, spy: Spy, service: Service) -> None:
        self._spy = spy
        self._service = service

    async def read(self, exchange: Exchange) -> None:
        """GET /spy: send until the client disconnects."""
        visible = exchange.visible()
        if exchange.head:
            await exchange.respond(200, HEADERS)
            return
        with self._service.follower_slot():
            async with aclosing(self._spy.interleave(exchange.given("color"), visible)) as pieces:
                # Subscribed before the head is sent: a client that has the head misses nothing after it.
                first = await anext(pieces)
                await exchange.begin(200, HEADERS, first)
                await exchange.relay(pieces, body_part)

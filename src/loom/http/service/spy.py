"""/spy: every stream woven into one answer that never ends."""

from contextlib import aclosing

from loom.http.exchange import Exchange, body_part
from loom.http.headers import NO_STORE, NOSNIFF, SANDBOX, UNBUFFERED
from loom.streams.service import Service
from loom.streams.spy import Spy

# What streams hold is passed through as it is: no charset can be promised, UTF-8 is what a terminal expects.
HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE, NOSNIFF, SANDBOX, UNBUFFERED]


class SpyHole:
    """The handler of /spy."""

    def __init__(self, spy: Spy, service: Service) -> None:
        self._spy = spy
        self._service = service

    async def read(self, exchange: Exchange) -> None:
        """GET /spy: until the client leaves."""
        shown = exchange.visible()
        if exchange.head:
            await exchange.respond(200, HEADERS)
            return
        with self._service.follower_slot():
            async with aclosing(self._spy.weave(exchange.given("color"), shown)) as pieces:
                # Joined before the head is sent: who has seen the head misses nothing that comes after it.
                joined = await anext(pieces)
                await exchange.begin(200, HEADERS, joined)
                await exchange.relay(pieces, body_part)

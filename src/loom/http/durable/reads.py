"""GET and HEAD of /v1/stream/{id}: stored bytes, long-polls and events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from loom.access.auth import Action
from loom.errors import StreamGone, StreamNotFound
from loom.http.durable.events import Events, in_base64
from loom.http.durable.framing import Array, array_size
from loom.http.durable.paths import stream_of
from loom.http.durable.positions import NOW, next_cursor
from loom.http.durable.requests import LONG_POLL, SSE, Wanted, announced
from loom.http.durable.responses import (
    ENCODED,
    UP_TO_DATE,
    closed,
    described,
    next_offset,
    part_headers,
    part_tag,
)
from loom.http.exchange import Exchange
from loom.http.extensions import ZERO_COPY
from loom.http.headers import EVENT_HEADERS, NO_STORE, NOSNIFF, Headers, content_length
from loom.http.heartbeat import INTERVAL, with_heartbeat
from loom.http.stream.conditions import NotModified, Validators, check_conditions
from loom.model import Framing
from loom.streams.reading import Piece, Reading, check_not_aborted
from loom.streams.service import Service

EVENTS: Headers = [
    (name, b"no-cache, no-store, no-transform" if name == b"cache-control" else value)
    for name, value in EVENT_HEADERS
]


class Reads:
    """The handlers. A long-poll is answered after `long_poll_timeout` seconds, with or without bytes."""

    def __init__(self, service: Service, *, long_poll_timeout: float) -> None:
        self._service = service
        self._timeout = long_poll_timeout

    async def read(self, exchange: Exchange) -> None:
        """GET and HEAD: describe the stream, or send a part of it, live or not."""
        id = stream_of(exchange)
        if exchange.head:
            await self._describe(exchange, id)
            return
        exchange.require(Action.READ, id)
        wanted = Wanted.of(exchange.query_params.multi_items())
        try:
            async with exchange.attended():
                reading = await self._service.read(id, wanted.choose)
            async with reading:
                exchange.record.state = reading.info.state
                if wanted.live == SSE:
                    await self._send_events(exchange, wanted, reading)
                else:
                    await self._send_part(exchange, wanted, reading)
        except StreamGone:
            if exchange.record.status is not None:
                raise
            raise StreamNotFound(id) from None

    async def _describe(self, exchange: Exchange, id: str) -> None:
        if not exchange.principal.allowed(Action.READ, id):
            exchange.require(Action.WRITE, id)
        info = await self._service.info(id)
        exchange.record.state = info.state
        etag = (b"etag", part_tag(info, 0, info.size))
        await exchange.respond(200, [*described(info), etag])

    async def _send_events(self, exchange: Exchange, wanted: Wanted, reading: Reading) -> None:
        events = Events(reading, wanted.cursor, self._service.now)
        encoding = [ENCODED] if in_base64(reading.info) else []
        await exchange.begin(200, [*EVENTS, *encoding])
        await exchange.relay(with_heartbeat(events.stream(), INTERVAL, events.beat))

    async def _send_part(self, exchange: Exchange, wanted: Wanted, reading: Reading) -> None:
        start, stop = reading.part.start, reading.part.stop
        if stop is None:
            await self._wait(exchange, reading)
            stop = end = reading.end
        else:
            end = reading.info.size
        info = reading.latest
        live = wanted.live == LONG_POLL
        cursor = (
            [(b"stream-cursor", next_cursor(wanted.cursor, self._service.now()).encode())] if live else []
        )
        if live and stop == start:
            check_not_aborted(info)
            headers = [next_offset(stop), UP_TO_DATE, *closed(info), *cursor, NO_STORE, NOSNIFF]
            await exchange.respond(204, headers)
            return
        etag = None if wanted.start == NOW else part_tag(info, start, stop)
        try:
            check_conditions(exchange, info, Validators(etag))
        except NotModified:
            await exchange.respond(304, part_headers(info, stop, end, etag))
            return
        lines = info.framing is Framing.JSON
        size = array_size(stop - start) if lines else stop - start
        kind = (b"content-type", announced(info).encode("latin-1"))
        await exchange.start(200, [kind, content_length(size), *part_headers(info, stop, end, etag), *cursor])
        slices = not lines and exchange.extended(ZERO_COPY)
        pieces = _up_to(stop, reading, slices=slices)
        await exchange.relay(_array(pieces) if lines else pieces)

    async def _wait(self, exchange: Exchange, reading: Reading) -> None:
        """Wait for the next byte or the end of the stream, for a limited time."""
        async with exchange.attended():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await reading.wait()


async def _up_to(stop: int, reading: Reading, *, slices: bool) -> AsyncGenerator[Piece, None]:
    """Yield the pieces before `stop`, also of a follower, which may receive more meanwhile."""
    if reading.offset == stop:
        return
    async for piece in reading.pieces(slices=slices):
        over = reading.offset - stop
        if over <= 0:
            yield piece
        elif isinstance(piece, bytes):
            yield piece[:-over]
        if over >= 0:
            return


async def _array(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
    """Yield lines of JSON as one array."""
    array = Array()
    async for piece in pieces:
        assert isinstance(piece, bytes)
        yield array.feed(piece)
    yield array.end()

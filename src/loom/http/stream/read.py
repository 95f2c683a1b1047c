"""GET and HEAD of /stream/{id}. Owns the path of bytes from the service to a connection.

Knows nothing of how streams are stored or followed.
"""

from contextlib import nullcontext

from loom.access.auth import Action
from loom.http.exchange import Exchange
from loom.http.extensions import CROWD, ZERO_COPY
from loom.http.headers import NO_STORE
from loom.http.searches import Searches
from loom.http.stream.conditions import NotModified
from loom.http.stream.grep import StreamGrep
from loom.http.stream.index import answer_index, answer_moments
from loom.http.stream.response_headers import upload_headers
from loom.http.stream.selection import Selection
from loom.http.stream.sse import StreamEvents
from loom.model import Info, State
from loom.streams.crowd import AsStored, Member
from loom.streams.grep.search import Grep
from loom.streams.service import Service
from loom.wire.head import StreamHead
from loom.wire.media import accepts_events
from loom.wire.rows import encode_row


class Reads:
    """The handlers of GET and HEAD."""

    def __init__(self, service: Service, grep: Grep, searches: Searches) -> None:
        self._service = service
        self._searches = searches
        self._grep = StreamGrep(service, grep, searches)
        self._events = StreamEvents(service, searches)

    async def read(self, exchange: Exchange) -> None:
        """GET and HEAD /stream/{id}: send stored bytes, or a part of them, then new bytes, until the stream
        ends.
        """
        id = exchange.stream_id
        if exchange.head and not exchange.principal.allowed(Action.READ, id):
            await self._answer_producer(exchange, id)
            return
        exchange.require(Action.READ, id)
        if exchange.given("info"):
            await exchange.respond_json(encode_row(await self._service.info(id)))
        elif exchange.given("index"):
            await answer_index(exchange, self._service, self._searches, id)
        elif exchange.given("moments"):
            await answer_moments(exchange, self._service, self._searches, id)
        elif exchange.given("grep"):
            await self._grep.read(exchange, id)
        elif accepts_events(exchange.all(b"accept")):
            await self._events.read(exchange, id)
        else:
            await self._answer(exchange, id)

    async def _answer(self, exchange: Exchange, id: str) -> None:
        selection = Selection(exchange.query_params.multi_items(), exchange, self._service.now())
        turn = self._searches.turn(exchange) if selection.searches else nullcontext()
        try:
            if exchange.head:
                async with turn:
                    info, part = await self._service.locate(id, selection.choose)
                status, headers = selection.answer(await self._with_digest(info, selection), part)
                # A cache must not answer how much of a stream is stored.
                headers = [pair for pair in headers if pair[0] != NO_STORE[0]]
                headers += [NO_STORE, *upload_headers(info, self._service)]
                await exchange.respond(status, headers)
                return
            async with turn:
                reading = await self._service.read(id, selection.choose)
        except NotModified as same:
            await exchange.respond(*selection.unchanged(same.info))
            return
        async with reading:
            exchange.record.state = reading.info.state
            info = await self._with_digest(reading.info, selection)
            status, headers = selection.answer(info, reading.part)
            to_end = selection.promises_end(reading.part)
            ends_short = to_end and info.state is State.ABORTED
            if ends_short:
                # Without a length the response can be cut after its last byte, as that of a follower is.
                headers = [pair for pair in headers if pair[0] != b"content-length"]
            # With a known length, the head and the first bytes leave together.
            begin = exchange.begin if reading.part.stop is None or ends_short else exchange.start
            await begin(status, headers)
            slices = exchange.extended(ZERO_COPY)
            member = Member(AsStored()) if exchange.extended(CROWD) else None
            await exchange.relay(reading.pieces(slices=slices, to_end=to_end, member=member))

    async def _answer_producer(self, exchange: Exchange, id: str) -> None:
        """Answer HEAD for a client that may write but not read: only how much of the stream is stored."""
        exchange.require(Action.WRITE, id)
        info = await self._service.info(id)
        await exchange.respond(
            200, [*StreamHead(tag=info.key).headers, NO_STORE, *upload_headers(info, self._service)]
        )

    async def _with_digest(self, info: Info, selection: Selection) -> Info:
        """Return the stream with its digest if the response sends one."""
        return await self._service.digests.known(info) if selection.whole else info

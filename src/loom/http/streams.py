"""/stream: produce a stream, read one. Owns the way of bytes between a connection and the service.

Knows nothing of how streams are stored or followed.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.types import Message, Receive

from loom.auth import Action
from loom.errors import ProducerIdle, WriterLost
from loom.http.conditions import NotModified
from loom.http.events import StreamEvents, accepts_events
from loom.http.exchange import Disconnected, Exchange, body_part, interruptible
from loom.http.headers import (
    NO_STORE,
    answers_early,
    check_encoding,
    content_type_of,
    created_headers,
)
from loom.http.metadata import parse_metadata
from loom.http.selection import Selection
from loom.model import NewStream, State, new_id, parse_id, quote_id
from loom.service import FileSlice, Piece, Producer, Service


class Streams:
    """The handlers of /stream and /stream/{id}."""

    def __init__(
        self,
        service: Service,
        *,
        max_metadata_bytes: int = 4096,
        early_response: str = "direct",
        producer_idle_timeout: float = 0,
    ) -> None:
        self._service = service
        self._events = StreamEvents(service)
        self._max_metadata_bytes = max_metadata_bytes
        self._early_response = early_response
        self._idle = producer_idle_timeout

    async def create_new(self, exchange: Exchange) -> None:
        """POST /stream: a stream under an id of its own."""
        await self._create(exchange, new_id(time.time()))

    async def create(self, exchange: Exchange) -> None:
        """POST /stream/{id}: a stream of that id, unless it is taken."""
        await self._create(exchange, _id(exchange))

    async def read(self, exchange: Exchange) -> None:
        """GET and HEAD /stream/{id}: all or a part of what is stored, then what comes, to the end."""
        id = _id(exchange)
        exchange.require(Action.READ, id)
        if accepts_events(exchange.all(b"accept")):
            await self._events.read(exchange, id)
            return
        selection = Selection(exchange.query_params.multi_items(), exchange)
        attended = exchange.attended() if selection.searches else nullcontext()
        try:
            if exchange.head:
                async with attended:
                    info, part = await self._service.locate(id, selection.choose)
                await exchange.respond(*selection.answer(info, part))
                return
            async with attended:
                reading = await self._service.read(id, selection.choose)
        except NotModified as same:
            await exchange.respond(*selection.unchanged(same.info))
            return
        async with reading:
            exchange.record.state = reading.info.state
            # Of what is there already, head and first bytes leave together.
            begin = exchange.begin if reading.part.stop is None else exchange.start
            await begin(*selection.answer(reading.info, reading.part))
            slices = "http.response.zerocopysend" in (exchange.scope.get("extensions") or {})
            await exchange.relay(reading.pieces(slices=slices), _part)

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /stream/{id}: a producer and followers are cut; answered when it can not come back."""
        id = _id(exchange)
        exchange.require(Action.DELETE, id)
        info = await self._service.delete(id)
        exchange.record.stream, exchange.record.state = quote_id(id), info.state
        await exchange.respond(204, [NO_STORE])

    async def _create(self, exchange: Exchange, id: str) -> None:
        exchange.require(Action.WRITE, id)
        new = NewStream(
            id=id,
            metadata=parse_metadata(exchange.all(b"x-stream-metadata"), self._max_metadata_bytes),
            content_type=content_type_of(exchange.all(b"content-type")),
        )
        check_encoding(exchange.all(b"content-encoding"))
        early = answers_early(self._early_response, exchange.scope["http_version"], exchange.scope["headers"])
        exchange.record.stream = quote_id(id)
        producer = await self._service.create(new, replace=exchange.flag("force"))
        headers = created_headers(producer.info, replaced=producer.replaced, early=early)
        try:
            async with _begun(exchange, headers if early else None):
                await self._take_body(exchange, producer)
                exchange.record.state = (await producer.complete()).state
        except BaseException as error:
            if not isinstance(error, WriterLost):
                exchange.record.state = State.INTERRUPTED
            await asyncio.shield(producer.lose(_reason(error)))
            raise
        if early:
            await exchange.end()
        else:
            await exchange.respond(201, headers)

    async def _take_body(self, exchange: Exchange, producer: Producer) -> None:
        """Hand the body over, piece by piece, to its end. Raises Disconnected, ProducerIdle, LoomError."""
        receive = _patient(exchange.receive, self._idle) if self._idle else exchange.receive
        async with interruptible() as interrupt:
            producer.on_lost(interrupt)
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                if data := message.get("body"):
                    exchange.record.received += len(data)
                    await producer.take(bytes(data))
                more = message.get("more_body", False)


@asynccontextmanager
async def _begun(exchange: Exchange, headers: list[tuple[bytes, bytes]] | None) -> AsyncIterator[None]:
    """Answer 201 at once while the block receives; with None nothing is sent yet.

    A task of its own sends it, so that the block's `receive` comes first: a client that sent
    `Expect: 100-continue` then gets its 100, which no server sends after a final status.
    """
    if headers is None:
        yield
        return
    answering = asyncio.create_task(exchange.begin(201, headers))
    try:
        yield
        await answering
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


def _patient(receive: Receive, seconds: float) -> Receive:
    """The same, but ProducerIdle when nothing comes for so long."""

    async def patient() -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            raise ProducerIdle(seconds) from None

    return patient


def _id(exchange: Exchange) -> str:
    return parse_id(exchange.path_params["id"].encode("latin-1"))


def _reason(error: BaseException) -> str:
    """Why a producer was lost, as part of a sentence."""
    if isinstance(error, Disconnected):
        return "the connection of its producer was lost"
    if isinstance(error, ProducerIdle):
        return "its producer sent nothing for too long"
    if isinstance(error, asyncio.CancelledError):
        return "the server stopped"
    return "the server could not go on with its producer"


def _part(piece: Piece) -> Message:
    if isinstance(piece, FileSlice):
        return {
            "type": "http.response.zerocopysend",
            "file": piece.fileno,
            "offset": piece.start,
            "count": piece.stop - piece.start,
            "more_body": True,
        }
    return body_part(piece)

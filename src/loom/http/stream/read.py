"""GET and DELETE /stream/{id}. Owns the way of bytes from the service to a connection.

Knows nothing of how streams are stored or followed.
"""

from contextlib import nullcontext

from starlette.types import Message

from loom.access.auth import Action
from loom.http.exchange import Exchange, body_part
from loom.http.headers import NO_STORE
from loom.http.problem import Headers
from loom.http.service.listing import answer_json, row
from loom.http.stream.conditions import NotModified
from loom.http.stream.index import answer_index
from loom.http.stream.selection import Selection
from loom.http.stream.sse import StreamEvents, accepts_events
from loom.http.stream.upload_headers import tag_of, upload_headers
from loom.model import Info, parse_id, quote_id
from loom.streams.reading import FileSlice, Piece
from loom.streams.service import Service


class Streams:
    """The handlers of /stream and /stream/{id}."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._events = StreamEvents(service)

    async def read(self, exchange: Exchange) -> None:
        """GET and HEAD /stream/{id}: all or a part of what is stored, then what comes, to the end."""
        id = _id(exchange)
        if exchange.head and not exchange.principal.allowed(Action.READ, id):
            await self._tell_producer(exchange, id)
            return
        exchange.require(Action.READ, id)
        if exchange.given("info"):
            await answer_json(exchange, row(await self._service.info(id)) + "\n")
            return
        if exchange.given("index"):
            await answer_index(exchange, self._service, id)
            return
        if accepts_events(exchange.all(b"accept")):
            await self._events.read(exchange, id)
            return
        selection = Selection(exchange.query_params.multi_items(), exchange, self._service.now())
        attended = exchange.attended() if selection.searches else nullcontext()
        try:
            if exchange.head:
                async with attended:
                    info, part = await self._service.locate(id, selection.choose)
                status, headers = selection.answer(await self._told(info, selection), part)
                # How far a producer has come may not be answered by any cache.
                headers = [pair for pair in headers if pair[0] != NO_STORE[0]]
                headers += [
                    NO_STORE,
                    *self._upload_headers(info),
                ]
                await exchange.respond(status, headers)
                return
            async with attended:
                reading = await self._service.read(id, selection.choose)
        except NotModified as same:
            await exchange.respond(*selection.unchanged(same.info))
            return
        async with reading:
            exchange.record.state = reading.info.state
            info = await self._told(reading.info, selection)
            # Of what is there already, head and first bytes leave together.
            begin = exchange.begin if reading.part.stop is None else exchange.start
            await begin(*selection.answer(info, reading.part))
            slices = "http.response.zerocopysend" in (exchange.scope.get("extensions") or {})
            await exchange.relay(reading.pieces(slices=slices), _part)

    async def _tell_producer(self, exchange: Exchange, id: str) -> None:
        """HEAD for who may write but not read: how far the stream has come, and nothing else of it."""
        exchange.require(Action.WRITE, id)
        info = await self._service.info(id)
        headers = [
            (b"etag", tag_of(info)),
            NO_STORE,
            *self._upload_headers(info),
        ]
        await exchange.respond(200, headers)

    async def _told(self, info: Info, selection: Selection) -> Info:
        """The stream with its digest, if the answer has a place for that."""
        return await self._service.digests.known(info) if selection.whole else info

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /stream/{id}: a producer and followers are cut; answered when it can not come back."""
        id = _id(exchange)
        exchange.require(Action.REPLACE, id)
        info = await self._service.delete(id)
        exchange.record.stream, exchange.record.state = quote_id(id), info.state
        await exchange.respond(204, [NO_STORE])

    def _upload_headers(self, info: Info) -> Headers:
        return upload_headers(info, self._service.now(), self._service.limits.stream_bytes)


def _id(exchange: Exchange) -> str:
    return parse_id(exchange.path_params["id"].encode("latin-1"))


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

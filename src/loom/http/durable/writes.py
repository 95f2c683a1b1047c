"""PUT, POST and DELETE of /v1/stream/{id}: create a shared stream, append a message to it, delete it."""

from loom.access.auth import Action
from loom.access.quotas import Quotas
from loom.errors import (
    BadRequest,
    Conflict,
    ProducerFenced,
    SequenceGap,
    StreamFinal,
)
from loom.http.durable.bodies import Bodies
from loom.http.durable.framing import lines_of
from loom.http.durable.paths import stream_of
from loom.http.durable.requests import announced, append_of, closes, content_type_of, fork_of, lifetime
from loom.http.durable.responses import appended, described, end_of
from loom.http.exchange import Exchange
from loom.http.headers import Headers, content_length
from loom.http.problem import problem, problem_of
from loom.http.stream.metadata import parse_metadata
from loom.http.stream.request_headers import check_encoding, media_type
from loom.http.stream.write import Writes
from loom.ids import quote_id
from loom.model import Framing, Info, NewStream, State
from loom.streams.service import Service
from loom.wire.media import JSON, LINES, plain_type

ALLOW = (b"allow", b"DELETE, GET, HEAD, OPTIONS")
"""What a stream of one producer supports here."""


class OneProducer(Exception):
    """The stream is not shared: one producer writes it."""


class Appends:
    """The handlers. Streams are deleted as everywhere, by `writes`."""

    def __init__(
        self, service: Service, writes: Writes, quotas: Quotas, bodies: Bodies, *, max_metadata_bytes: int
    ) -> None:
        self._service = service
        self._writes = writes
        self._quotas = quotas
        self._bodies = bodies
        self._max_metadata_bytes = max_metadata_bytes

    async def put(self, exchange: Exchange) -> None:
        """PUT: create the stream with its first messages, or report one that was created like this."""
        new = self._new_stream(exchange)
        exchange.record.stream = quote_id(new.id)
        async with self._bodies.collected(exchange) as pieces:
            shared = self._service.shared
            prefix: list[bytes] = []
            fork = fork_of(exchange)
            if fork is not None:
                exchange.require(Action.READ, fork.id)
                new, prefix = await shared.forked(new, fork, typed=bool(exchange.all(b"content-type")))
            info, created = await shared.create(
                new,
                [*prefix, *_messages(pieces, new.framing, least=0)],
                lambda size: self._quotas.charge_creation(exchange.principal, size, replaced=None),
                anywhere=fork is not None and fork.offset is None,
            )
        exchange.record.state = info.state
        headers = [*described(info), content_length(0)]
        if created:
            headers.append((b"location", _address(exchange)))
        await exchange.respond(201 if created else 200, headers)

    def _new_stream(self, exchange: Exchange) -> NewStream:
        id = stream_of(exchange)
        exchange.require(Action.WRITE, id)
        check_encoding(exchange.all(b"content-encoding"))
        kind = content_type_of(exchange)
        lines = plain_type(kind) == JSON
        ttl, expires = lifetime(exchange)
        return NewStream(
            id=id,
            metadata=parse_metadata(exchange.all(b"x-stream-metadata"), self._max_metadata_bytes),
            content_type=LINES if lines else kind,
            framing=Framing.JSON if lines else Framing.BYTES,
            state=State.COMPLETE if closes(exchange) else State.OPEN,
            ttl=ttl,
            expires=expires,
            owner=exchange.principal.owner,
        )

    async def post(self, exchange: Exchange) -> None:
        """POST: append the messages of the body, close the stream, or both at once."""
        id = stream_of(exchange)
        exchange.require(Action.WRITE, id)
        exchange.record.stream = quote_id(id)
        append = append_of(exchange)
        check_encoding(exchange.all(b"content-encoding"))
        try:
            async with self._bodies.collected(exchange) as pieces:
                if not pieces and not append.close:
                    raise BadRequest("The body is empty; send a message, or Stream-Closed: true.")
                info, verdict = await self._service.shared.append(
                    id,
                    append,
                    lambda info: self._accepted(exchange, info, pieces),
                    lambda size: self._quotas.charge(exchange.principal, size),
                )
        except OneProducer:
            exchange.record.code = "method_not_allowed"
            detail = "One producer writes this stream, so that others cannot append messages to it."
            await exchange.respond(*problem(405, "method_not_allowed", detail, headers=[ALLOW]))
            return
        except (ProducerFenced, SequenceGap, StreamFinal) as error:
            exchange.record.code = error.code
            await exchange.respond(*problem_of(error, headers=await self._explained(id, error)))
            return
        exchange.record.state = info.state
        created = append.producer is not None and bool(pieces) and not verdict.repeat
        headers = appended(info, append, verdict)
        if created:
            await exchange.respond(200, [*headers, content_length(0)])
        else:
            await exchange.respond(204, headers)

    def _accepted(self, exchange: Exchange, info: Info, pieces: list[bytes]) -> list[bytes]:
        """Return the body as this stream stores it. Raises OneProducer, BadRequest, TooLarge."""
        if info.framing is Framing.NONE:
            raise OneProducer
        if not pieces or info.state.final:
            return pieces
        kind = exchange.all(b"content-type")
        if not kind:
            raise BadRequest("An append needs the Content-Type of its stream.")
        if media_type(kind) != plain_type(announced(info)):
            raise Conflict(f"The content type of the stream is {announced(info)}.")
        return _messages(pieces, info.framing, least=1)

    async def _explained(self, id: str, error: ProducerFenced | SequenceGap | StreamFinal) -> Headers:
        """Return the headers of a refusal by which a client decides what to do next."""
        if isinstance(error, ProducerFenced):
            return [(b"producer-epoch", b"%d" % error.epoch)]
        if isinstance(error, SequenceGap):
            return [
                (b"producer-expected-seq", b"%d" % error.expected),
                (b"producer-received-seq", b"%d" % error.received),
            ]
        return end_of(await self._service.info(id))

    async def delete(self, exchange: Exchange) -> None:
        """DELETE: delete the stream."""
        stream_of(exchange)
        await self._writes.delete(exchange)


def _messages(pieces: list[bytes], framing: Framing, *, least: int) -> list[bytes]:
    """Return a body as it is stored. Raises BadRequest, also for fewer messages than `least`; TooLarge."""
    if framing is not Framing.JSON or not pieces:
        return pieces
    lines = lines_of(b"".join(pieces))
    if not lines and least:
        raise BadRequest("The array is empty; an append has at least one message.")
    return [lines] if lines else []


def _address(exchange: Exchange) -> bytes:
    """Return the URL of the stream, as the client addressed it."""
    path: str = exchange.scope["path"]
    host = exchange.headers.get("host", "")
    secure = "https" in (exchange.scope["scheme"], exchange.headers.get("x-forwarded-proto"))
    return (f"{'https' if secure else 'http'}://{host}{path}" if host else path).encode("latin-1")

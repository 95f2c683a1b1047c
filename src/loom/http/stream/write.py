"""POST and PATCH: create a stream, go on with one, change its metadata. Owns the way of bytes from a
connection to the service.

Knows nothing of how streams are stored.
"""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message, Receive

from loom.access.auth import Action
from loom.access.quotas import Quotas
from loom.errors import (
    Conflict,
    LoomError,
    ProducerIdle,
    QuotaExceeded,
    StreamExists,
    StreamFinal,
    UnsupportedPatch,
    WriterLost,
)
from loom.http.exchange import Disconnected, Exchange, body_part, interruptible
from loom.http.headers import (
    NO_STORE,
    NOSNIFF,
    answers_early,
    check_encoding,
    content_type_of,
    created_headers,
    digest_field,
)
from loom.http.problem import Headers, problem_of
from loom.http.stream.lifetime import lifetime, lifetime_headers
from loom.http.stream.metadata import merge_metadata, parse_merge_patch, parse_metadata
from loom.http.stream.upload_headers import (
    MERGE_PATCH,
    PARTIAL_UPLOAD,
    PROGRESS,
    Upload,
    check_match,
    idempotency_key,
    resume_window,
    tag_of,
    upload_headers,
)
from loom.model import Info, NewStream, State, new_id, parse_id, quote_id, repeats
from loom.streams.producer import Producer
from loom.streams.service import Service

PATCH_SPARE = 4096
"""Bytes that a merge patch may have beside twice those that metadata may have."""
PROGRESS_INTERVAL = 0.1
"""Seconds between two lines of progress, at least."""


class Uploads:
    """The handlers of POST and PATCH."""

    def __init__(
        self,
        service: Service,
        *,
        max_metadata_bytes: int = 4096,
        early_response: str = "direct",
        producer_idle_timeout: float = 0,
    ) -> None:
        self._service = service
        self._quotas = Quotas(service.now)
        self._max_metadata_bytes = max_metadata_bytes
        self._early_response = early_response
        self._idle = producer_idle_timeout

    async def create_new(self, exchange: Exchange) -> None:
        """POST /stream: a stream under an id of its own; of an Idempotency-Key it is made, so that a repeated
        request means the same one."""
        key = idempotency_key(exchange)
        await self._create(exchange, _id_of_key(exchange, key) if key else new_id(time.time()))

    async def create(self, exchange: Exchange) -> None:
        """POST /stream/{id}: a stream of that id, unless it is taken."""
        await self._create(exchange, _id(exchange))

    async def patch(self, exchange: Exchange) -> None:
        """PATCH /stream/{id}: what the content type says."""
        id = _id(exchange)
        exchange.require(Action.WRITE, id)
        exchange.record.stream = quote_id(id)
        kind = b",".join(exchange.all(b"content-type")).decode("latin-1").partition(";")[0].strip().lower()
        if kind not in ("", PARTIAL_UPLOAD, MERGE_PATCH):
            raise UnsupportedPatch("A PATCH of this Content-Type is not known; Accept-Patch says which are.")
        check_encoding(exchange.all(b"content-encoding"))
        await (self._amend(exchange, id) if kind == MERGE_PATCH else self._resume(exchange, id))

    async def _create(self, exchange: Exchange, id: str) -> None:
        exchange.require(Action.WRITE, id)
        upload = Upload.of(exchange)
        ttl, expires = lifetime(exchange, self._service.now())
        new = NewStream(
            id=id,
            metadata=parse_metadata(exchange.all(b"x-stream-metadata"), self._max_metadata_bytes),
            content_type=content_type_of(exchange.all(b"content-type")),
            idempotency_key=idempotency_key(exchange),
            length=upload.length,
            ttl=ttl,
            expires=expires,
        )
        window = resume_window(exchange)
        check_encoding(exchange.all(b"content-encoding"))
        exchange.record.stream = quote_id(id)
        with self._quotas.producing(exchange.principal, id) as exchange.spend:
            await self._begin(exchange, new, upload, window)

    async def _begin(self, exchange: Exchange, new: NewStream, upload: Upload, window: float | None) -> None:
        try:
            replace = exchange.flag("force")
            if replace:
                exchange.require(Action.REPLACE, new.id)
            producer = await self._service.create(new, replace=replace, resume_window=window)
        except StreamExists as error:
            await self._repeat(exchange, new, upload, error)
            return
        early = answers_early(self._early_response, exchange.scope["http_version"], exchange.scope["headers"])
        headers = created_headers(producer.info, replaced=producer.replaced)
        await self._produce(exchange, producer, upload, 201, headers, early=early)

    async def _repeat(self, exchange: Exchange, new: NewStream, upload: Upload, error: StreamExists) -> None:
        """Answer a creation as the first time, if that is what it is. Its body is not taken: what of it has
        been stored is told, and where to go on."""
        info = await self._service.info(new.id)
        if not repeats(new, info):
            raise error
        headers = [*created_headers(info, replaced=False), *self._upload_headers(info)]
        if upload.complete is None and info.state is not State.COMPLETE:
            # Nothing in such a request says that its sender could go on; a success would be a lie.
            unfinished = Conflict("The request of this Idempotency-Key did not complete; go on with PATCH.")
            await exchange.respond(*problem_of(unfinished, headers=self._upload_headers(info)))
            return
        exchange.record.state = info.state
        await exchange.respond(201, [*headers, (b"content-length", b"0"), (b"connection", b"close")])

    async def _resume(self, exchange: Exchange, id: str) -> None:
        with self._quotas.producing(exchange.principal, id) as exchange.spend:
            await self._go_on(exchange, id)

    async def _go_on(self, exchange: Exchange, id: str) -> None:
        upload = Upload.of(exchange)
        self._service.check_length(upload.length)
        start = upload.start

        def check(info: Info) -> None:
            check_match(exchange, info)
            upload.check(start, info.length)

        try:
            producer = await self._service.resume(id, start, check, epoch=upload.epoch)
        except StreamFinal as error:
            info = await self._service.info(id)
            check_match(exchange, info)
            same = upload.digest is None or upload.digest == (await self._service.digests.known(info)).digest
            if info.state is not State.COMPLETE or not upload.complete or start != info.size or not same:
                await exchange.respond(*problem_of(error, headers=self._upload_headers(info)))
            elif await _is_empty(exchange):
                # The answer to the request that completed it was lost: this is it.
                exchange.record.state = info.state
                await exchange.respond(204, [*_resumed_headers(info), *self._upload_headers(info)])
            else:
                await exchange.respond(*problem_of(error, headers=self._upload_headers(info)))
            return
        await self._produce(exchange, producer, upload, 204, _resumed_headers(producer.info), early=False)

    async def _amend(self, exchange: Exchange, id: str) -> None:
        """Change the metadata by a merge patch; a producer goes on."""
        # What nulls and escapes may add to what is kept in the end.
        patch = parse_merge_patch(await exchange.body(2 * self._max_metadata_bytes + PATCH_SPARE))

        def amended(info: Info) -> str:
            check_match(exchange, info)
            return merge_metadata(info.metadata, patch, self._max_metadata_bytes)

        info = await self._service.amend(id, amended)
        exchange.record.state = info.state
        await exchange.respond(204, [*_resumed_headers(info), (b"x-stream-metadata", info.metadata.encode())])

    async def _produce(
        self,
        exchange: Exchange,
        producer: Producer,
        upload: Upload,
        status: int,
        headers: Headers,
        *,
        early: bool,
    ) -> None:
        """Take the body, end or leave the stream, answer: as the body comes (`early`), or at its end."""
        early = early or upload.progress
        if upload.progress:
            status = 200 if status == 204 else status
            headers = [*headers, *self._upload_headers(producer.info), (b"content-type", PROGRESS), NOSNIFF]
        begun = asyncio.Event()

        async def answer() -> None:
            try:
                await exchange.begin(status, headers)
            finally:
                begun.set()
            if upload.progress:
                await _report(exchange, producer)

        try:
            async with _beside(answer if early else None):
                await self._take_body(exchange, producer, upload)
                upload.check(producer.offset, producer.info.length, ended=True)
                # Where the announced length is reached nothing is to come: some clients do not say so again.
                whole = upload.length if producer.info.length is None else producer.info.length
                more = upload.complete is False and producer.offset != whole
                info = await (producer.leave_open() if more else producer.complete(upload.digest))
                if early:
                    await begun.wait()
        except BaseException as error:
            if not isinstance(error, WriterLost):
                exchange.record.state = State.INTERRUPTED
            if (left := await asyncio.shield(producer.lose(_reason(error)))) is not None:
                exchange.record.state = left.state
            raise
        exchange.record.state = info.state
        if not early:
            length = [(b"content-length", b"0")] if status != 204 else []
            await exchange.respond(status, [*headers, *self._upload_headers(info), *length])
            return
        if upload.progress:
            info = await self._service.digests.known(info)
            told = {"digest": digest_field(info.digest)} if info.digest else {}
            await exchange.send(body_part(_line(offset=info.size, state=info.state, **told)))
        await exchange.end()

    async def _take_body(self, exchange: Exchange, producer: Producer, upload: Upload) -> None:
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
                    upload.check(producer.offset + len(data), producer.info.length)
                    size, exceeded = exchange.spend(len(data))
                    await producer.take(bytes(data[:size]))
                    if exceeded is not None:
                        raise exceeded
                more = message.get("more_body", False)

    def _upload_headers(self, info: Info) -> Headers:
        return upload_headers(info, self._service.now(), self._service.limits.stream_bytes)


@asynccontextmanager
async def _beside(answer: Callable[[], Coroutine[Any, Any, None]] | None) -> AsyncIterator[None]:
    """Answer while the block receives; with None nothing is sent yet.

    A task of its own sends, so that the block's `receive` comes first: a client that sent
    `Expect: 100-continue` then gets its 100, which no server sends after a final status.
    """
    if answer is None:
        yield
        return
    answering = asyncio.create_task(answer())
    try:
        yield
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _report(exchange: Exchange, producer: Producer) -> None:
    """A line whenever more has become durable, until cancelled."""
    offset = producer.info.size
    try:
        while True:
            offset = await producer.wait_durable(beyond=offset)
            await exchange.send(body_part(_line(offset=offset)))
            await asyncio.sleep(PROGRESS_INTERVAL)
    except LoomError:
        return  # whoever takes the body is told too


def _line(**members: object) -> bytes:
    return json.dumps(members).encode() + b"\n"


async def _is_empty(exchange: Exchange) -> bool:
    """True if the request has no body."""
    message = await exchange.receive()
    while message["type"] == "http.request" and not message.get("body") and message.get("more_body"):
        message = await exchange.receive()
    return message["type"] == "http.request" and not message.get("body")


def _resumed_headers(info: Info) -> Headers:
    return [
        (b"x-stream-id", quote_id(info.id).encode()),
        (b"etag", tag_of(info)),
        *lifetime_headers(info),
        NO_STORE,
    ]


def _id(exchange: Exchange) -> str:
    return parse_id(exchange.path_params["id"].encode("latin-1"))


def _id_of_key(exchange: Exchange, key: str) -> str:
    """A UUID version 8 (RFC 9562 section 5.8) of the key and of who sends it."""
    asker = b"\n".join(exchange.all(b"authorization"))
    digest = hashlib.sha256(asker + b"\0" + key.encode()).digest()
    value = int.from_bytes(digest[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def _patient(receive: Receive, seconds: float) -> Receive:
    """The same, but ProducerIdle when nothing comes for so long."""

    async def patient() -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            raise ProducerIdle(seconds) from None

    return patient


def _reason(error: BaseException) -> str:
    """Why a producer was lost, as part of a sentence."""
    if isinstance(error, Disconnected):
        return "the connection of its producer was lost"
    if isinstance(error, QuotaExceeded):
        return "its token had taken what it may"
    if isinstance(error, ProducerIdle):
        return "its producer sent nothing for too long"
    if isinstance(error, asyncio.CancelledError):
        return "the server stopped"
    return "the server could not go on with its producer"

"""POST, PATCH and DELETE of streams: create one, append to it, change its metadata, delete it.

Knows nothing of how streams are stored.
"""

import hashlib
import time
import uuid

from loom.access.auth import Action
from loom.access.quotas import Quotas
from loom.errors import Conflict, StreamExists, StreamFinal, UnsupportedPatch
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE, content_length
from loom.http.problem import problem_of
from loom.http.stream.body import Body
from loom.http.stream.conditions import check_match
from loom.http.stream.lifetime import lifetime
from loom.http.stream.metadata import merge_metadata, parse_merge_patch, parse_metadata
from loom.http.stream.request_headers import (
    Upload,
    answers_early,
    check_encoding,
    content_type_of,
    idempotency_key,
    media_type,
    resume_window,
)
from loom.http.stream.response_headers import changed_headers, created_headers, upload_headers
from loom.ids import new_id, quote_id
from loom.model import Info, NewStream, State, repeats
from loom.streams.service import Service
from loom.wire.media import MERGE_PATCH, PARTIAL_UPLOAD

PATCH_SPARE = 4096
"""Bytes that a merge patch may have in addition to twice the limit on metadata."""


class Writes:
    """The handlers of POST, PATCH and DELETE."""

    def __init__(
        self,
        service: Service,
        quotas: Quotas,
        *,
        max_metadata_bytes: int = 4096,
        early_response: str = "direct",
        producer_idle_timeout: float = 0,
    ) -> None:
        self._service = service
        self._quotas = quotas
        self._body = Body(service, idle_timeout=producer_idle_timeout)
        self._max_metadata_bytes = max_metadata_bytes
        self._early_response = early_response

    async def create_new(self, exchange: Exchange) -> None:
        """POST /stream: create a stream under a new id.

        The id is derived from an Idempotency-Key, so that a repeated request means the same stream.
        """
        key = idempotency_key(exchange)
        await self._create(exchange, _id_of_key(exchange, key) if key else new_id(time.time()))

    async def create(self, exchange: Exchange) -> None:
        """POST /stream/{id}: create a stream with this id, unless the id is taken."""
        await self._create(exchange, exchange.stream_id)

    async def patch(self, exchange: Exchange) -> None:
        """PATCH /stream/{id}: append to the stream or change its metadata, depending on the content type."""
        id = exchange.stream_id
        exchange.require(Action.WRITE, id)
        exchange.record.stream = quote_id(id)
        kind = media_type(exchange.all(b"content-type"))
        if kind not in ("", PARTIAL_UPLOAD, MERGE_PATCH):
            raise UnsupportedPatch(
                "A PATCH cannot have this Content-Type; Accept-Patch lists those it can have."
            )
        check_encoding(exchange.all(b"content-encoding"))
        if kind == MERGE_PATCH:
            await self._amend(exchange, id)
            return
        await self.append(exchange, id, Upload.of(exchange))

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /stream/{id}: cut its producer and its followers; answer once the delete is durable."""
        id = exchange.stream_id
        exchange.require(Action.REPLACE, id)
        info = await self._service.delete(id, lambda info: check_match(exchange, info))
        exchange.record.stream, exchange.record.state = quote_id(id), info.state
        exchange.audit("stream.deleted", stream=quote_id(id), bytes=info.size)
        await exchange.respond(204, [NO_STORE])

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
            owner=exchange.principal.owner,
        )
        window = resume_window(exchange)
        check_encoding(exchange.all(b"content-encoding"))
        await self.begin(exchange, new, upload, window)

    async def begin(self, exchange: Exchange, new: NewStream, upload: Upload, window: float | None) -> None:
        """Create the stream `new`, and pass the body of the request on to it."""
        exchange.record.stream = quote_id(new.id)
        with self._quotas.producing(exchange.principal, new.id) as exchange.spend:
            await self._produce(exchange, new, upload, window)

    async def _produce(
        self, exchange: Exchange, new: NewStream, upload: Upload, window: float | None
    ) -> None:
        try:
            replace = exchange.flag("force")
            if replace:
                exchange.require(Action.REPLACE, new.id)
            producer = await self._service.create(
                new,
                replace=replace,
                resume_window=window,
                charge=lambda size, old: self._quotas.charge_creation(
                    exchange.principal, size, replaced=old.owner if old else None
                ),
            )
        except StreamExists as error:
            await self._repeat(exchange, new, upload, error)
            return
        if producer.replaced:
            exchange.audit("stream.replaced", stream=quote_id(new.id))
        early = upload.complete is None and answers_early(
            self._early_response, exchange.scope["http_version"], exchange.scope["headers"]
        )
        headers = created_headers(producer.info, replaced=producer.replaced)
        await self._body.produce(exchange, producer, upload, 201, headers, early=early)

    async def _repeat(self, exchange: Exchange, new: NewStream, upload: Upload, error: StreamExists) -> None:
        """Answer a repeated creation like the first one, or raise `error` if this is another creation.

        Its body is not read: the response reports how much is stored, which is the offset to resume from.
        """
        info = await self._service.info(new.id)
        if not repeats(new, info):
            raise error
        if upload.complete is None and info.state is not State.COMPLETE:
            # The sender of such a request may not be able to resume, so a success would mislead it.
            unfinished = Conflict(
                "The first request with this Idempotency-Key did not complete; resume with PATCH."
            )
            await exchange.respond(*problem_of(unfinished, headers=upload_headers(info, self._service)))
            return
        exchange.record.state = info.state
        headers = [*created_headers(info, replaced=False), *upload_headers(info, self._service)]
        await exchange.respond(201, [*headers, content_length(0), (b"connection", b"close")])

    async def append(self, exchange: Exchange, id: str, upload: Upload) -> None:
        """Take the stream over, and pass the body of the request on to it."""
        with self._quotas.producing(exchange.principal, id) as exchange.spend:
            await self._append(exchange, id, upload)

    async def _append(self, exchange: Exchange, id: str, upload: Upload) -> None:
        self._service.room.check_length(upload.length)
        start = upload.start

        def check(info: Info) -> None:
            check_match(exchange, info)
            upload.check(start, info.length)
            if upload.size and info.state is State.LIVE:
                # What would fail later would have interrupted the producer for nothing.
                upload.check(start + upload.size, info.length, ended=True)
                self._service.room.check(start, upload.size)
                self._quotas.check(exchange.principal)

        try:
            producer = await self._service.resume(id, start, check, epoch=upload.epoch, length=upload.length)
        except StreamFinal as error:
            await self._answer_final(exchange, id, upload, error)
            return
        exchange.record.took_over = True
        await self._body.produce(exchange, producer, upload, 204, changed_headers(producer.info), early=False)

    async def _answer_final(self, exchange: Exchange, id: str, upload: Upload, error: StreamFinal) -> None:
        """Answer an append to a final stream: with success if it repeats the request that completed it."""
        info = await self._service.info(id)
        check_match(exchange, info)
        same = upload.digest is None or upload.digest == (await self._service.digests.known(info)).digest
        repeated = info.state is State.COMPLETE and upload.complete and upload.start == info.size and same
        if repeated and await _is_empty(exchange):
            exchange.record.state = info.state
            await exchange.respond(204, [*changed_headers(info), *upload_headers(info, self._service)])
        else:
            await exchange.respond(*problem_of(error, headers=upload_headers(info, self._service)))

    async def _amend(self, exchange: Exchange, id: str) -> None:
        """Change the metadata with a merge patch; a producer is not affected."""
        # A patch may be longer than its result: it has nulls, and escapes that are not stored.
        patch = parse_merge_patch(await exchange.body(2 * self._max_metadata_bytes + PATCH_SPARE))

        charged = 0

        def amended(info: Info) -> str:
            nonlocal charged
            check_match(exchange, info)
            metadata = merge_metadata(info.metadata, patch, self._max_metadata_bytes)
            # Called again if another request changes the stream first. The longest result counts.
            if metadata != info.metadata and len(metadata) > charged:
                self._quotas.charge(exchange.principal, len(metadata) - charged)
                charged = len(metadata)
            return metadata

        info = await self._service.amend(id, amended)
        exchange.record.state = info.state
        readable = exchange.principal.allowed(Action.READ, id)
        shown = [(b"x-stream-metadata", info.metadata.encode())] if readable else []
        await exchange.respond(204, [*changed_headers(info), *shown])


async def _is_empty(exchange: Exchange) -> bool:
    """Return True if the request has no body."""
    message = await exchange.receive()
    while message["type"] == "http.request" and not message.get("body") and message.get("more_body"):
        message = await exchange.receive()
    return message["type"] == "http.request" and not message.get("body")


def _id_of_key(exchange: Exchange, key: str) -> str:
    """Return a UUID version 8 (RFC 9562 section 5.8) made of the key and of the client's token."""
    client = b"\n".join(exchange.all(b"authorization"))
    digest = hashlib.sha256(client + b"\0" + key.encode()).digest()
    value = int.from_bytes(digest[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))

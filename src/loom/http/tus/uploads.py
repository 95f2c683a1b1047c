"""POST, PATCH and HEAD of tus 1.0: create an upload, append to it, report how much of it is stored.

An upload is a stream that is open between two requests, and complete once it has its length. Its bytes are
stored and followed as they arrive.
"""

import time

from loom.access.auth import Action
from loom.errors import UnsupportedPatch, UploadEnded
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE
from loom.http.stream.lifetime import lifetime
from loom.http.stream.request_headers import check_encoding
from loom.http.stream.response_headers import upload_headers
from loom.http.stream.write import Writes
from loom.http.tus import protocol
from loom.ids import new_id, quote_id
from loom.model import NewStream, State
from loom.streams.service import Service
from loom.wire.head import StreamHead
from loom.wire.media import OFFSET_STREAM


class Uploads:
    """The handlers. What they share with all other appends is done by `writes`."""

    def __init__(self, service: Service, writes: Writes, *, max_metadata_bytes: int) -> None:
        self._service = service
        self._writes = writes
        self._max_metadata_bytes = max_metadata_bytes

    async def create_new(self, exchange: Exchange) -> None:
        """POST /stream: create an upload under a new id."""
        await self._create(exchange, new_id(time.time()))

    async def create(self, exchange: Exchange) -> None:
        """POST /stream/{id}: create an upload with this id, unless the id is taken."""
        await self._create(exchange, exchange.stream_id)

    async def append(self, exchange: Exchange) -> None:
        """PATCH /stream/{id}: append to an upload."""
        id = exchange.stream_id
        exchange.require(Action.WRITE, id)
        exchange.record.stream = quote_id(id)
        upload = protocol.append_of(exchange)
        if not protocol.is_body(exchange):
            raise UnsupportedPatch(f"A PATCH of an upload needs Content-Type: {OFFSET_STREAM}.")
        await self._compare(exchange)
        await self._writes.append(exchange, id, upload)

    async def report(self, exchange: Exchange) -> None:
        """HEAD /stream/{id}: report how much of an upload is stored. A client that may write may ask, too."""
        id = exchange.stream_id
        readable = exchange.principal.allowed(Action.READ, id)
        if not readable:
            exchange.require(Action.WRITE, id)
        info = await self._service.info(id)
        exchange.record.state = info.state
        if info.state is State.ABORTED:
            raise UploadEnded(f"The upload with ID {info.id} was aborted: {info.reason}.")
        headers = [*StreamHead(tag=info.key).headers, *upload_headers(info, self._service)]
        await exchange.respond(200, [*headers, *protocol.upload_headers(info, shown=readable), NO_STORE])

    async def _create(self, exchange: Exchange, id: str) -> None:
        exchange.require(Action.WRITE, id)
        upload = protocol.creation_of(exchange)
        pairs = protocol.parse_upload_metadata(exchange.all(b"upload-metadata"))
        ttl, expires = lifetime(exchange, self._service.now())
        new = NewStream(
            id=id,
            metadata=protocol.metadata_of(pairs, self._max_metadata_bytes),
            content_type=protocol.type_of(pairs),
            length=upload.length,
            ttl=ttl,
            expires=expires,
            owner=exchange.principal.owner,
        )
        if not protocol.is_body(exchange) and (upload.size or exchange.all(b"transfer-encoding")):
            raise UnsupportedPatch(f"A creation with bytes needs Content-Type: {OFFSET_STREAM}.")
        await self._compare(exchange)
        # A client that loses its connection comes back as late as one that made a pause.
        await self._writes.begin(exchange, new, upload, self._service.open_window)

    async def _compare(self, exchange: Exchange) -> None:
        """Compare the body with its checksum, if it has one, before any of it is stored."""
        check_encoding(exchange.all(b"content-encoding"))
        if (checksum := protocol.checksum_of(exchange)) is not None:
            body = await exchange.body(protocol.CHECKED_BYTES)
            protocol.check_sum(body, *checksum)
            exchange.put_back(body)

"""The body of a POST or PATCH that carries bytes of a stream. Owns the path of bytes from a connection to a
producer, how it ends, and when the request is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message, Receive

from loom.errors import LoomError, ProducerIdle, QuotaExceeded, WriterLost
from loom.http.exchange import Disconnected, Exchange, body_part, interruptible
from loom.http.headers import NOSNIFF, Headers, content_length
from loom.http.stream.request_headers import Upload
from loom.http.stream.response_headers import upload_headers
from loom.model import State
from loom.streams.producer import Producer
from loom.streams.service import Service
from loom.wire.media import LINES
from loom.wire.upload import Progress

PROGRESS_INTERVAL = 0.1
"""The least time between two lines of progress, in seconds."""


class Body:
    """Passes request bodies to producers. `idle_timeout` is in seconds, 0 for none."""

    def __init__(self, service: Service, *, idle_timeout: float) -> None:
        self._service = service
        self._idle_timeout = idle_timeout

    async def produce(
        self,
        exchange: Exchange,
        producer: Producer,
        upload: Upload,
        status: int,
        headers: Headers,
        *,
        early: bool,
    ) -> None:
        """Pass the body on, end the stream or leave it open, and answer: `early`, or at the end."""
        early = early or upload.progress
        if upload.progress:
            status = 200 if status == 204 else status
            kind = (b"content-type", LINES.encode())
            headers = [*headers, *upload_headers(producer.info, self._service), kind, NOSNIFF]
        begun, arrived = asyncio.Event(), asyncio.Event()

        async def answer() -> None:
            if exchange.expects_continue:
                # A proxy that reads the 100 and the final response together may drop the body.
                await arrived.wait()
            try:
                await exchange.begin(status, headers)
            finally:
                begun.set()
            if upload.progress:
                await _report_progress(exchange, producer)

        try:
            async with _beside(answer if early else None):
                await self._receive(exchange, producer, upload, arrived)
                upload.check(producer.offset, producer.info.length, ended=True)
                # A stream of the announced length is complete, even if the client does not say so.
                whole = upload.length if producer.info.length is None else producer.info.length
                more = upload.complete is False and producer.offset != whole
                info = await (producer.leave_open() if more else producer.complete(upload.digest))
                if early:
                    # A short body may end before the task that answers has sent the head.
                    await begun.wait()
        except BaseException as error:
            if not isinstance(error, WriterLost):
                exchange.record.state = State.INTERRUPTED
            # What was received is stored, and the state recorded, even if this task is cancelled.
            resumes = upload.complete is not None
            left = await asyncio.shield(producer.lose(_reason(error), resumes=resumes))
            if left is not None:
                exchange.record.state = left.state
            raise
        exchange.record.state = info.state
        if not early:
            length = [content_length(0)] if status != 204 else []
            await exchange.respond(status, [*headers, *upload_headers(info, self._service), *length])
            return
        if upload.progress:
            info = await self._service.digests.known(info)
            await exchange.send(body_part(Progress(info.size, info.state, info.digest).encode()))
        await exchange.end()

    async def _receive(
        self, exchange: Exchange, producer: Producer, upload: Upload, arrived: asyncio.Event
    ) -> None:
        """Pass the body on to its end; set `arrived` at its first byte, or at the end of an empty body.

        Raises Disconnected, ProducerIdle, LoomError.
        """
        receive = _timed(exchange.receive, self._idle_timeout) if self._idle_timeout else exchange.receive
        # A takeover, a delete or a failed store ends this producer also while it awaits bytes.
        async with interruptible() as interrupt:
            producer.on_lost(interrupt)
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                more = message.get("more_body", False)
                if message.get("body") or not more:
                    arrived.set()
                if data := message.get("body"):
                    exchange.record.received += len(data)
                    upload.check(producer.offset + len(data), producer.info.length)
                    # The bytes that the quota admits are stored before the rest is refused.
                    size, exceeded = exchange.spend(len(data))
                    await producer.take(bytes(data[:size]))
                    if exceeded is not None:
                        raise exceeded


@asynccontextmanager
async def _beside(answer: Callable[[], Coroutine[Any, Any, None]] | None) -> AsyncIterator[None]:
    """Send the response while the block receives; with None send nothing.

    A separate task sends, so that the block calls `receive` first: a client that sent `Expect: 100-continue`
    then gets its 100, which no server sends after a final status.
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


async def _report_progress(exchange: Exchange, producer: Producer) -> None:
    """Send a line whenever more bytes are durable, until cancelled."""
    offset = producer.info.size
    try:
        while True:
            offset = await producer.wait_durable(beyond=offset)
            await exchange.send(body_part(Progress(offset).encode()))
            await asyncio.sleep(PROGRESS_INTERVAL)
    except LoomError:
        return  # the task that passes the body on gets the same error


def _timed(receive: Receive, seconds: float) -> Receive:
    """Return a `receive` that raises ProducerIdle after so many seconds of silence."""

    async def timed() -> Message:
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError:
            raise ProducerIdle(seconds) from None

    return timed


def _reason(error: BaseException) -> str:
    """Return why a producer was lost, as the reason of its stream."""
    if isinstance(error, Disconnected):
        return "the connection of its producer was lost"
    if isinstance(error, QuotaExceeded):
        return "its token exceeded its quota"
    if isinstance(error, ProducerIdle):
        return "its producer sent nothing for too long"
    if isinstance(error, asyncio.CancelledError):
        return "the server stopped"
    return "the server failed to continue with its producer"

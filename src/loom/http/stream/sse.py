"""Server-Sent Events of the bytes of a stream.

Owns what their events say. Each carries the id from which a client that connects again goes on.

    id: <key>:<offset after it>
    data: {"offset": <first byte>, "text": "..."}       or "base64", where the bytes are not UTF-8

    event: end      nothing more comes; data: {"state": "complete", "size": 1234, "reason": ""}
    event: gone     the stream was deleted or replaced; data: {"reason": "..."}
"""

import asyncio
import json
import random
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from loom.errors import BadRequest, PreconditionFailed, StoreStopped, StreamAborted, StreamGone
from loom.http.exchange import Exchange, body_part
from loom.http.headers import NO_STORE, NOSNIFF, SANDBOX, UNBUFFERED, VARY
from loom.http.problem import Headers
from loom.http.stream.lifetime import lifetime_headers
from loom.http.stream.ranges import parse_start
from loom.model import Info, quote_id
from loom.streams.ranges import WHOLE, FromOffset, Lookup, Part, Selector
from loom.streams.reading import Reading
from loom.streams.service import Service
from loom.wire.sse import HEARTBEAT, encode, encode_retry
from loom.wire.text import Whole, continuation
from loom.wire.times import parse_since

TYPE = b"text/event-stream"
BEAT = 15.0
"""Seconds of silence after which a comment is sent: less than any proxy waits."""
RETRY = 1000, 4000
"""Milliseconds within which clients of a server that stops come back, not all at once."""

EVENT_HEADERS: Headers = [(b"content-type", TYPE), NO_STORE, NOSNIFF, SANDBOX, UNBUFFERED]

_LAST = re.compile(r"([^:]+):([0-9]{1,18})")


class Finished(Exception):
    """The client has seen the end of this stream."""


class StreamEvents:
    """GET /stream/{id} for who accepts events."""

    def __init__(self, service: Service, *, beat: float = BEAT) -> None:
        self._service = service
        self._beat = beat

    async def read(self, exchange: Exchange, id: str) -> None:
        """All or a part of the stream, then what comes. Range and conditions are not for events."""
        query = exchange.query_params.multi_items()
        kind = parse_kind([value for name, value in query if name == "as"])
        now = self._service.now()
        wish = Resumption(
            exchange.all(b"last-event-id"),
            parse_start(query, lambda text: parse_since(text, now)) or WHOLE,
            tail=not exchange.given("notail"),
        )
        try:
            async with exchange.attended():
                if exchange.head:
                    info, _ = await self._service.locate(id, wish.choose)
                    await exchange.respond(200, event_headers(info))
                    return
                reading = await self._service.read(id, wish.choose)
        except Finished:
            await exchange.respond(204, [NO_STORE, VARY])
            return
        async with reading:
            exchange.record.state = reading.info.state
            await exchange.begin(200, event_headers(reading.info))
            await exchange.relay(beating(stream_events(reading, kind), self._beat), body_part)


class Resumption:
    """Where to begin: behind what the client has seen, which beats any other wish. Raises BadRequest."""

    def __init__(self, last_event_ids: Iterable[bytes], start: Selector, *, tail: bool) -> None:
        self._start = start
        self._tail = tail
        self._key = ""
        # An EventSource that has seen no id yet may send an empty one.
        if last := b",".join(last_event_ids).decode("latin-1").strip():
            found = _LAST.fullmatch(last)
            if found is None:
                raise BadRequest("Last-Event-ID is not an id that was given out here.")
            self._key = found[1]
            self._start = FromOffset(int(found[2]))
            self._offset = int(found[2])

    def choose(self, info: Info) -> Part | Lookup:
        """See service.Choose. Raises PreconditionFailed, BadRequest, Finished."""
        if self._key:
            if self._key != info.key:
                raise PreconditionFailed("Last-Event-ID is of another stream, which was deleted or replaced.")
            if self._offset > info.size:
                raise BadRequest(f"Last-Event-ID is behind the end of the stream: it has {info.size} bytes.")
            if info.state.final and self._offset == info.size:
                raise Finished
        return self._start.select(info, self._tail)


def accepts_events(values: Iterable[bytes]) -> bool:
    """True if an Accept header asks for events by name, and for nothing rather (RFC 9110 section 12.5.1)."""
    wanted = {}
    for item in b",".join(values).decode("latin-1").lower().split(","):
        name, *parameters = [part.strip() for part in item.split(";")]
        quality = next((part[2:].strip() for part in parameters if part.startswith("q=")), "1")
        try:
            wanted[name] = float(quality)
        except ValueError:
            wanted[name] = 0.0
    best = wanted.get(TYPE.decode(), 0.0)
    return best > 0 and best >= max(wanted.values())


def parse_kind(values: list[str]) -> str:
    """How `?as=` wants the bytes told: text, binary, or empty for as they are. Raises BadRequest."""
    if not values:
        return ""
    if len(values) > 1 or values[0] not in ("text", "binary"):
        raise BadRequest("The query parameter as is either text or binary.")
    return values[0]


def event_headers(info: Info) -> Headers:
    """The head of an answer in events."""
    return [
        *EVENT_HEADERS,
        VARY,
        (b"x-stream-id", quote_id(info.id).encode()),
        (b"x-stream-state", info.state.encode()),
        (b"x-stream-metadata", info.metadata.encode()),
        *lifetime_headers(info),
    ]


async def stream_events(reading: Reading, kind: str) -> AsyncGenerator[bytes, None]:
    """The bytes as events, and how it ended. Raises what leaves nothing true to tell."""
    teller = Teller(reading.info.key, kind)
    try:
        async for piece in reading.pieces():
            assert isinstance(piece, bytes)
            for event in teller.tell(reading.offset - len(piece), piece):
                yield event
    except StreamAborted:
        pass  # the end tells
    except StreamGone as error:
        for event in teller.rest():
            yield event
        yield encode(json.dumps({"reason": str(error)}), name="gone")
        return
    except StoreStopped:
        yield encode_retry(random.randint(*RETRY))
        return
    for event in teller.rest():
        yield event
    info = reading.latest
    end = {"state": info.state, "size": reading.offset, "reason": info.reason}
    yield encode(json.dumps(end), name="end", id=f"{info.key}:{reading.offset}")


class Teller:
    """Pieces of one stream, as events. Of a character that is not whole yet nothing is told but its end."""

    def __init__(self, key: str, kind: str) -> None:
        self._key = key
        self._kind = kind
        self._whole = Whole()
        self._at: int | None = None
        self._left = 3

    def tell(self, offset: int, data: bytes) -> list[bytes]:
        """The events for `data`, which stands at `offset`, right behind what came before."""
        if self._at is None:
            self._at = offset
        if self._kind == "binary":
            return self._events(data)
        data = self._whole.feed(data)
        # Who begins within a character gets what is left of it for itself, and the rest as text.
        left = continuation(data[: self._left])
        self._left = self._left - left if left == len(data) else 0
        return [*self._events(data[:left]), *self._events(data[left:])]

    def rest(self) -> list[bytes]:
        """What never became a character."""
        return self._events(self._whole.held)

    def _events(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        assert self._at is not None
        told: dict[str, object] = {"offset": self._at}
        try:
            if self._kind == "binary":
                told["base64"] = b64encode(data).decode("ascii")
            else:
                told["text"] = data.decode(errors="replace" if self._kind == "text" else "strict")
        except UnicodeDecodeError:
            told["base64"] = b64encode(data).decode("ascii")
        self._at += len(data)
        return [encode(json.dumps(told, ensure_ascii=False), id=f"{self._key}:{self._at}")]


async def beating(events: AsyncGenerator[bytes, None], every: float) -> AsyncGenerator[bytes, None]:
    """The same, and a heartbeat whenever nothing came for so many seconds."""
    waiting: asyncio.Future[bytes | None] | None = None
    async with aclosing(events):
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(_next(events))
                await asyncio.wait({waiting}, timeout=every)
                if not waiting.done():
                    yield HEARTBEAT
                    continue
                event = waiting.result()
                waiting = None
                if event is None:
                    return
                yield event
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)

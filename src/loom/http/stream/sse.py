"""The bytes of a stream as Server-Sent Events. Owns the content of the events.

Each event has the id from which a client that reconnects resumes.

    id: <key>:<offset after it>
    data: {"offset": <first byte>, "text": "..."}       or "base64", where the bytes are not UTF-8

    event: end      the last event; data: {"state": "complete", "size": 1234, "reason": "", "outcome": null,
                    "metadata": {}}
    event: gone     the stream was deleted or replaced; data: {"reason": "..."}
"""

import json
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from typing import Self

from loom.errors import BadRequest, PreconditionFailed, StoreStopped, StreamAborted, StreamGone
from loom.http.exchange import Exchange
from loom.http.extensions import CROWD
from loom.http.headers import NO_STORE, VARY
from loom.http.heartbeat import INTERVAL, reconnect_later, with_heartbeat
from loom.http.searches import Searches
from loom.http.stream.ranges import parse_start
from loom.http.stream.response_headers import event_headers
from loom.model import Info
from loom.streams.crowd import Beat, Member
from loom.streams.ranges import WHOLE, FromLine, FromOffset, LastLines, Lookup, Part, Selector
from loom.streams.reading import Reading
from loom.streams.service import Service
from loom.wire.metadata import readable
from loom.wire.sse import HEARTBEAT, encode
from loom.wire.text import continuation, split_whole
from loom.wire.times import parse_since

_EVENT_ID = re.compile(r"([^:]+):([0-9]{1,18})")


class Finished(Exception):
    """The client has received the end of this stream."""


class StreamEvents:
    """The handler of GET and HEAD /stream/{id} for a client that accepts events."""

    def __init__(self, service: Service, searches: Searches, *, heartbeat: float = INTERVAL) -> None:
        self._service = service
        self._searches = searches
        self._heartbeat = heartbeat

    async def read(self, exchange: Exchange, id: str) -> None:
        """Send stored bytes, or a part of them, then new bytes as they arrive.

        Range and conditions do not apply to events.
        """
        query = exchange.query_params.multi_items()
        kind = parse_kind([value for name, value in query if name == "as"])
        now = self._service.now()
        start = EventStart(
            exchange.all(b"last-event-id"),
            parse_start(query, lambda text: parse_since(text, now)) or WHOLE,
            tail=not exchange.given("notail"),
        )
        try:
            async with self._searches.turn(exchange) if start.searches else exchange.attended():
                if exchange.head:
                    info, _ = await self._service.locate(id, start.choose)
                    await exchange.respond(200, event_headers(info))
                    return
                reading = await self._service.read(id, start.choose)
        except Finished:
            await exchange.respond(204, [NO_STORE, VARY])
            return
        async with reading:
            exchange.record.state = reading.info.state
            await exchange.begin(200, event_headers(reading.info))
            member = Member(ByteEvents(reading.info.key, kind), Beat(self._heartbeat, HEARTBEAT))
            events = stream_events(reading, member, joins=exchange.extended(CROWD))
            await exchange.relay(with_heartbeat(events, self._heartbeat))


class EventStart:
    """Where events begin: after Last-Event-ID, or without one at `start`. Raises BadRequest."""

    def __init__(self, last_event_ids: Iterable[bytes], start: Selector, *, tail: bool) -> None:
        self._start = start
        self._tail = tail
        self._key = ""
        # An EventSource that has received no id yet may send an empty one.
        if last := b",".join(last_event_ids).decode("latin-1").strip():
            found = _EVENT_ID.fullmatch(last)
            if found is None:
                raise BadRequest("Last-Event-ID is not an id that this server sends.")
            self._key = found[1]
            self._start = FromOffset(int(found[2]))
            self._offset = int(found[2])

    @property
    def searches(self) -> bool:
        """True if lines must be searched first, which may take long."""
        return isinstance(self._start, LastLines | FromLine)

    def choose(self, info: Info) -> Part | Lookup:
        """Choose the part to read. Raises PreconditionFailed, BadRequest, Finished."""
        if self._key:
            if self._key != info.key:
                raise PreconditionFailed("Last-Event-ID belongs to a stream that was deleted or replaced.")
            if self._offset > info.size:
                raise BadRequest(f"Last-Event-ID is past the end of the stream, which has {info.size} bytes.")
            if info.state.final and self._offset == info.size:
                raise Finished
        return self._start.select(info, self._tail)


def parse_kind(values: list[str]) -> str:
    """Return the form of bytes that `?as=` requests: text, binary, or empty for either. Raises BadRequest."""
    if not values:
        return ""
    if len(values) > 1 or values[0] not in ("text", "binary"):
        raise BadRequest("The query parameter as must be text or binary.")
    return values[0]


async def stream_events(
    reading: Reading, member: Member, *, joins: bool
) -> AsyncGenerator[bytes | Member, None]:
    """Yield the bytes as events, and how the stream ended. Raises an error that allows no true last event.

    With `joins`, yield `member` wherever it may join the crowd.
    """
    try:
        async for piece in reading.pieces(member=member if joins else None):
            if isinstance(piece, bytes):
                events, member.form = member.form.feed(reading.offset - len(piece), piece)
                if events:
                    yield events
            elif isinstance(piece, Member):
                yield piece
    except StreamAborted:
        pass  # reported by the event `end`
    except StreamGone as error:
        yield member.form.rest(reading.offset) + encode(json.dumps({"reason": str(error)}), name="gone")
        return
    except StoreStopped:
        yield reconnect_later()
        return
    info = reading.latest
    end = {"state": info.state, "size": reading.offset, "reason": info.reason, "outcome": info.outcome}
    text = f'{json.dumps(end)[:-1]}, "metadata": {readable(info.metadata)}}}'
    yield member.form.rest(reading.offset) + encode(text, name="end", id=f"{info.key}:{reading.offset}")


@dataclass(frozen=True, slots=True)
class ByteEvents:
    """Encodes consecutive pieces of a stream. A character is sent only once all its bytes have arrived.

    Immutable: each piece leads to the encoder of the next one. `held` are the bytes of a character that has
    begun; up to `left` bytes that follow may end a character that began before the first piece.
    """

    key: str
    kind: str
    held: bytes = b""
    left: int = 3

    def feed(self, offset: int, data: bytes) -> tuple[bytes, Self]:
        """Return the events for `data`, which begins at `offset`, right after the piece before."""
        if self.kind == "binary":
            return self._event(offset, data), self
        offset -= len(self.held)
        data, held = split_whole(self.held + data)
        # A read that begins within a character gets the rest of it in an event of its own, so that the
        # following bytes are still text.
        left = continuation(data[: self.left])
        events = self._event(offset, data[:left]) + self._event(offset + left, data[left:])
        left = self.left - left if left == len(data) else 0
        same = (held, left) == (self.held, self.left)
        return events, self if same else replace(self, held=held, left=left)

    def rest(self, offset: int) -> bytes:
        """Return the event for bytes before the end, at `offset`, that are not a whole character."""
        return self._event(offset - len(self.held), self.held)

    def _event(self, offset: int, data: bytes) -> bytes:
        if not data:
            return b""
        members: dict[str, object] = {"offset": offset}
        try:
            if self.kind == "binary":
                members["base64"] = b64encode(data).decode("ascii")
            else:
                members["text"] = data.decode(errors="replace" if self.kind == "text" else "strict")
        except UnicodeDecodeError:
            members["base64"] = b64encode(data).decode("ascii")
        return encode(json.dumps(members, ensure_ascii=False), id=f"{self.key}:{offset + len(data)}")

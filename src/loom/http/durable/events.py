"""A stream as Server-Sent Events of Durable Streams (section 5.7 of its protocol). Owns their content.

After each event `data` an event `control` has the offset to resume from, whether the client is up to date,
and, as the last one, that the stream is closed.
"""

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from loom.errors import StoreStopped
from loom.http.durable.framing import Array
from loom.http.durable.positions import format_offset, next_cursor
from loom.http.durable.requests import announced
from loom.http.heartbeat import reconnect_later
from loom.model import Framing, Info
from loom.streams.reading import Reading
from loom.wire.media import JSON, plain_type
from loom.wire.sse import HEARTBEAT, encode
from loom.wire.text import Whole

DATA = b"event: data\ndata:"


class Form(Protocol):
    """How bytes become events."""

    @property
    def held(self) -> int:
        """How many bytes at the end are in no event yet."""

    @property
    def inside(self) -> bool:
        """True if the last event has no end yet, so that nothing else can be sent."""

    def feed(self, data: bytes) -> bytes:
        """Return the events for `data`, perhaps without the end of the last one."""

    def rest(self) -> bytes:
        """Return the events for the bytes that are held at the end of the stream."""


class Messages:
    """Lines of JSON as arrays. A message that is read in pieces is sent in pieces, within one event."""

    held = 0

    def __init__(self) -> None:
        self._array: Array | None = None

    @property
    def inside(self) -> bool:
        return self._array is not None

    def feed(self, data: bytes) -> bytes:
        begun = b"" if self._array else DATA
        array = self._array or Array()
        events = begun + array.feed(data)
        if not data.endswith(b"\n"):
            self._array = array
            return events
        self._array = None
        return events + array.end() + b"\n\n"

    def rest(self) -> bytes:
        return b""


class Text:
    """Text. The beginning of a character is held until its end arrives."""

    inside = False

    def __init__(self) -> None:
        self._whole = Whole()

    @property
    def held(self) -> int:
        return len(self._whole.held)

    def feed(self, data: bytes) -> bytes:
        return self._event(self._whole.feed(data))

    def rest(self) -> bytes:
        return self._event(self._whole.held)

    def _event(self, text: bytes) -> bytes:
        return encode(text.decode(errors="replace"), name="data", compact=True) if text else b""


class Base64:
    """Bytes in base64, each piece for itself."""

    held = 0
    inside = False

    def feed(self, data: bytes) -> bytes:
        return DATA + b64encode(data) + b"\n\n"

    def rest(self) -> bytes:
        return b""


def in_base64(info: Info) -> bool:
    """Return True if the bytes of a stream are sent in base64: they are neither text nor JSON."""
    kind = plain_type(announced(info))
    return not (kind.startswith("text/") or kind == JSON)


class Events:
    """The events of one response."""

    def __init__(self, reading: Reading, cursor: str, now: Callable[[], float]) -> None:
        self._reading = reading
        self._cursor = cursor
        self._now = now
        self._form = _form_of(reading.info)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield events, to the end of the stream. Raises an error that allows no true last event."""
        reading, form = self._reading, self._form
        if reading.part.stop is None and not reading.available:
            # A client at the end of the stream learns at once that it is up to date.
            yield self._control()
        try:
            async for piece in reading.pieces(to_end=True):
                assert isinstance(piece, bytes)
                events = form.feed(piece)
                yield events + self._control() if events and not form.inside else events
        except StoreStopped:
            yield reconnect_later()
            return
        end = {"streamNextOffset": format_offset(reading.offset), "streamClosed": True}
        yield form.rest() + _control_event(end)

    def beat(self) -> bytes:
        """Return what is sent after a silence."""
        return b"" if self._form.inside else HEARTBEAT

    def _control(self) -> bytes:
        members: dict[str, object] = {
            "streamNextOffset": format_offset(self._reading.offset - self._form.held),
            "streamCursor": next_cursor(self._cursor, self._now()),
        }
        if not self._reading.available:
            members["upToDate"] = True
        return _control_event(members)


def _control_event(members: dict[str, object]) -> bytes:
    return encode(json.dumps(members, separators=(",", ":")), name="control", compact=True)


def _form_of(info: Info) -> Form:
    if info.framing is Framing.JSON:
        return Messages()
    return Base64() if in_base64(info) else Text()

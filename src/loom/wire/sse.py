"""Server-Sent Events (WHATWG HTML section 9.2): encode them, and decode them as they arrive. Pure."""

import codecs
import re
from dataclasses import dataclass

HEARTBEAT = b":\n\n"
"""A comment: a client ignores it, and a proxy sees that the connection is in use."""

_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is the last id sent, with this event or an earlier one."""

    data: str
    name: str = "message"
    id: str = ""


def encode(data: str, *, name: str = "", id: str = "", compact: bool = False) -> bytes:
    """Encode an event. Line ends in `data` become LF. `name` and `id` contain none, and `id` no NUL.

    A `compact` one has the space after the colon only before a line that begins with a space.
    """
    lines = [
        f"data:{line}" if compact and not line.startswith(" ") else f"data: {line}"
        for line in _LINE_END.split(data)
    ]
    if name:
        lines.insert(0, f"event: {name}")
    if id:
        lines.append(f"id: {id}")
    return "\n".join([*lines, "", ""]).encode()


def encode_id(id: str) -> bytes:
    """Encode an id alone: a client that reconnects resumes from it, and it dispatches no event."""
    return f"id: {id}\n\n".encode()


def encode_retry(milliseconds: int) -> bytes:
    """Encode how long a client waits before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


class Decoder:
    """Decodes an event stream as it arrives.

    `retry` is in milliseconds, None until the server sends it. `id` is the last id sent, also with an event
    that has no data.
    """

    def __init__(self) -> None:
        self.retry: int | None = None
        self.id = ""
        self._text = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line = ""
        self._skip_lf = False
        self._data: list[str] = []
        self._name = ""
        self._id = ""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes. An event at the end without its empty line is dropped."""
        text = self._text.decode(data)
        if self._skip_lf and text:
            text = text.removeprefix("\n")
            self._skip_lf = False
        *lines, self._line = _LINE_END.split(self._line + text)
        self._skip_lf = text.endswith("\r")
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, self._data = self._data, []
        name, self._name = self._name, ""
        self.id = self._id
        return Event("\n".join(data), name or "message", self._id) if data else None

"""What requests in Durable Streams ask for: the query of a GET, the headers of a PUT and a POST. Pure."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from loom.errors import BadRequest
from loom.http.durable.positions import NOW, parse_offset
from loom.http.headers import Fields
from loom.http.stream.lifetime import MAX_TTL
from loom.http.stream.request_headers import MAX_CONTENT_TYPE
from loom.ids import parse_id
from loom.model import DEFAULT_CONTENT_TYPE, Framing, Info
from loom.streams.ledger import Append, Producer
from loom.streams.ranges import Lookup, Part, WholeLines
from loom.streams.reading import check_not_aborted
from loom.streams.shared import Fork
from loom.wire.media import JSON
from loom.wire.times import parse_rfc3339

PREFIX = "/v1/stream/"
LONG_POLL = "long-poll"
SSE = "sse"
CHUNK = 16 << 20
"""The most bytes of a response that is not live: clients hold one in memory."""
MAX_NAME = 255
"""Characters of a Producer-Id, and of a Stream-Seq."""
MAX_SAFE = 2**53 - 1
"""The largest integer that JavaScript represents exactly."""

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+ *(;[ -~]*)?", re.ASCII)
_PLAIN = re.compile("0|[1-9][0-9]{0,14}")
_DIGITS = re.compile("[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a GET asks for: bytes from `start` on, NOW for later ones only; `live` is a mode or empty."""

    start: int = 0
    live: str = ""
    cursor: str = ""

    @classmethod
    def of(cls, query: Iterable[tuple[str, str]]) -> "Wanted":
        """Read the query of a request. Raises BadRequest."""
        query = list(query)
        offsets = [value for name, value in query if name == "offset"]
        modes = [value for name, value in query if name == "live"]
        if len(offsets) > 1 or len(modes) > 1:
            raise BadRequest("Send offset and live once.")
        live = modes[0] if modes else ""
        if live not in ("", LONG_POLL, SSE):
            raise BadRequest(f"live must be {LONG_POLL} or {SSE}.")
        if live and not offsets:
            raise BadRequest("A live read needs offset: -1 for the start, now for the end, or one received.")
        cursor = next((value for name, value in query if name == "cursor"), "")
        return cls(parse_offset(offsets[0]) if offsets else 0, live, cursor)

    def choose(self, info: Info) -> Part | Lookup:
        """Choose the part to read: of stored bytes a limited one, else, for a live read, what follows.

        Raises BadRequest, StreamAborted.
        """
        start = info.size if self.start == NOW else self.start
        if start > info.size:
            raise BadRequest(f"offset is past the end of the stream, which has {info.size} bytes.")
        if start == info.size:
            check_not_aborted(info)
        follows = self.live != "" and not info.state.final
        if follows and (self.live == SSE or start == info.size):
            stop = None
        else:
            stop = info.size if self.live == SSE else min(info.size, start + CHUNK)
        whole = start in (0, info.size) and stop in (None, info.size)
        if info.framing is Framing.JSON and not whole:
            return Lookup(WholeLines(start, stop), info.size if stop is not None else None)
        return Part(start, stop)


def announced(info: Info) -> str:
    """Return the content type of a stream in this dialect: messages in JSON are sent as an array."""
    return JSON if info.framing is Framing.JSON else info.content_type


def content_type_of(fields: Fields) -> str:
    """Return the content type of a new stream; the default one if there is none that can be stored."""
    values = fields.all(b"content-type")
    text = values[0].decode("latin-1").strip() if len(values) == 1 else ""
    return text if _TYPE.fullmatch(text) and len(text) <= MAX_CONTENT_TYPE else DEFAULT_CONTENT_TYPE


def closes(fields: Fields) -> bool:
    """Return True if a request closes the stream."""
    return [value.lower() for value in fields.all(b"stream-closed")] == [b"true"]


def lifetime(fields: Fields) -> tuple[float | None, float | None]:
    """Return the time to live and the expiry that a creation requests, at most one. Raises BadRequest."""
    ttl = _text("Stream-TTL", fields.all(b"stream-ttl"))
    expires = _text("Stream-Expires-At", fields.all(b"stream-expires-at"))
    if ttl is not None and expires is not None:
        raise BadRequest("Send either Stream-TTL or Stream-Expires-At.")
    if ttl is not None and not (_PLAIN.fullmatch(ttl) and int(ttl) <= MAX_TTL):
        raise BadRequest(f"Stream-TTL must be seconds, from 0 to {MAX_TTL}, without sign or leading zeros.")
    at = None if expires is None else parse_rfc3339(expires)
    if at is not None and math.isnan(at):
        raise BadRequest("Stream-Expires-At must be a time such as 2027-01-31T12:00:00Z.")
    return None if ttl is None else float(ttl), at


def fork_of(fields: Fields) -> Fork | None:
    """Return what a creation forks, None if it begins with nothing. Raises BadRequest, InvalidId."""
    source = _text("Stream-Forked-From", fields.all(b"stream-forked-from"))
    offset = _text("Stream-Fork-Offset", fields.all(b"stream-fork-offset"))
    further = _text("Stream-Fork-Sub-Offset", fields.all(b"stream-fork-sub-offset"))
    if source is None:
        if offset is None and further is None:
            return None
        raise BadRequest("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From.")
    path = urlsplit(source).path
    if not path.startswith(PREFIX):
        raise BadRequest(f"Stream-Forked-From must be the path of a stream, which begins with {PREFIX}.")
    if further is not None and not _PLAIN.fullmatch(further):
        raise BadRequest("Stream-Fork-Sub-Offset must be an integer without sign or leading zeros.")
    at = None if offset is None else parse_offset(offset)
    if at == NOW:
        raise BadRequest("Stream-Fork-Offset must be an offset that this server sent.")
    return Fork(parse_id(path.removeprefix(PREFIX).encode()), at, int(further or 0))


def append_of(fields: Fields) -> Append:
    """Read the headers of an append. Raises BadRequest."""
    order = _text("Stream-Seq", fields.all(b"stream-seq"))
    if order is not None and len(order) > MAX_NAME:
        raise BadRequest(f"Stream-Seq may have {MAX_NAME} characters.")
    return Append(_producer_of(fields), order, closes(fields))


def _producer_of(fields: Fields) -> Producer | None:
    id = _text("Producer-Id", fields.all(b"producer-id"))
    epoch = _text("Producer-Epoch", fields.all(b"producer-epoch"))
    number = _text("Producer-Seq", fields.all(b"producer-seq"))
    if id is None and epoch is None and number is None:
        return None
    if id is None or epoch is None or number is None:
        raise BadRequest("Send Producer-Id, Producer-Epoch and Producer-Seq together.")
    if not 0 < len(id) <= MAX_NAME:
        raise BadRequest(f"Producer-Id must have 1 to {MAX_NAME} characters.")
    return Producer(id, _integer("Producer-Epoch", epoch), _integer("Producer-Seq", number))


def _integer(name: str, text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > MAX_SAFE:
        raise BadRequest(f"{name} must be an integer from 0 to {MAX_SAFE}.")
    return int(text)


def _text(name: str, values: Sequence[bytes]) -> str | None:
    """Return the value of a header, None if it is absent. Raises BadRequest if it was sent twice."""
    if len(values) > 1:
        raise BadRequest(f"{name} was sent more than once.")
    return values[0].decode("latin-1").strip() if values else None

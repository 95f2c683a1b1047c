"""The headers of responses about one stream."""

from email.utils import formatdate

from loom.http.headers import (
    EVENT_HEADERS,
    LIVE_HEADERS,
    NO_STORE,
    NOSNIFF,
    REVALIDATED,
    SAME_ORIGIN,
    SANDBOX,
    UNBUFFERED,
    VARY,
    Headers,
    content_length,
)
from loom.http.stream.conditions import Validators
from loom.http.stream.lifetime import lifetime_headers
from loom.http.stream.ranges import PartialContent
from loom.ids import quote_id
from loom.model import Info, State
from loom.streams.ranges import Part
from loom.streams.service import Service
from loom.wire.head import StreamHead
from loom.wire.media import LINES
from loom.wire.metadata import readable


def created_headers(info: Info, *, replaced: bool) -> Headers:
    """Return the headers of the response to a creation.

    The length is not among them: some clients stop sending when an early response has a length of 0.
    """
    headers = [(b"location", b"/stream/" + quote_id(info.id).encode()), *changed_headers(info)]
    if replaced:
        headers.append((b"x-stream-replaced", b"true"))
    return headers


def changed_headers(info: Info) -> Headers:
    """Return the headers of the response to a PATCH, and to a creation among others."""
    return [*StreamHead(id=quote_id(info.id), tag=info.key).headers, *lifetime_headers(info), NO_STORE]


def stream_headers(info: Info, part: Part, validators: Validators) -> Headers:
    """Return the headers of a response with a part of a stream. Without validators it must not be cached."""
    shown = StreamHead(
        id=quote_id(info.id),
        key=info.key,
        state=info.state,
        outcome=info.outcome,
        metadata=readable(info.metadata),
        start=None if part.skip else part.start,
        digest=None if validators.etag is None else info.digest,
    )
    headers = [
        (b"content-type", info.content_type.encode("latin-1")),
        *shown.headers,
        *lifetime_headers(info),
        *unchanged_headers(validators),
    ]
    if isinstance(part, PartialContent):
        headers.append((b"content-range", part.content_range.encode()))
    headers.append(UNBUFFERED if part.stop is None else content_length(part.stop - part.start))
    return headers


def unchanged_headers(validators: Validators) -> Headers:
    """Return the headers that a response and the 304 in its place share (RFC 9110 section 15.4.5)."""
    cached = NO_STORE if validators.etag is None else REVALIDATED
    return [cached, *validators.headers, VARY, SANDBOX, SAME_ORIGIN, NOSNIFF]


def event_headers(info: Info) -> Headers:
    """Return the headers of a response that sends a stream as events."""
    return [*EVENT_HEADERS, VARY, *_described(info)]


def found_headers(info: Info) -> Headers:
    """Return the headers of a response with the results of a search."""
    key = StreamHead(key=info.key).headers
    return [(b"content-type", LINES.encode()), *LIVE_HEADERS, *key, *_described(info)]


def _described(info: Info) -> Headers:
    shown = StreamHead(
        id=quote_id(info.id), state=info.state, outcome=info.outcome, metadata=readable(info.metadata)
    )
    return [*shown.headers, *lifetime_headers(info)]


def upload_headers(info: Info, service: Service) -> Headers:
    """Return how much of a stream is stored, and for how long and up to which size it accepts more."""
    complete = info.state is State.COMPLETE
    length = info.size if complete else info.length
    progress = StreamHead(size=info.size, complete=complete, length=length, epoch=info.epoch)
    limit = 0 if info.state.final else service.limits.stream_bytes
    if info.deadline is None:
        return [*progress.headers, *limit_headers(limit)]
    age = max(0, round(info.deadline - service.now()))
    expires = (b"upload-expires", formatdate(info.deadline, usegmt=True).encode())
    return [*progress.headers, *limit_headers(limit, age), expires]


def limit_headers(size: int, age: int | None = None) -> Headers:
    """Return the size that a stream may have, 0 for no limit, and the seconds for which it waits for more."""
    limits = [b"max-size=%d" % size] if size else []
    if age is not None:
        limits.append(b"max-age=%d" % age)
    return [(b"upload-limit", b", ".join(limits))] if limits else []

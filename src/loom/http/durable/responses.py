"""The headers of responses in Durable Streams. Pure."""

from loom.http.durable.positions import format_offset
from loom.http.durable.requests import announced
from loom.http.headers import NO_STORE, NOSNIFF, REVALIDATED, SAME_ORIGIN, SANDBOX, Headers
from loom.http.stream.lifetime import lifetime_headers
from loom.model import Info, State
from loom.streams.ledger import Append, Verdict

CLOSED = (b"stream-closed", b"true")
UP_TO_DATE = (b"stream-up-to-date", b"true")
ENCODED = (b"stream-sse-data-encoding", b"base64")


def next_offset(at: int) -> tuple[bytes, bytes]:
    """Return the header with the offset that a client continues from."""
    return b"stream-next-offset", format_offset(at).encode()


def end_of(info: Info) -> Headers:
    """Return where a stream ends, and whether it is closed."""
    return [next_offset(info.size), *closed(info)]


def closed(info: Info) -> Headers:
    """Return the header of a stream that is closed. One that was aborted is not."""
    return [CLOSED] if info.state is State.COMPLETE else []


def described(info: Info) -> Headers:
    """Return the headers that describe a stream as a whole, as HEAD and PUT report it."""
    kind = (b"content-type", announced(info).encode("latin-1"))
    return [kind, *end_of(info), *lifetime_headers(info), NO_STORE, NOSNIFF]


def part_headers(info: Info, stop: int, end: int, etag: bytes | None) -> Headers:
    """Return the headers of a response with bytes up to `stop` of a stream that has `end` bytes.

    Without an entity tag it must not be cached.
    """
    headers = [next_offset(stop), NOSNIFF, SANDBOX, SAME_ORIGIN, REVALIDATED if etag else NO_STORE]
    if etag:
        headers.append((b"etag", etag))
    # A client that is not up to date asks once more, and then learns that the stream was aborted.
    if stop == end and info.state is not State.ABORTED:
        headers += [UP_TO_DATE, *closed(info)]
    return headers


def part_tag(info: Info, start: int, stop: int) -> bytes:
    """Return the entity tag of bytes [start, stop). It changes when the stream is closed."""
    ended = ":c" if info.state is State.COMPLETE and stop == info.size else ""
    return f'"{info.key}:{start}:{stop}{ended}"'.encode()


def appended(info: Info, append: Append, verdict: Verdict) -> Headers:
    """Return the headers of the response to an append."""
    headers = [*end_of(info), NO_STORE, NOSNIFF]
    if append.producer is not None:
        headers += [
            (b"producer-epoch", b"%d" % append.producer.epoch),
            (b"producer-seq", b"%d" % verdict.number),
        ]
    return headers

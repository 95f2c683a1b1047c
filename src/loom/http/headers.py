"""Header fields that more than one kind of response has. Pure."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from loom.wire import media

Headers = list[tuple[bytes, bytes]]
"""The headers of a response, with names in lower case."""


class Fields(Protocol):
    """The headers of a request."""

    def all(self, name: bytes) -> Sequence[bytes]:
        """Return every value of a header; its name is in lower case."""


NO_STORE = (b"cache-control", b"no-store, no-transform")
REVALIDATED = (b"cache-control", b"private, no-cache, no-transform")
NOSNIFF = (b"x-content-type-options", b"nosniff")
SANDBOX = (b"content-security-policy", b"sandbox; default-src 'none'")
"""A producer may have stored HTML: a browser that shows it runs no script and gives it no origin."""
SAME_ORIGIN = (b"cross-origin-resource-policy", b"same-origin")
"""A page of another origin cannot load a response as a script, a style or an image."""
VARY = (b"vary", b"Accept")
"""A stream is sent as bytes or, to a client that accepts them, as events."""
UNBUFFERED = (b"x-accel-buffering", b"no")
ACCEPT_PATCH = (
    b"accept-patch",
    f"{media.PARTIAL_UPLOAD}, {media.OFFSET_STREAM}, {media.MERGE_PATCH}".encode(),
)
"""The content types that a PATCH of a stream may have (RFC 5789 section 3.1)."""

LIVE_HEADERS = (NO_STORE, NOSNIFF, SANDBOX, SAME_ORIGIN, UNBUFFERED)
"""The headers of any response that is made for one client, while it is sent."""

EVENT_HEADERS: Headers = [(b"content-type", media.EVENTS.encode()), *LIVE_HEADERS]
"""The headers of any response in Server-Sent Events."""

EXPOSED = (
    *("X-Stream-Id", "X-Stream-Key", "X-Stream-Metadata", "X-Stream-State", "X-Stream-Outcome"),
    *("X-Stream-Replaced", "X-Stream-Offset", "X-Stream-Epoch", "Stream-TTL", "Stream-Expires-At"),
    *("Upload-Offset", "Upload-Complete", "Upload-Length", "Upload-Limit", "Accept-Patch"),
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *("Upload-Defer-Length", "Upload-Metadata", "Upload-Expires"),
    *("Stream-Next-Offset", "Stream-Up-To-Date", "Stream-Closed", "Stream-Cursor"),
    *("Stream-SSE-Data-Encoding", "Producer-Epoch", "Producer-Seq"),
    *("Producer-Expected-Seq", "Producer-Received-Seq"),
    *("Location", "Accept-Ranges", "Content-Range", "ETag", "Repr-Digest"),
)
"""The headers that a page of another origin may read."""


def values_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return every value of one header; its name is in lower case."""
    return [value for header, value in headers if header == name]


def content_length(size: int) -> tuple[bytes, bytes]:
    """Return the header for a body of `size` bytes."""
    return b"content-length", b"%d" % size

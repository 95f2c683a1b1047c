"""What a stream request's headers mean, and what an answer's say. Pure: values in, values out."""

from collections.abc import Iterable, Sequence

from loom.errors import BadRequest, UnsupportedEncoding
from loom.http.problem import Headers
from loom.http.stream.conditions import Validators
from loom.http.stream.lifetime import lifetime_headers
from loom.http.stream.ranges import PartialContent
from loom.http.stream.upload_headers import tag_of
from loom.model import DEFAULT_CONTENT_TYPE, Info, quote_id
from loom.streams.ranges import Part

MAX_CONTENT_TYPE = 255
"""Characters. Twice what RFC 6838 allows for a type's name, and far less than a proxy's limit on a header."""

NO_TYPES = ("", "application/x-www-form-urlencoded", "application/partial-upload")

NO_STORE = (b"cache-control", b"no-store, no-transform")
REVALIDATED = (b"cache-control", b"private, no-cache, no-transform")
NOSNIFF = (b"x-content-type-options", b"nosniff")
SANDBOX = (b"content-security-policy", b"sandbox; default-src 'none'")
"""A producer may have stored HTML: shown by a browser it runs no script and belongs to no origin."""
VARY = (b"vary", b"Accept")
"""A stream is told in bytes or, who asks for them, in events."""
UNBUFFERED = (b"x-accel-buffering", b"no")

EXPOSED = (
    *("X-Stream-Id", "X-Stream-Key", "X-Stream-Metadata", "X-Stream-State"),
    *("X-Stream-Replaced", "X-Stream-Offset", "X-Stream-Epoch", "Stream-TTL", "Stream-Expires-At"),
    *("Upload-Offset", "Upload-Complete", "Upload-Length", "Upload-Limit", "Accept-Patch"),
    *("Location", "Accept-Ranges", "Content-Range", "ETag", "Repr-Digest"),
)
"""What a page of another origin may read."""

_FORWARDED = (b"via", b"forwarded", b"x-real-ip")


def content_type_of(values: Sequence[bytes]) -> str:
    """The content type to keep with a stream, as it was sent. Raises BadRequest.

    Some types say nothing of the bytes: that of a form, which curl sends unless told otherwise, and that of
    any part of any upload.
    """
    if len(values) > 1:
        raise BadRequest("Content-Type was sent more than once.")
    text = values[0].decode("latin-1").strip(" \t") if values else ""
    if len(text) > MAX_CONTENT_TYPE:
        raise BadRequest(f"Content-Type has {len(text)} characters; {MAX_CONTENT_TYPE} are allowed.")
    if not all(" " <= char != "\x7f" for char in text.replace("\t", " ")):
        raise BadRequest("Content-Type contains a control character.")
    if text.partition(";")[0].rstrip().lower() in NO_TYPES:
        return DEFAULT_CONTENT_TYPE
    return text


def check_encoding(values: Iterable[bytes]) -> None:
    """Raise UnsupportedEncoding if the body is not the bytes themselves (RFC 9110 section 8.4)."""
    for coding in b",".join(values).split(b","):
        if coding.strip().lower() not in (b"", b"identity"):
            raise UnsupportedEncoding("Loom stores bytes as they are: send them without Content-Encoding.")


def answers_early(policy: str, http_version: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """True if a POST is answered as soon as the stream exists, False if at the body's end.

    `policy` is direct, always or never. A proxy that gets the answer early may stop passing the body on, or
    swallow some of it, so `direct` looks for the headers proxies add. A resumable upload expects its answer
    at the end by its own rules (draft-ietf-httpbis-resumable-upload).
    """
    names = {name for name, _ in headers}
    if policy == "never" or b"upload-complete" in names:
        return False
    if policy == "always":
        return True
    forwarded = any(name in _FORWARDED or name.startswith(b"x-forwarded-") for name in names)
    return http_version != "1.0" and not forwarded


def created_headers(info: Info, *, replaced: bool) -> Headers:
    """The answer to a creation. It has no length here: at a 0 that comes early some clients stop sending."""
    id = quote_id(info.id).encode()
    headers = [(b"x-stream-id", id), (b"location", b"/stream/" + id), NO_STORE]
    headers += [(b"etag", tag_of(info)), *lifetime_headers(info)]
    if replaced:
        headers.append((b"x-stream-replaced", b"true"))
    return headers


def stream_headers(info: Info, part: Part, validators: Validators) -> Headers:
    """The answer that shows a part of a stream. Without validators it is not to be stored."""
    headers = [
        (b"content-type", info.content_type.encode("latin-1")),
        (b"x-stream-id", quote_id(info.id).encode()),
        (b"x-stream-key", info.key.encode()),
        (b"x-stream-state", info.state.encode()),
        (b"x-stream-metadata", info.metadata.encode()),
        *lifetime_headers(info),
        *unchanged_headers(validators),
    ]
    if info.digest and validators.etag is not None:
        headers.append((b"repr-digest", digest_field(info.digest).encode()))
    if not part.skip:
        headers.append((b"x-stream-offset", b"%d" % part.start))
    if isinstance(part, PartialContent):
        headers.append((b"content-range", part.content_range.encode()))
    length = None if part.stop is None else part.stop - part.start
    headers.append(UNBUFFERED if length is None else (b"content-length", b"%d" % length))
    return headers


def digest_field(digest: str) -> str:
    """A SHA-256 in base64 as a digest field tells it (RFC 9530 section 3)."""
    return f"sha-256=:{digest}:"


def unchanged_headers(validators: Validators) -> Headers:
    """What an answer and the 304 in its place have in common (RFC 9110 section 15.4.5)."""
    cached = NO_STORE if validators.etag is None else REVALIDATED
    return [cached, *validators.headers, VARY, SANDBOX, NOSNIFF]

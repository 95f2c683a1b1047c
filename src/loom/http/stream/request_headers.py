"""The headers of a producer's request. Pure.

Resumable uploads follow draft-ietf-httpbis-resumable-upload, interop version 8. Older versions differ little:
in version 5 a PATCH has no Content-Type. No interim response 104 is sent: the final response and HEAD report
the same, and some clients take a 104 for the final response.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from loom.errors import BadRequest, InconsistentLength, UnsupportedEncoding
from loom.http.headers import Fields
from loom.model import DEFAULT_CONTENT_TYPE
from loom.wire.fields import parse_boolean, parse_digest, parse_integer
from loom.wire.media import LINES, PARTIAL_UPLOAD, plain_type

MAX_CONTENT_TYPE = 255
"""Characters: twice what RFC 6838 allows for a type, and less than any proxy's limit on a header."""
MAX_KEY_BYTES = 255
MAX_RESUME_WINDOW = 30 * 86400

_NO_TYPES = ("", "application/x-www-form-urlencoded", PARTIAL_UPLOAD)
_FORWARDED = (b"via", b"forwarded", b"x-real-ip")


@dataclass(frozen=True, slots=True)
class Upload:
    """What the headers of a request state about the bytes in its body.

    `offset` is where they begin in the stream, `length` the final size of the stream. `complete` states
    whether the stream ends with this request. `progress` asks for lines of progress. `digest` is the SHA-256
    in base64 that the complete stream must have. `epoch` is the one that the stream must have before the
    takeover. `size` is the number of bytes in the body. None stands for an absent header.
    """

    offset: int | None
    length: int | None
    complete: bool | None
    progress: bool
    digest: str | None = None
    epoch: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read the headers of a request. Raises BadRequest, InconsistentLength."""
        complete = parse_boolean("Upload-Complete", fields.all(b"upload-complete"))
        offset = parse_integer("Upload-Offset", fields.all(b"upload-offset"))
        length = parse_integer("Upload-Length", fields.all(b"upload-length"))
        size = parse_integer("Content-Length", fields.all(b"content-length"))
        if complete is not False and size is not None:
            total = (offset or 0) + size
            if length not in (None, total):
                raise InconsistentLength(f"Upload-Length is {length}, but this request ends at {total}.")
        digest = parse_digest("Stream-Digest", fields.all(b"stream-digest"))
        if digest and complete is False:
            raise BadRequest("Send Stream-Digest with the request that completes the stream.")
        progress = [each.lower() for each in fields.all(b"accept")] == [LINES.encode()]
        epoch = parse_integer("X-Stream-Epoch", fields.all(b"x-stream-epoch"))
        return cls(offset, length, complete, progress, digest, epoch, size)

    @property
    def start(self) -> int:
        """The offset at which a PATCH appends. Raises BadRequest without Upload-Offset or Upload-Complete."""
        if self.offset is None:
            raise BadRequest("A PATCH needs Upload-Offset: the offset in the stream where its bytes begin.")
        if self.complete is None:
            raise BadRequest(
                "A PATCH needs Upload-Complete: ?1 if it ends the stream, ?0 if more will follow."
            )
        return self.offset

    def check(self, offset: int, known: int | None, *, ended: bool = False) -> None:
        """Raise InconsistentLength if a stream of `offset` bytes contradicts an announced length.

        `known` is the length that an earlier request announced. With `ended` the body has reached its end.
        """
        for length in (self.length, known):
            if length is None:
                continue
            if offset > length or (ended and self.complete is not False and offset != length):
                raise InconsistentLength(
                    f"The stream was announced with {length} bytes; it would have {offset}."
                )
        if None not in (self.length, known) and self.length != known:
            raise InconsistentLength(f"Upload-Length is {self.length}; it was {known} before.")


def idempotency_key(fields: Fields) -> str:
    """Return the Idempotency-Key of a request, empty if it has none. Raises BadRequest."""
    values = fields.all(b"idempotency-key")
    key = values[0].strip() if values else b""
    if len(values) > 1 or len(key) > MAX_KEY_BYTES or not all(0x20 <= byte < 0x7F for byte in key):
        raise BadRequest(f"Idempotency-Key must be one value of at most {MAX_KEY_BYTES} ASCII characters.")
    return key.decode()


def resume_window(fields: Fields) -> float | None:
    """Return the resume window that a creation requests, in seconds. Raises BadRequest."""
    seconds = parse_integer("Stream-Resume-Window", fields.all(b"stream-resume-window"))
    if seconds is not None and seconds > MAX_RESUME_WINDOW:
        raise BadRequest(f"Stream-Resume-Window must be at most {MAX_RESUME_WINDOW} seconds.")
    return seconds


def content_type_of(values: Sequence[bytes]) -> str:
    """Return the content type to store with a stream, as it was sent. Raises BadRequest.

    Two types do not describe the bytes: that of a form, which curl sends by default, and that of a part of an
    upload. The default type takes their place.
    """
    if len(values) > 1:
        raise BadRequest("Content-Type was sent more than once.")
    text = values[0].decode("latin-1").strip(" \t") if values else ""
    if len(text) > MAX_CONTENT_TYPE:
        raise BadRequest(f"Content-Type has {len(text)} characters; {MAX_CONTENT_TYPE} are allowed.")
    if not all(" " <= char != "\x7f" for char in text.replace("\t", " ")):
        raise BadRequest("Content-Type contains a control character.")
    if media_type(values) in _NO_TYPES:
        return DEFAULT_CONTENT_TYPE
    return text


def media_type(values: Iterable[bytes]) -> str:
    """Return the media type in Content-Type: without parameters, in lower case, empty without the header."""
    return plain_type(b",".join(values).decode("latin-1"))


def check_encoding(values: Iterable[bytes]) -> None:
    """Raise UnsupportedEncoding if the body has a Content-Encoding (RFC 9110 section 8.4)."""
    for coding in b",".join(values).split(b","):
        if coding.strip().lower() not in (b"", b"identity"):
            raise UnsupportedEncoding("Loom stores bytes unchanged: send them without Content-Encoding.")


def answers_early(policy: str, http_version: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return True if a POST is answered as soon as the stream exists, False if at the end of its body.

    `policy` is direct, always or never. A proxy that receives an early response may stop forwarding the body,
    or lose some of it. So `direct` means a live body, which has no Content-Length, over HTTP/1.1, without any
    header that proxies add; nginx adds at least `Connection: close`. A resumable upload expects its response
    at the end (draft-ietf-httpbis-resumable-upload).
    """
    names = {name for name, _ in headers}
    if policy == "never" or b"upload-complete" in names:
        return False
    if policy == "always":
        return True
    forwarded = any(name in _FORWARDED or name.startswith(b"x-forwarded-") for name in names)
    closing = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    return http_version != "1.0" and not (forwarded or closing or b"content-length" in names)

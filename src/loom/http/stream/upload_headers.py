"""What resumable uploads say in headers (draft-ietf-httpbis-resumable-upload, interop version 8). Pure.

Older versions that clients speak differ little: in version 5 a PATCH has no Content-Type. No interim answer
104 is sent: what it tells is in the final answers and in HEAD, and some clients take it for the final one.
"""

from dataclasses import dataclass
from typing import Self

from loom.errors import BadRequest, InconsistentLength, PreconditionFailed
from loom.http.problem import Headers
from loom.http.stream.conditions import Fields
from loom.model import Info, State
from loom.wire.structured import boolean, integer, sha256

PARTIAL_UPLOAD = "application/partial-upload"
MERGE_PATCH = "application/merge-patch+json"
PROGRESS = b"application/x-ndjson"
MAX_KEY_BYTES = 255
MAX_RESUME_WINDOW = 30 * 86400


@dataclass(frozen=True, slots=True)
class Upload:
    """What a producer says of its request: where it begins, how many bytes the stream has in all, whether it
    ends with the request (None: not said), whether it wants to be told of progress, the SHA-256 in base64
    that the stream shall have once it is complete, and the epoch it is taken over from (None: any)."""

    offset: int | None
    length: int | None
    complete: bool | None
    progress: bool
    digest: str | None = None
    epoch: int | None = None

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Raises BadRequest, InconsistentLength."""
        complete = boolean("Upload-Complete", fields.all(b"upload-complete"))
        offset = integer("Upload-Offset", fields.all(b"upload-offset"))
        length = integer("Upload-Length", fields.all(b"upload-length"))
        content = integer("Content-Length", fields.all(b"content-length"))
        if complete is not False and content is not None:
            total = (offset or 0) + content
            if length not in (None, total):
                raise InconsistentLength(f"Upload-Length is {length}, but this request ends at {total}.")
        digest = sha256("Stream-Digest", fields.all(b"stream-digest"))
        if digest and complete is False:
            raise BadRequest("Stream-Digest goes with the request that completes the stream.")
        progress = [each.lower() for each in fields.all(b"accept")] == [PROGRESS]
        epoch = integer("X-Stream-Epoch", fields.all(b"x-stream-epoch"))
        return cls(offset, length, complete, progress, digest, epoch)

    @property
    def start(self) -> int:
        """Where a PATCH goes on. Raises BadRequest if it does not say so, or not whether it is the last."""
        if self.offset is None:
            raise BadRequest("A PATCH needs Upload-Offset: the offset in the stream that its bytes begin at.")
        if self.complete is None:
            raise BadRequest("A PATCH needs Upload-Complete: ?1 if it ends the stream, ?0 if more will come.")
        return self.offset

    def check(self, offset: int, known: int | None, *, ended: bool = False) -> None:
        """Raise InconsistentLength if a stream of `offset` bytes cannot be meant, or with `ended` is not."""
        for length in (self.length, known):
            if length is None:
                continue
            if offset > length or (ended and self.complete is not False and offset != length):
                raise InconsistentLength(f"The stream was to have {length} bytes; these make it {offset}.")
        if None not in (self.length, known) and self.length != known:
            raise InconsistentLength(f"Upload-Length is {self.length}; it was {known} before.")


def check_match(fields: Fields, info: Info) -> None:
    """Raise PreconditionFailed if an If-Match names other streams than this one, by their keys."""
    tags = b",".join(fields.all(b"if-match"))
    if tags and tag_of(info) not in (names := [tag.strip() for tag in tags.split(b",")]) and names != [b"*"]:
        raise PreconditionFailed("The stream is not the one that If-Match names: it was replaced.")


def tag_of(info: Info) -> bytes:
    """The entity tag that stands for the key."""
    return b'"%b"' % info.key.encode()


def idempotency_key(fields: Fields) -> str:
    """What names the request, empty if nothing does. Raises BadRequest."""
    values = fields.all(b"idempotency-key")
    key = values[0].strip() if values else b""
    if len(values) > 1 or len(key) > MAX_KEY_BYTES or not all(0x20 <= byte < 0x7F for byte in key):
        raise BadRequest(f"Idempotency-Key is one value of {MAX_KEY_BYTES} ASCII characters at most.")
    return key.decode()


def resume_window(fields: Fields) -> float | None:
    """The window a creation asks for, in seconds. Raises BadRequest."""
    seconds = integer("Stream-Resume-Window", fields.all(b"stream-resume-window"))
    if seconds is not None and seconds > MAX_RESUME_WINDOW:
        raise BadRequest(f"Stream-Resume-Window is {MAX_RESUME_WINDOW} seconds at most.")
    return seconds


def upload_headers(info: Info, now: float, most: int = 0) -> Headers:
    """How far a stream is, how often a producer came to it, how long it waits for more, and how many bytes it
    may have at `most`, 0 for any number."""
    complete = info.state is State.COMPLETE
    headers = [(b"upload-offset", b"%d" % info.size), (b"upload-complete", b"?%d" % complete)]
    headers.append((b"x-stream-epoch", b"%d" % info.epoch))
    length = info.size if complete else info.length
    if length is not None:
        headers.append((b"upload-length", b"%d" % length))
    age = None if info.deadline is None else max(0, round(info.deadline - now))
    return [*headers, *limit_headers(0 if info.state.final else most, age)]


def limit_headers(size: int, age: int | None = None) -> Headers:
    """How many bytes a stream may have, 0 for any number, and for how many seconds it waits for more."""
    limits = [b"max-size=%d" % size] if size else []
    if age is not None:
        limits.append(b"max-age=%d" % age)
    return [(b"upload-limit", b", ".join(limits))] if limits else []

"""The headers of tus 1.0.0, as requests have them and as responses report a stream. Pure."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

from loom.errors import BadRequest, ChecksumMismatch, InvalidMetadata
from loom.http.headers import Fields, Headers
from loom.http.stream.request_headers import Upload, content_type_of, media_type
from loom.model import DEFAULT_CONTENT_TYPE, Info, members
from loom.wire.fields import parse_integer
from loom.wire.media import OFFSET_STREAM
from loom.wire.metadata import check_metadata, check_size, dump, readable

VERSION = b"1.0.0"
RESUMABLE = (b"tus-resumable", VERSION)
SUPPORTED = (b"tus-version", VERSION)
CHECKED_BYTES = 4 << 20
"""A body with Upload-Checksum has this many bytes at most, because it is held until it was compared."""

ALGORITHMS = ("sha1", "sha256", "sha512", "md5")
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "expiration",
    "checksum",
)
TYPES = ("filetype", "type", "contentType")
"""Members of Upload-Metadata in which clients send the content type of a file."""


def options(max_size: int) -> Headers:
    """Return what a response to OPTIONS adds. `max_size` is the size that an upload may have, 0: any."""
    headers = [
        RESUMABLE,
        SUPPORTED,
        (b"tus-extension", ",".join(EXTENSIONS).encode()),
        (b"tus-checksum-algorithm", ",".join(ALGORITHMS).encode()),
    ]
    return [*headers, (b"tus-max-size", b"%d" % max_size)] if max_size else headers


def is_body(fields: Fields) -> bool:
    """Return True if the body of a request has bytes of an upload."""
    return media_type(fields.all(b"content-type")) == OFFSET_STREAM


def creation_of(fields: Fields) -> Upload:
    """Read what a creation announces. Raises BadRequest."""
    length = parse_integer("Upload-Length", fields.all(b"upload-length"))
    deferred = parse_integer("Upload-Defer-Length", fields.all(b"upload-defer-length"))
    if deferred not in (None, 1) or (length is None) != (deferred == 1):
        raise BadRequest("Send either Upload-Length or Upload-Defer-Length: 1.")
    size = parse_integer("Content-Length", fields.all(b"content-length"))
    return Upload(None, length, complete=False, progress=False, size=size)


def append_of(fields: Fields) -> Upload:
    """Read what a PATCH announces. Raises BadRequest."""
    offset = parse_integer("Upload-Offset", fields.all(b"upload-offset"))
    length = parse_integer("Upload-Length", fields.all(b"upload-length"))
    size = parse_integer("Content-Length", fields.all(b"content-length"))
    return Upload(offset, length, complete=False, progress=False, size=size)


def parse_upload_metadata(values: Sequence[bytes]) -> dict[str, str]:
    """Return the pairs of Upload-Metadata; a key without a value has an empty one.

    Raises InvalidMetadata.
    """
    found: dict[str, str] = {}
    for pair in b",".join(values).split(b",") if values else ():
        key, _, value = pair.strip(b" ").partition(b" ")
        name = key.decode("latin-1")
        if not _is_key(name) or name in found:
            raise InvalidMetadata(
                "Each key of Upload-Metadata must be ASCII without spaces, and be there once."
            )
        try:
            found[name] = b64decode(value.strip(b" "), validate=True).decode("utf-8")
        except ValueError:
            raise InvalidMetadata(f"The value of {name} in Upload-Metadata is not UTF-8 in base64.") from None
    return found


def metadata_of(pairs: dict[str, str], limit: int) -> str:
    """Return pairs as the metadata to store, of at most `limit` bytes. Raises InvalidMetadata."""
    return check_size(check_metadata(dump(pairs), "Upload-Metadata"), limit, "Upload-Metadata")


def type_of(pairs: dict[str, str]) -> str:
    """Return the content type that pairs name; the default type if it is not one that can be stored."""
    named = next((pairs[name] for name in TYPES if pairs.get(name)), "")
    try:
        return content_type_of([named.encode("latin-1")] if named else [])
    except (BadRequest, UnicodeEncodeError):
        return DEFAULT_CONTENT_TYPE


def upload_headers(info: Info, *, shown: bool) -> Headers:
    """Return what HEAD reports of an upload in addition to a stream: its length and, if `shown`, metadata."""
    deferred = info.length is None and not info.state.final
    headers = [(b"upload-defer-length", b"1")] if deferred else []
    pairs = [
        f"{name} {b64encode(value.encode()).decode()}".rstrip()
        for name, value in members(readable(info.metadata)).items()
        if _is_key(name)
    ]
    return [*headers, (b"upload-metadata", ",".join(pairs).encode())] if pairs and shown else headers


def checksum_of(fields: Fields) -> tuple[str, bytes] | None:
    """Return the algorithm and the digest of Upload-Checksum, None without it. Raises BadRequest."""
    values = fields.all(b"upload-checksum")
    if not values:
        return None
    algorithm, _, digest = b",".join(values).decode("latin-1").strip().partition(" ")
    try:
        if algorithm in ALGORITHMS:
            return algorithm, b64decode(digest.strip(), validate=True)
    except ValueError:
        pass
    raise BadRequest(
        f"Upload-Checksum must be one of {', '.join(ALGORITHMS)}, a space and the digest in base64."
    )


def check_sum(body: bytes, algorithm: str, digest: bytes) -> None:
    """Raise ChecksumMismatch unless `body` has this digest."""
    if hashlib.new(algorithm, body, usedforsecurity=False).digest() != digest:
        raise ChecksumMismatch(
            "The body does not match Upload-Checksum; nothing of it is stored. Send it again."
        )


def _is_key(name: str) -> bool:
    return name != "" and all("!" <= char <= "~" and char != "," for char in name)

"""Turn errors into `application/problem+json` responses (RFC 9457). Owns the status and problem type of each.

Pure: an error in, a status, headers and a body out.
"""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from loom import errors
from loom.errors import LoomError, OffsetMismatch, RangeNotSatisfiable, Unauthorized, UnsupportedPatch
from loom.http.headers import ACCEPT_PATCH, NO_STORE, NOSNIFF, Headers, content_length
from loom.wire.head import StreamHead
from loom.wire.media import PROBLEM


class Row(NamedTuple):
    """The status and problem type of an error class, and what a client of this interface can do about it."""

    status: int
    type: str = "about:blank"
    advice: str = ""


_UPLOAD_TYPES = "https://iana.org/assignments/http-problem-types#"
"""Where draft-ietf-httpbis-resumable-upload registers its problem types."""

ROWS: Mapping[type[LoomError], Row] = {
    LoomError: Row(500),
    errors.BadRequest: Row(400),
    errors.InvalidId: Row(400),
    errors.InvalidMetadata: Row(400),
    errors.InconsistentLength: Row(400, f"{_UPLOAD_TYPES}inconsistent-upload-length"),
    errors.TooLarge: Row(413),
    errors.UnsupportedEncoding: Row(415),
    errors.UnsupportedPatch: Row(415),
    errors.ChecksumMismatch: Row(460),
    errors.Unauthorized: Row(401),
    errors.Forbidden: Row(403),
    errors.ProducerFenced: Row(403),
    errors.StreamNotFound: Row(404),
    errors.ProducerIdle: Row(408),
    errors.Conflict: Row(409),
    errors.StreamExists: Row(409, advice=" Specify force=true query param to override."),
    errors.StreamFinal: Row(409, f"{_UPLOAD_TYPES}completed-upload"),
    errors.OffsetMismatch: Row(409, f"{_UPLOAD_TYPES}mismatching-upload-offset"),
    errors.SequenceGap: Row(409),
    errors.EpochMismatch: Row(409),
    errors.UploadEnded: Row(410),
    errors.VersionMismatch: Row(409),
    errors.PreconditionFailed: Row(412),
    errors.RangeNotSatisfiable: Row(416),
    errors.Misdirected: Row(421),
    errors.DigestMismatch: Row(422),
    errors.WriterLost: Row(409),
    errors.Fenced: Row(409),
    errors.StreamGone: Row(409),
    errors.StreamFailed: Row(507),
    errors.StreamAborted: Row(409),
    errors.StreamDamaged: Row(500),
    errors.SizeLimit: Row(413),
    errors.StorageFull: Row(507),
    errors.Busy: Row(503),
    errors.TooMany: Row(503),
    errors.TooManySearches: Row(429),
    errors.SearchFailed: Row(500),
    errors.QuotaExceeded: Row(429),
    errors.Throttled: Row(429),
    errors.StoreStopped: Row(503),
}
"""Every error that a request may meet. ConfigError has no row: it ends the server before any request."""


def phrase_of(status: int) -> str:
    """Return the reason phrase of a status: 460 is of tus 1.0, all others of RFC 9110 and its kin."""
    return "Checksum Mismatch" if status == 460 else HTTPStatus(status).phrase


def row_of(error: type[LoomError]) -> Row:
    """Return the row of an error class: its own, or that of the nearest base class which has one."""
    return next(ROWS[kind] for kind in error.__mro__ if kind in ROWS)


def problem(
    status: int, code: str, detail: str, *, headers: Iterable[tuple[bytes, bytes]] = (), **members: object
) -> tuple[int, Headers, bytes]:
    """Return a whole error response. `error` repeats `detail` for the clients of the classic interface."""
    document = {
        "type": "about:blank",
        "title": phrase_of(status),
        "status": status,
        "code": code,
        "detail": detail,
        "error": detail,
        **members,
    }
    body = json.dumps(document).encode("ascii") + b"\n"
    kind = (b"content-type", PROBLEM.encode())
    return status, [kind, content_length(len(body)), NO_STORE, NOSNIFF, *headers], body


def problem_of(
    error: LoomError, *, headers: Iterable[tuple[bytes, bytes]] = (), took_over: bool = False
) -> tuple[int, Headers, bytes]:
    """Return the response that reports `error`. `took_over` says that the request had fenced the producer."""
    row = row_of(type(error))
    extra = list(headers)
    members: dict[str, object] = {"type": row.type}
    if isinstance(error, Unauthorized):
        extra.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, RangeNotSatisfiable):
        members["size"] = error.size
        extra.append((b"content-range", b"bytes */%d" % error.size))
    if isinstance(error, OffsetMismatch):
        members |= {
            "offset": error.offset,
            "expected-offset": error.offset,
            "provided-offset": error.provided,
        }
        extra += StreamHead(size=error.offset, complete=False).headers
    if isinstance(error, UnsupportedPatch):
        extra.append(ACCEPT_PATCH)
    advice = row.advice
    if took_over:
        members["took-over"] = True
        advice += " The request had taken the stream over from its producer before it failed."
    if error.retry_after is not None:
        extra.append((b"retry-after", b"%d" % error.retry_after))
    return problem(row.status, error.code, f"{error}{advice}", headers=extra, **members)

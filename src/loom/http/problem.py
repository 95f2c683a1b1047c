"""Errors as `application/problem+json` (RFC 9457). Pure: an error in, a status, headers and a body out."""

import json
from collections.abc import Iterable
from http import HTTPStatus

from loom.errors import LoomError, OffsetMismatch, RangeNotSatisfiable, Unauthorized, UnsupportedPatch

Headers = list[tuple[bytes, bytes]]

ACCEPT_PATCH = b"application/partial-upload, application/merge-patch+json"
"""The content types that a PATCH of a stream may have (RFC 5789 section 3.1)."""


def problem(
    status: int, code: str, detail: str, *, headers: Iterable[tuple[bytes, bytes]] = (), **members: object
) -> tuple[int, Headers, bytes]:
    """A whole error response. `error` repeats `detail`: it is where classic clients look for it."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "error": detail,
        **members,
    }
    body = json.dumps(document).encode("ascii") + b"\n"
    return (
        status,
        [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store, no-transform"),
            (b"x-content-type-options", b"nosniff"),
            *headers,
        ],
        body,
    )


def problem_of(
    error: LoomError, *, headers: Iterable[tuple[bytes, bytes]] = ()
) -> tuple[int, Headers, bytes]:
    """The response that tells `error`."""
    extra = list(headers)
    members: dict[str, object] = {"type": error.type}
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
        extra += [(b"upload-offset", b"%d" % error.offset), (b"upload-complete", b"?0")]
    if isinstance(error, UnsupportedPatch):
        extra.append((b"accept-patch", ACCEPT_PATCH))
    if error.retry_after is not None:
        extra.append((b"retry-after", b"%d" % error.retry_after))
    return problem(error.status, error.code, str(error), headers=extra, **members)

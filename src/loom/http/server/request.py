"""The head of a request: its ASGI scope, or why the request is refused. Pure: values in, values out."""

from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools

from loom.http.extensions import CROWD, ZERO_COPY
from loom.http.headers import Headers


class Refusal(NamedTuple):
    """A request that no app sees: the status, code and detail of its response."""

    status: int
    code: str
    detail: str


HEAD_TOO_LARGE = Refusal(
    431, "head_too_large", "The request line and headers, or the trailers, are too large."
)
NO_MEMORY = Refusal(503, "busy", "The requests that wait take too much memory; retry later.")
HEAD_TOO_SLOW = Refusal(408, "head_too_slow", "The request's headers took too long.")


def origin(server: object, client: object, *, zero_copy: bool) -> dict[str, Any]:
    """Return the part of the scope that all requests of a connection share; the ends are as sockets say."""
    extensions: dict[str, Any] = {CROWD: {}, ZERO_COPY: {}} if zero_copy else {CROWD: {}}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "http" if zero_copy else "https",  # TLS copies
        "server": _address(server),
        "client": _address(client),
        "root_path": "",
        "extensions": extensions,
    }


def _address(end: object) -> tuple[str, int] | None:
    return (end[0], end[1]) if isinstance(end, tuple) else None


def read_head(method: bytes, version: str, target: bytes, headers: Headers) -> dict[str, Any] | Refusal:
    """Return the part of the scope that the head determines, or the reason to refuse the request.

    The parser has checked the syntax. These rules are RFC 9112 sections 2.3, 3.2 and 6.1.
    """
    if version not in ("1.0", "1.1"):
        return Refusal(505, "http_version", "This server speaks HTTP/1.1 and HTTP/1.0.")
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts > 1 or (version == "1.1" and not hosts):
        return Refusal(400, "bad_host", "A request must have exactly one Host header.")
    if b"transfer-encoding" in names:
        if version == "1.0":
            return Refusal(400, "bad_request", "HTTP/1.0 has no Transfer-Encoding.")
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in headers):
            return Refusal(501, "unknown_transfer_coding", "The only supported Transfer-Encoding is chunked.")
    try:
        url = httptools.parse_url(target) if method != b"CONNECT" else None
    except httptools.HttpParserInvalidURLError:
        url = None
    if url is None or url.path is None:
        return Refusal(400, "bad_target", "The request target must have a path.")
    return {
        "method": method.decode("ascii"),
        "http_version": version,
        "path": unquote(url.path.decode("ascii")),
        "raw_path": url.path,
        "query_string": url.query or b"",
        "headers": headers,
    }


def expects_continue(headers: Headers) -> bool:
    """Return True if the client sends the body only after a 100 (RFC 9110 section 10.1.1)."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)

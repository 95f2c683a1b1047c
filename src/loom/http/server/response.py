"""The bytes of a response: its head and the framing of its body (RFC 9112). No I/O but the clock."""

import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, _PHRASES.get(code, b"")) for code in range(100, 600)}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Framing(Enum):
    """How the client finds the end of a response (RFC 9112 section 6.3)."""

    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3
    NO_BODY = 4


class Head(NamedTuple):
    """The head of a response as bytes, and what it promises. `length` is 0 unless `framing` is LENGTH."""

    data: bytes
    framing: Framing
    length: int
    keep_alive: bool


def make_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    method: str,
    http_version: str,
    keep_alive: bool,
) -> Head:
    """Return the head of a response. Raises RuntimeError for a header that HTTP does not allow.

    The server alone decides on Connection and Transfer-Encoding. An app can only ask to close.
    """
    lines = [_STATUS_LINES[status], _date_line(int(time.time()))]
    length: int | None = None
    for name, value in headers:
        name = _field_name(name)
        if _CONTROL.search(value):
            raise RuntimeError(f"The value of the header {name!r} has a control character: {value!r}.")
        if name == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
            continue
        if name == b"transfer-encoding":
            continue
        if name == b"content-length":
            length = int(value)
        lines.append(b"%b: %b\r\n" % (name, value))
    if method == "HEAD" or status in (204, 304):
        framing = Framing.NO_BODY
    elif length is not None:
        framing = Framing.LENGTH
    elif http_version == "1.1":
        framing = Framing.CHUNKED
        lines.append(b"transfer-encoding: chunked\r\n")
    else:
        framing = Framing.CLOSE
        keep_alive = False
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return Head(b"".join(lines), framing, (length or 0) if framing is Framing.LENGTH else 0, keep_alive)


def make_chunk(data: bytes) -> bytes:
    """Return `data`, which is not empty, as a chunk: an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=256)
def _field_name(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise RuntimeError(f"{name!r} is not a valid header name.")
    return name.lower()


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")

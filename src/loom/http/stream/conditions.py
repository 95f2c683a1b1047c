"""Conditional requests (RFC 9110 section 13): whether an answer is wanted, and whether in part. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Protocol

from loom.errors import PreconditionFailed
from loom.http.problem import Headers
from loom.model import Info


class NotModified(Exception):
    """The client has the bytes already: it is answered 304."""

    def __init__(self, info: Info) -> None:
        self.info = info


class Fields(Protocol):
    """The headers of a request."""

    def all(self, name: bytes) -> Sequence[bytes]:
        """Every value of a header, by its name in lower case."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What an answer may be known by: an entity tag, and a time in seconds since the Unix epoch."""

    etag: bytes | None = None
    modified: int | None = None

    @property
    def headers(self) -> Headers:
        """As an answer tells them."""
        headers = []
        if self.etag is not None:
            headers.append((b"etag", self.etag))
        if self.modified is not None:
            headers.append((b"last-modified", formatdate(self.modified, usegmt=True).encode()))
        return headers


def validators_of(info: Info) -> Validators:
    """Those of the whole of a stream; none while it can grow.

    The bytes of a final key never change: the key alone is a strong tag. Its last change is its end.
    """
    if not info.state.final:
        return Validators()
    return Validators(b'"%b"' % info.key.encode(), None if info.ended is None else int(info.ended))


def check_conditions(request: Fields, info: Info, validators: Validators) -> None:
    """Raise PreconditionFailed or NotModified where section 13.2.2 says so, for GET and HEAD.

    If-Match holds for the key of a stream that can still grow too, and for a part of it: who goes on with
    what it has begun shall not land in other bytes.
    """
    if tags := request.all(b"if-match"):
        if not _matches(tags, b'"%b"' % info.key.encode(), weakly=False):
            raise PreconditionFailed("The stream is not the one that If-Match names.")
    elif _newer(validators, request.all(b"if-unmodified-since")) is True:
        raise PreconditionFailed("The stream ended later than If-Unmodified-Since says.")
    if tags := request.all(b"if-none-match"):
        if _matches(tags, validators.etag, weakly=True):
            raise NotModified(info)
    elif _newer(validators, request.all(b"if-modified-since")) is False:
        raise NotModified(info)


def range_is_wanted(request: Fields, validators: Validators) -> bool:
    """False if If-Range names other bytes than these: then all of these are wanted (section 13.1.5).

    A date has to be the very one; a client that knows the tag, which comes with it, may not send it.
    """
    values = request.all(b"if-range")
    if not values or values == [validators.etag]:
        return True
    return validators.modified is not None and validators.modified == _date(values)


def _matches(values: Sequence[bytes], etag: bytes | None, *, weakly: bool) -> bool:
    """True if a list of entity tags holds this one; `*` is whatever there is."""
    given = b",".join(values)
    if given.strip(b" \t") == b"*":
        return True
    return any(tag == etag and (weakly or not weak) for weak, tag in _TAG.findall(given))


def _newer(validators: Validators, values: Sequence[bytes]) -> bool | None:
    """Whether the last change came after a date; None if there is none to compare."""
    date = _date(values)
    if date is None or validators.modified is None:
        return None
    return validators.modified > date


def _date(values: Sequence[bytes]) -> int | None:
    """The time that an HTTP-date says (section 5.6.7), None if it is not one."""
    if len(values) != 1:
        return None
    text = values[0].decode("latin-1").strip(" \t")
    for form in _DATES:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")

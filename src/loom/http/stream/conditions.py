"""Conditional requests (RFC 9110 section 13): whether to answer in full, in part or not at all. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

from loom.errors import PreconditionFailed
from loom.http.headers import Fields, Headers
from loom.model import Info
from loom.wire.fields import tag_of


class NotModified(Exception):
    """The client already has the bytes; the response is 304."""

    def __init__(self, info: Info) -> None:
        self.info = info


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies the bytes of a response: an entity tag, and a time in seconds since the Unix epoch."""

    etag: bytes | None = None
    modified: int | None = None

    @property
    def headers(self) -> Headers:
        """The headers of the response."""
        headers = []
        if self.etag is not None:
            headers.append((b"etag", self.etag))
        if self.modified is not None:
            headers.append((b"last-modified", formatdate(self.modified, usegmt=True).encode()))
        return headers


def validators_of(info: Info) -> Validators:
    """Return the validators of a whole stream; there are none while it can grow.

    The bytes of a final key never change, so the key alone is a strong tag. The last change is the end.
    """
    if not info.state.final:
        return Validators()
    return Validators(_tag(info), None if info.ended is None else int(info.ended))


def check_conditions(request: Fields, info: Info, validators: Validators) -> None:
    """Evaluate the conditions of a GET or HEAD in the order of section 13.2.2.

    Raises PreconditionFailed, NotModified.
    """
    if request.all(b"if-match"):
        check_match(request, info)
    elif _newer(validators, request.all(b"if-unmodified-since")) is True:
        raise PreconditionFailed("The stream ended after the time in If-Unmodified-Since.")
    if tags := request.all(b"if-none-match"):
        if _matches(tags, validators.etag, weakly=True):
            raise NotModified(info)
    elif _newer(validators, request.all(b"if-modified-since")) is False:
        raise NotModified(info)


def check_match(request: Fields, info: Info) -> None:
    """Raise PreconditionFailed if the request has an If-Match without the key of this stream (section
    13.1.1).

    The key counts for a stream that can still grow too, and for a part of it: a client that resumes must
    never continue in other bytes. An empty If-Match lists no tag, so that it matches nothing.
    """
    tags = request.all(b"if-match")
    if tags and not _matches(tags, _tag(info), weakly=False):
        raise PreconditionFailed("The stream is not the one that If-Match names: it was replaced.")


def range_is_wanted(request: Fields, validators: Validators) -> bool:
    """Return False if If-Range names other bytes than these, so that all of them are sent (section 13.1.5).

    A date must be exactly the time of the last change. A client that has the tag need not send a date.
    """
    values = request.all(b"if-range")
    if not values or values == [validators.etag]:
        return True
    return validators.modified is not None and validators.modified == _date(values)


def _tag(info: Info) -> bytes:
    return tag_of(info.key).encode()


def _matches(values: Sequence[bytes], etag: bytes | None, *, weakly: bool) -> bool:
    """Return True if a list of entity tags has this one or is `*`."""
    given = b",".join(values)
    if given.strip(b" \t") == b"*":
        return True
    return any(tag == etag and (weakly or not weak) for weak, tag in _TAG.findall(given))


def _newer(validators: Validators, values: Sequence[bytes]) -> bool | None:
    """Return True if the last change came after a date; None without a date or a change to compare."""
    date = _date(values)
    if date is None or validators.modified is None:
        return None
    return validators.modified > date


def _date(values: Sequence[bytes]) -> int | None:
    """Return the time of an HTTP-date (section 5.6.7), None if there is not exactly one."""
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

"""Which part of a stream a GET or HEAD requests, by query and headers, and the head of its response. Pure."""

from collections.abc import Iterable

from loom.http.headers import Fields, Headers
from loom.http.stream.conditions import Validators, check_conditions, range_is_wanted, validators_of
from loom.http.stream.ranges import PartialContent, parse_range, parse_start
from loom.http.stream.response_headers import stream_headers, unchanged_headers
from loom.model import Info
from loom.streams.ranges import WHOLE, FromLine, LastLines, Lookup, Part
from loom.wire.times import parse_since


class Selection:
    """The part that a request selects. A start in the query takes precedence over Range.

    A response with such a start, or to `notail`, is not cacheable. Raises BadRequest.
    """

    def __init__(self, query: Iterable[tuple[str, str]], fields: Fields, now: float) -> None:
        query = list(query)
        self._fields = fields
        self._tail = all(name != "notail" for name, _ in query)
        self._start = parse_start(query, lambda text: parse_since(text, now))
        self._range = None if self._start else parse_range(fields.all(b"range"))

    @property
    def searches(self) -> bool:
        """True if lines must be searched first, which may take long."""
        return isinstance(self._start, LastLines | FromLine)

    @property
    def whole(self) -> bool:
        """True if the response is the whole stream or a range of it, so that it can have validators."""
        return self._tail and self._start is None

    def promises_end(self, part: Part) -> bool:
        """Return True if the response promises the stream to its end, so that an aborted one must be cut."""
        bounded = isinstance(self._start, FromLine) and self._start.last is not None
        return self._tail and not bounded and not isinstance(part, PartialContent)

    def choose(self, info: Info) -> Part | Lookup:
        """Choose the part to read.

        Raises NotModified, PreconditionFailed, RangeNotSatisfiable, in this order.
        """
        validators = self._validators(info)
        check_conditions(self._fields, info, validators)
        if self._range and range_is_wanted(self._fields, validators):
            return self._range.select(info, self._tail)
        return (self._start or WHOLE).select(info, self._tail)

    def answer(self, info: Info, part: Part) -> tuple[int, Headers]:
        """Return the status and the headers of the response with `part`."""
        headers = stream_headers(info, part, self._validators(info))
        if self._start is None:
            headers.append((b"accept-ranges", b"bytes"))
        return 206 if isinstance(part, PartialContent) else 200, headers

    def unchanged(self, info: Info) -> tuple[int, Headers]:
        """Return the status and the headers of the response to a client that has the bytes."""
        return 304, unchanged_headers(self._validators(info))

    def _validators(self, info: Info) -> Validators:
        return validators_of(info) if self.whole else Validators()

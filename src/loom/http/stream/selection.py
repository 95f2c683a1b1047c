"""What one GET or HEAD of a stream asks for, by query and headers, and how its answer tells that. Pure."""

from collections.abc import Iterable

from loom.http.headers import stream_headers, unchanged_headers
from loom.http.problem import Headers
from loom.http.stream.conditions import Fields, Validators, check_conditions, range_is_wanted, validators_of
from loom.http.stream.ranges import PartialContent, parse_range, parse_start
from loom.model import Info
from loom.streams.ranges import WHOLE, FromLine, LastLines, Lookup, Part
from loom.wire.times import parse_since


class Selection:
    """A place in the query makes Range be ignored; such an answer and that to `notail` are not to be cached.

    Raises BadRequest.
    """

    def __init__(self, query: Iterable[tuple[str, str]], fields: Fields, now: float) -> None:
        query = list(query)
        self._fields = fields
        self._tail = all(name != "notail" for name, _ in query)
        self._start = parse_start(query, lambda text: parse_since(text, now))
        self._range = None if self._start else parse_range(fields.all(b"range"))

    @property
    def searches(self) -> bool:
        """True if lines have to be found first, which may take long."""
        return isinstance(self._start, LastLines | FromLine)

    @property
    def whole(self) -> bool:
        """True if the answer is the whole stream or a range of it, and tells what that is known by."""
        return self._tail and self._start is None

    def choose(self, info: Info) -> Part | Lookup:
        """See service.Choose. Raises NotModified, PreconditionFailed, RangeNotSatisfiable, in that order."""
        validators = self._validators(info)
        check_conditions(self._fields, info, validators)
        if self._range and range_is_wanted(self._fields, validators):
            return self._range.select(info, self._tail)
        return (self._start or WHOLE).select(info, self._tail)

    def answer(self, info: Info, part: Part) -> tuple[int, Headers]:
        """Status and headers of the answer that gives `part`."""
        headers = stream_headers(info, part, self._validators(info))
        if self._start is None:
            headers.append((b"accept-ranges", b"bytes"))
        return 206 if isinstance(part, PartialContent) else 200, headers

    def unchanged(self, info: Info) -> tuple[int, Headers]:
        """Status and headers of the answer that the client has the bytes already."""
        return 304, unchanged_headers(self._validators(info))

    def _validators(self, info: Info) -> Validators:
        return validators_of(info) if self.whole else Validators()

"""Parse which bytes a request selects by Range (RFC 9110 section 14, RFC 8673) or by its query. Pure."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from loom.errors import BadRequest, RangeNotSatisfiable
from loom.model import Info
from loom.streams.ranges import (
    MAX,
    FromLine,
    FromOffset,
    LastBytes,
    LastLines,
    Part,
    Selector,
    Since,
    stop_of,
)

FOLLOWS_FROM = 10**11
"""A Range whose last position is 100 GB or more follows the stream (RFC 8673 section 2.2)."""


@dataclass(frozen=True, slots=True)
class PartialContent(Part):
    """A part for a 206 response, with its Content-Range."""

    content_range: str = ""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`bytes=first-last`, inclusive. `last` is the text of the request, empty for an open end."""

    first: int
    last: str = ""

    def select(self, info: Info, tail: bool) -> Part:
        """Return the stored bytes of the range. A growing stream is followed only if `last` asks for that."""
        last = int(self.last or MAX)
        if self.last and last >= FOLLOWS_FROM and stop_of(info, tail) is None and self.first <= info.size:
            return PartialContent(self.first, content_range=f"bytes {self.first}-{self.last}/*")
        if self.first >= info.size:
            raise RangeNotSatisfiable(info.size)
        return _partial(info, self.first, min(last + 1, info.size))


@dataclass(frozen=True, slots=True)
class SuffixRange:
    """`bytes=-count`: the last bytes that are stored now, or all if there are fewer."""

    count: int

    def select(self, info: Info, tail: bool) -> Part:
        """Return the stored bytes of the range. An empty stream is whole: no Content-Range can express it."""
        if not self.count:
            raise RangeNotSatisfiable(info.size)
        if not info.size:
            return Part(0, 0)
        return _partial(info, max(0, info.size - self.count), info.size)


_RANGE = re.compile(rb"([0-9]{0,20})-([0-9]{0,20})")
_STARTS = {
    "offset": (re.compile("(-?[0-9]{1,19})"), "a number of bytes, with a minus sign counted from the end"),
    "lines": (re.compile("([0-9]{1,19})"), "a number of lines, counted from the end"),
    "line": (
        re.compile("([0-9]{1,19})(?:-([0-9]{1,19}))?"),
        "the number of a line, or two such as 7-9; 1 is the first",
    ),
}
_SINCE = (
    "The query parameter since is a time such as 2026-01-31T12:00:00Z (encode a plus sign as %2B), "
    "or a duration before now: 90s, 10m, 1h30m, 2d."
)


def parse_range(values: Sequence[bytes]) -> ByteRange | SuffixRange | None:
    """Return the one range in the values of Range headers, or None to ignore them (section 14.2).

    Ignored are other units, malformed ranges, positions of more than 20 digits, ranges that end before they
    start, and several ranges.
    """
    if len(values) != 1:
        return None
    unit, _, specs = values[0].partition(b"=")
    given = [spec for part in specs.split(b",") if (spec := part.strip(b" \t"))]
    if unit.strip(b" \t").lower() != b"bytes" or len(given) != 1:
        return None
    found = _RANGE.fullmatch(given[0])
    if found is None or given[0] == b"-":
        return None
    first, last = found[1].decode(), found[2].decode()
    if not first:
        return SuffixRange(int(last))
    if last and int(last) < int(first):
        return None
    return ByteRange(int(first), last)


def parse_start(query: Iterable[tuple[str, str]], time_of: Callable[[str], float]) -> Selector | None:
    """Return what `offset`, `lines`, `line` or `since` in a query selects; None without them.

    `time_of` converts a text to seconds since the Unix epoch, or to NaN if the text is no time. Raises
    BadRequest.
    """
    given = [(name, value) for name, value in query if name in _STARTS or name == "since"]
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest("Give one of the query parameters offset, lines, line and since, and give it once.")
    [(name, value)] = given
    if name == "since":
        if math.isnan(when := time_of(value)):
            raise BadRequest(_SINCE)
        return Since(when)
    pattern, meaning = _STARTS[name]
    found = pattern.fullmatch(value)
    numbers = [] if found is None else [int(each) for each in found.groups() if each is not None]
    wrong = not numbers or max(map(abs, numbers)) > MAX
    if wrong or (name == "line" and not 0 < numbers[0] <= numbers[-1]):
        raise BadRequest(f"The query parameter {name} is {meaning}.")
    if name == "line":
        return FromLine(*numbers)
    [number] = numbers
    if name == "lines":
        return LastLines(number)
    return LastBytes(-number) if value.startswith("-") else FromOffset(number)


def _partial(info: Info, start: int, stop: int) -> Part:
    length = info.size if info.state.final else "*"
    return PartialContent(start, stop, content_range=f"bytes {start}-{stop - 1}/{length}")

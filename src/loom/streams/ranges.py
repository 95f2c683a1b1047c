"""Which bytes of a stream are asked for: ranges (RFC 9110 section 14, RFC 8673), offsets, lines. Pure.

A request is parsed to one of the wishes, and `wish.of(info, tail)` is the Part of that very stream that it
means, or a Search where lines have to be found first. Nothing here reads a byte by itself.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loom.errors import BadRequest, RangeNotSatisfiable
from loom.model import Info

FOLLOWS_FROM = 10**11
"""A Range whose last position is at or above this, 100 GB, stays for what comes (RFC 8673 section 2.2)."""
SCAN = 64 << 10
"""What a search wants at once, in bytes: little enough to be looked through between two others' turns."""
MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, stop) of a stream; with `stop` None all that is there and comes, to the stream's end.

    `content_range` is what the answer to a Range says of itself. `skip` is how many lines end behind `start`
    before the first byte that is meant: above 0 only if the line asked for is still to come.
    """

    start: int = 0
    stop: int | None = None
    content_range: str = ""
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """All from the first byte on that arrived at `when` or later, in seconds since the Unix epoch."""

    when: float
    stop: int | None = None


class Search(Protocol):
    """The hunt for a line. While `part` is None, `feed` it the bytes [start, stop) that are `wanted`.

    Where `line` is not None, that is the line sought, and the hunt may `begin` where one before it is known.
    """

    part: Part | None
    line: int | None

    def begin(self, line: int, offset: int) -> None:
        """`offset`, within the stream, lies in this line, which is not behind the one sought."""

    @property
    def wanted(self) -> tuple[int, int]:
        """At most SCAN bytes."""

    def feed(self, data: bytes) -> None:
        """Here they are."""


class Wish(Protocol):
    """What a reader asks for. With `tail` it also wants what comes later, if anything can."""

    def of(self, info: Info, tail: bool) -> "Part | Search | Arrival":
        """The part of this stream, as it is now, that is meant. Raises RangeNotSatisfiable."""


@dataclass(frozen=True, slots=True)
class FromOffset:
    """All from a byte on. Behind the end there is nothing, or what comes is waited for."""

    offset: int = 0

    def of(self, info: Info, tail: bool) -> Part:
        """See Wish."""
        stop = _stop(info, tail)
        return Part(self.offset if stop is None else min(self.offset, stop), stop)


@dataclass(frozen=True, slots=True)
class LastBytes:
    """The last bytes there are, then what comes."""

    count: int

    def of(self, info: Info, tail: bool) -> Part:
        """See Wish."""
        return Part(max(0, info.size - self.count), _stop(info, tail))


@dataclass(frozen=True, slots=True)
class LastLines:
    """The last lines there are, then what comes. A line ends with LF; one without it at the end counts."""

    count: int

    def of(self, info: Info, tail: bool) -> Search:
        """See Wish."""
        return _LastLinesSearch(self.count, info.size, _stop(info, tail))


@dataclass(frozen=True, slots=True)
class FromLine:
    """All from a line on; 1 is the first. Behind the last one there is nothing, or it is waited for."""

    number: int

    def of(self, info: Info, tail: bool) -> Search:
        """See Wish."""
        return _LineSearch(self.number, info.size, _stop(info, tail))


@dataclass(frozen=True, slots=True)
class Since:
    """All that arrived at a time or later, then what comes."""

    when: float

    def of(self, info: Info, tail: bool) -> Arrival:
        """See Wish."""
        return Arrival(self.when, _stop(info, tail))


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`bytes=first-last`, both within; `last` as it was written, empty for all there is."""

    first: int
    last: str = ""

    def of(self, info: Info, tail: bool) -> Part:
        """See Wish. Of a stream that grows it is what is there now, unless `last` asks for more."""
        last = int(self.last or MAX)
        if self.last and last >= FOLLOWS_FROM and _stop(info, tail) is None and self.first <= info.size:
            return Part(self.first, None, f"bytes {self.first}-{self.last}/*")
        if self.first >= info.size:
            raise RangeNotSatisfiable(info.size)
        return _partial(info, self.first, min(last + 1, info.size))


@dataclass(frozen=True, slots=True)
class SuffixRange:
    """`bytes=-count`: the last bytes there are now, all if there are fewer.

    No Content-Range can say that nothing is all of nothing: of an empty stream it is the whole.
    """

    count: int

    def of(self, info: Info, tail: bool) -> Part:
        """See Wish."""
        if not self.count:
            raise RangeNotSatisfiable(info.size)
        if not info.size:
            return Part(0, 0)
        return _partial(info, max(0, info.size - self.count), info.size)


WHOLE = FromOffset(0)

_RANGE = re.compile(rb"([0-9]{0,20})-([0-9]{0,20})")
_PLACES = {
    "offset": (re.compile("-?[0-9]{1,19}"), "a number of bytes, with a minus sign counted from the end"),
    "lines": (re.compile("[0-9]{1,19}"), "a number of lines, counted from the end"),
    "line": (re.compile("[0-9]{1,19}"), "the number of a line; 1 is the first"),
}
_SINCE = (
    "The query parameter since is a time such as 2026-01-31T12:00:00Z (a plus sign in it is written %2B), "
    "or how long ago: 90s, 10m, 1h30m, 2d."
)


def parse_range(values: Sequence[bytes]) -> ByteRange | SuffixRange | None:
    """The one range that Range headers ask for; None where they are to be ignored, as section 14.2 allows.

    That is with another unit, when malformed, of more than 20 digits or backwards, and with several ranges.
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


def parse_place(query: Iterable[tuple[str, str]], time_of: Callable[[str], float]) -> Wish | None:
    """What `offset`, `lines`, `line` or `since` in a query asks for; None without them. Raises BadRequest.

    `time_of` gives the time that a text means in seconds since the Unix epoch, NaN if it is none.
    """
    given = [(name, value) for name, value in query if name in _PLACES or name == "since"]
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest("Give one of the query parameters offset, lines, line and since, and give it once.")
    [(name, value)] = given
    if name == "since":
        if math.isnan(when := time_of(value)):
            raise BadRequest(_SINCE)
        return Since(when)
    pattern, meaning = _PLACES[name]
    if not pattern.fullmatch(value) or abs(number := int(value)) > MAX or (name == "line" and not number):
        raise BadRequest(f"The query parameter {name} is {meaning}.")
    if name == "lines":
        return LastLines(number)
    if name == "line":
        return FromLine(number)
    return LastBytes(-number) if value.startswith("-") else FromOffset(number)


def skip_lines(data: bytes, count: int) -> tuple[int, bytes]:
    """Leave out the first `count` lines of `data`: how many of them are still to end, and what is left."""
    ends = data.count(b"\n") if count else 0
    if ends < count:
        return count - ends, b""
    return 0, data[_behind_line(data, count) :]


class _LastLinesSearch:
    """Backwards from the end."""

    line: int | None = None

    def __init__(self, count: int, size: int, stop: int | None) -> None:
        self.part = None if count and size else Part(size, stop)
        self._missing = count
        self._size = size
        self._at = size
        self._stop = stop

    @property
    def wanted(self) -> tuple[int, int]:
        """See Search."""
        return max(0, self._at - SCAN), self._at

    def begin(self, line: int, offset: int) -> None:
        """Not for this one: it begins at the end."""

    def feed(self, data: bytes) -> None:
        """See Search."""
        if self._at == self._size and data.endswith(b"\n"):
            self._missing += 1  # this one ends the last line, the others stand before the lines wanted
        self._at -= len(data)
        ends = data.count(b"\n")
        if ends >= self._missing:
            behind = _behind_line(data, ends - self._missing + 1)
            self.part = Part(self._at + behind, self._stop)
        elif not self._at:
            self.part = Part(0, self._stop)
        self._missing -= ends


class _LineSearch:
    """Forwards from the start."""

    def __init__(self, number: int, size: int, stop: int | None) -> None:
        self.part: Part | None = None
        self.line: int | None = number
        self._number = number
        self._missing = number - 1
        self._size = size
        self._at = 0
        self._stop = stop
        self._settle(0)

    @property
    def wanted(self) -> tuple[int, int]:
        """See Search."""
        return self._at, min(self._at + SCAN, self._size)

    def begin(self, line: int, offset: int) -> None:
        """See Search."""
        self._missing, self._at = self._number - line, offset
        self._settle(0)

    def feed(self, data: bytes) -> None:
        """See Search."""
        self._missing, rest = skip_lines(data, self._missing)
        self._at += len(data)
        self._settle(len(rest))

    def _settle(self, left: int) -> None:
        if not self._missing or self._at == self._size:
            skip = self._missing if self._stop is None else 0
            self.part = Part(self._at - left, self._stop, skip=skip)


def _stop(info: Info, tail: bool) -> int | None:
    """Where reading ends that has no end of its own."""
    return None if tail and not info.state.final else info.size


def _partial(info: Info, start: int, stop: int) -> Part:
    length = info.size if info.state.final else "*"
    return Part(start, stop, f"bytes {start}-{stop - 1}/{length}")


def _behind_line(data: bytes, count: int) -> int:
    """The place behind the `count`th line of `data`, which must be there.

    By halving: even if it is nothing but line ends, `data` is looked at about twice and not for each.
    """
    if not count:
        return 0
    low, high = 0, len(data)
    while high - low > 1:
        middle = (low + high) // 2
        ends = data.count(b"\n", low, middle)
        if ends >= count:
            high = middle
        else:
            count -= ends
            low = middle
    return high

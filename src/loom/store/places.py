"""The sparse index of a stream: where lines begin, and when bytes arrived. Pure; knows no store.

For lines the index has a place every GAP bytes or so, found while the bytes are written. For times it has
moments: the bytes that arrive within `grain` seconds of a moment follow its offset. A stream has at most
MOMENTS of them; to stay below, the grain doubles.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

GAP = 256 << 10
GRAIN = 1.0
MOMENTS = 16_384
MAX_LINE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LinePlace:
    """A known offset in a line; the first line is 1. With `start` the line begins there.

    `time` is when the byte at `offset` arrived; only Store.places fills it in.
    """

    line: int
    offset: int
    start: bool = True
    time: float | None = None


ORIGIN = LinePlace(1, 0)


@dataclass(frozen=True, slots=True)
class Moment:
    """The bytes from `offset` up to the next moment arrived in [time, time + grain)."""

    time: float
    offset: int
    grain: float = GRAIN


Mark = LinePlace | Moment


@dataclass(frozen=True, slots=True)
class Count:
    """Bytes [0, offset) hold `lines` line ends; the last place of the index is at `placed`."""

    offset: int = 0
    lines: int = 0
    placed: int = 0

    def after(self, chunks: Iterable[bytes]) -> "tuple[Count, list[LinePlace]]":
        """Count the lines of `chunks`, which begin at `offset`; return the new count and the places found."""
        offset, lines, placed = self.offset, self.lines, self.placed
        places = []
        for chunk in chunks:
            for at in range(0, len(chunk), GAP):
                end = min(at + GAP, len(chunk))
                lines += chunk.count(b"\n", at, end)
                if offset + end - placed >= GAP:
                    # After the last line end of the piece, or, if a long line fills it, at the piece's end.
                    last = chunk.rfind(b"\n", at, end)
                    placed = offset + (end if last < 0 else last + 1)
                    places.append(LinePlace(lines + 1, placed, start=last >= 0))
            offset += len(chunk)
        return Count(offset, lines, placed), places


def place_of(places: Sequence[LinePlace], line: int) -> LinePlace:
    """Return the last of `places`, which are in order, at or before the start of `line`."""
    at = bisect_left(places, line, key=lambda each: each.line)
    if at < len(places) and places[at].line == line and places[at].start:
        return places[at]
    return places[at - 1] if at else ORIGIN


def offset_of(moments: Iterable[Moment], when: float, size: int) -> int:
    """Return the offset of the first byte that arrived at or after `when`, or a smaller one, never a larger.

    It is `size` if no byte has arrived since. `moments` has to include the nearest ones before and after.
    """
    moments = list(moments)
    around = [each.offset for each in moments if each.time <= when < each.time + each.grain]
    return min(around or [each.offset for each in moments if each.time > when], default=size)


def sample(
    place: Callable[[int], LinePlace],
    moments: Sequence[Moment],
    lines: tuple[int, int],
    count: int,
) -> list[LinePlace]:
    """Return what Store.places does. `place` finds the last place before a line; `moments` are `arrivals`."""
    last = place(MAX_LINE)
    first, stop = lines[0], min(lines[1], last.line) + 1
    step = max(1, -(-(stop - first) // count))
    found = dict.fromkeys([*map(place, range(first, stop, step)), last])
    return [
        replace(each, time=moments[_at(moments, each.offset)].time)
        for each in found
        if each.start and each.line <= lines[1]
    ]


def arrivals(moments: Iterable[Moment], created: float, offset: int = 0) -> list[Moment]:
    """Return what Store.moments does. `moments` are all of a stream, in any order, and some of them twice."""
    known = {0: Moment(created, 0)}
    known |= {each.offset: each for each in sorted(moments, key=lambda each: (each.offset, each.time))}
    kept = list(known.values())
    kept = kept[_at(kept, offset) :]
    grain = GRAIN
    while len(kept) > MOMENTS:
        grain *= 2
        kept = thinned(kept, grain)
    return kept


def _at(moments: Sequence[Moment], offset: int) -> int:
    """Return the index of the moment at which a byte arrived: the last one at or before its offset."""
    return bisect_right(moments, offset, key=lambda each: each.offset) - 1


def thinned(moments: Sequence[Moment], grain: float) -> list[Moment]:
    """Merge moments until none is within `grain` of the one before."""
    kept: list[Moment] = []
    for each in moments:
        if kept and each.time < kept[-1].time + grain:
            end = max(kept[-1].time + kept[-1].grain, each.time + each.grain)
            kept[-1] = replace(kept[-1], grain=end - kept[-1].time)
        else:
            kept.append(replace(each, grain=max(grain, each.grain)))
    return kept


class Dates:
    """Decides which moments of one stream to keep as its bytes arrive.

    `resumed` says that the stream has bytes already, whose moments are not loaded. The grain then begins with
    what the age of the stream needs, so that producers which resume for days add few moments too.
    """

    __slots__ = ("_created", "_kept", "_resumed", "_until", "grain")

    def __init__(self, created: float, *, resumed: bool = False) -> None:
        self.grain = GRAIN
        self._created = created
        self._resumed = resumed
        self._until = 0.0 if resumed else created + GRAIN
        self._kept = 0

    def arrived(self, now: float, offset: int) -> Moment | None:
        """Return the moment to keep for bytes at `offset`; None if the one before covers them."""
        if now < self._until:
            return None
        while self._resumed and now - self._created > MOMENTS * self.grain:
            self.grain *= 2
        self._until = now + self.grain
        self._kept += 1
        return Moment(now, offset, self.grain)

    def coarser(self) -> bool:
        """Double `grain` and return True if so many moments were kept that they have to be thinned to it."""
        if self._kept < MOMENTS:
            return False
        self.grain *= 2
        self._kept //= 2
        return True

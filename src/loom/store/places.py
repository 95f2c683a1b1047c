"""Where lines begin in a stream, and when its bytes arrived: the sparse index that a store keeps beside its
bytes. Pure; knows no store.

Of lines it has a place each GAP bytes or so, found while bytes are written. Of time it has moments: all that
arrived within `grain` seconds of one stands behind its offset, and there are never more than MOMENTS.
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
    """`offset` lies in this line, 1 being the first; with `start` it is where the line begins. `time` is when
    the bytes there arrived, None if nobody asked."""

    line: int
    offset: int
    start: bool = True
    time: float | None = None


ORIGIN = LinePlace(1, 0)


@dataclass(frozen=True, slots=True)
class Moment:
    """The bytes from `offset` on to the next moment's arrived in [time, time + grain)."""

    time: float
    offset: int
    grain: float = GRAIN


Mark = LinePlace | Moment


@dataclass(frozen=True, slots=True)
class Count:
    """Bytes [0, offset) hold `lines` line ends; the last place that was kept is at `placed`."""

    offset: int = 0
    lines: int = 0
    placed: int = 0

    def after(self, chunks: Iterable[bytes]) -> "tuple[Count, list[LinePlace]]":
        """The count behind these bytes, which stand at `offset`, and the places to keep."""
        offset, lines, placed = self.offset, self.lines, self.placed
        places = []
        for chunk in chunks:
            for at in range(0, len(chunk), GAP):
                end = min(at + GAP, len(chunk))
                lines += chunk.count(b"\n", at, end)
                if offset + end - placed >= GAP:
                    # Behind the last line end of the piece; within a very long line at the end of the piece.
                    last = chunk.rfind(b"\n", at, end)
                    placed = offset + (end if last < 0 else last + 1)
                    places.append(LinePlace(lines + 1, placed, start=last >= 0))
            offset += len(chunk)
        return Count(offset, lines, placed), places


def place_of(places: Sequence[LinePlace], line: int) -> LinePlace:
    """The last of these places, which are in order, that is not behind the start of a line."""
    at = bisect_left(places, line, key=lambda each: each.line)
    if at < len(places) and places[at].line == line and places[at].start:
        return places[at]
    return places[at - 1] if at else ORIGIN


def offset_of(moments: Iterable[Moment], when: float, size: int) -> int:
    """The first byte that arrived at a time or later, or one somewhat before it, never one behind; `size` if
    none has. The moments have to hold those next to the time on both sides."""
    moments = list(moments)
    around = [each.offset for each in moments if each.time <= when < each.time + each.grain]
    return min(around or [each.offset for each in moments if each.time > when], default=size)


def sample(
    place: Callable[[int], LinePlace],
    moments: Sequence[Moment],
    created: float,
    lines: tuple[int, int],
    count: int,
) -> list[LinePlace]:
    """See Store.places; `place` gives the last place before a line, `moments` are all there are."""
    last = place(MAX_LINE)
    first, stop = lines[0], min(lines[1], last.line) + 1
    step = max(1, -(-(stop - first) // count))
    found = dict.fromkeys([*map(place, range(first, stop, step)), last])
    return [
        replace(each, time=moments[at - 1].time if at else created)
        for each in found
        if each.start and each.line <= lines[1]
        for at in [bisect_right(moments, each.offset, key=lambda moment: moment.offset)]
    ]


def thinned(moments: Sequence[Moment], grain: float) -> list[Moment]:
    """Fewer moments that tell the same, more coarsely: none within `grain` of the one before."""
    kept: list[Moment] = []
    for each in moments:
        if kept and each.time < kept[-1].time + grain:
            end = max(kept[-1].time + kept[-1].grain, each.time + each.grain)
            kept[-1] = replace(kept[-1], grain=end - kept[-1].time)
        else:
            kept.append(replace(each, grain=max(grain, each.grain)))
    return kept


class Dates:
    """When the bytes of one stream arrive: which moments are to be kept. `since` is its creation, or None
    where earlier moments are not at hand."""

    __slots__ = ("_kept", "_until", "grain")

    def __init__(self, since: float | None) -> None:
        self.grain = GRAIN
        self._until = 0.0 if since is None else since + GRAIN
        self._kept = 0

    def arrived(self, now: float, offset: int) -> Moment | None:
        """A moment to keep for bytes at `offset`, unless the one before covers them."""
        if now < self._until:
            return None
        self._until = now + self.grain
        self._kept += 1
        return Moment(now, offset, self.grain)

    def coarser(self) -> bool:
        """True if so many moments were kept that they have to be thinned, to `grain`, which has doubled."""
        if self._kept < MOMENTS:
            return False
        self.grain *= 2
        self._kept //= 2
        return True

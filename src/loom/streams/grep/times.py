"""When the parts of a stream arrived, as a search needs it. Pure."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import Self

from loom.store.places import Moment


class Times:
    """Offsets, in order, and when the bytes from each on arrived."""

    __slots__ = ("_offsets", "_seconds")

    def __init__(self, offsets: "array[int] | None" = None, seconds: "array[float] | None" = None) -> None:
        self._offsets = array("Q") if offsets is None else offsets
        self._seconds = array("d") if seconds is None else seconds

    @classmethod
    def of(cls, moments: Iterable[Moment]) -> Self:
        """Return the times of moments, which are in order."""
        moments = list(moments)
        return cls(array("Q", (each.offset for each in moments)), array("d", (each.time for each in moments)))

    def at(self, offset: int) -> float | None:
        """Return when the byte at `offset` arrived, None if that is not known."""
        after = bisect_right(self._offsets, offset)
        return self._seconds[after - 1] if after else None

    def within(self, start: int, stop: int) -> "Times":
        """Return those that concern bytes [start, stop)."""
        first, last = max(0, bisect_right(self._offsets, start) - 1), bisect_right(self._offsets, stop)
        return Times(self._offsets[first:last], self._seconds[first:last])

    def encode(self) -> bytes:
        """Return bytes for another process of this machine."""
        return self._offsets.tobytes() + self._seconds.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the times that `encode` returned as bytes."""
        offsets, seconds = array("Q"), array("d")
        offsets.frombytes(data[: len(data) // 2])
        seconds.frombytes(data[len(data) // 2 :])
        return cls(offsets, seconds)

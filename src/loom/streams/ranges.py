"""Describe which bytes of a stream a reader wants: from an offset, a line or a time on. Pure.

A `Selector` says what is wanted of any stream. `select(info, tail)` turns it into a `Part` of one stream, or
into a `Lookup` where the first byte depends on content. `search.Finder` resolves a lookup. How a request
spells a selector belongs to HTTP.
"""

from dataclasses import dataclass
from typing import Protocol

from loom.model import Info

MAX = 2**63 - 1
"""The largest offset, line number or count."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, stop) of a stream. With `stop` None, the part follows the stream to its end.

    `skip` is the number of lines to leave out after `start`. It is above 0 only if the requested line does
    not exist yet; `start` is then the end of the stream.
    """

    start: int = 0
    stop: int | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Lookup:
    """A part whose first byte has to be looked up by line or by time. `stop` is that of the part."""

    by: "LastLines | FromLine | Since | WholeLines"
    stop: int | None = None


class Selector(Protocol):
    """What a reader wants of a stream."""

    def select(self, info: Info, tail: bool) -> Part | Lookup:
        """Return the part of this stream, as it is now. With `tail`, include later bytes if there can be any.

        May raise RangeNotSatisfiable.
        """


@dataclass(frozen=True, slots=True)
class FromOffset:
    """All bytes from an offset on. Past the end there are none yet: a follower waits for them."""

    offset: int = 0

    def select(self, info: Info, tail: bool) -> Part:
        stop = stop_of(info, tail)
        return Part(self.offset if stop is None else min(self.offset, stop), stop)


@dataclass(frozen=True, slots=True)
class LastBytes:
    """The last `count` bytes, then later ones."""

    count: int

    def select(self, info: Info, tail: bool) -> Part:
        return Part(max(0, info.size - self.count), stop_of(info, tail))


@dataclass(frozen=True, slots=True)
class LastLines:
    """The last `count` lines, then later ones. Bytes after the last LF count as a line."""

    count: int

    def select(self, info: Info, tail: bool) -> Lookup:
        return Lookup(self, stop_of(info, tail))


@dataclass(frozen=True, slots=True)
class FromLine:
    """All bytes from a line on; the first line is 1. A follower waits for a line that does not exist yet.

    With `last`, only lines up to that one, and of these only what is stored now.
    """

    number: int
    last: int | None = None

    def select(self, info: Info, tail: bool) -> Lookup:
        return Lookup(self, stop_of(info, tail and self.last is None))


@dataclass(frozen=True, slots=True)
class Since:
    """All bytes that arrived at `when` or later, in seconds since the Unix epoch."""

    when: float

    def select(self, info: Info, tail: bool) -> Lookup:
        return Lookup(self, stop_of(info, tail))


@dataclass(frozen=True, slots=True)
class WholeLines:
    """Lines that begin at `start` or later and before `before`, which is not limited if None: whole ones."""

    start: int
    before: int | None = None


WHOLE = FromOffset(0)


def stop_of(info: Info, tail: bool) -> int | None:
    """Return where a part without a limit of its own stops: nowhere if it follows, else at the size."""
    return None if tail and not info.state.final else info.size

"""Find the lines of a stream that match, in bytes that are fed in order. Pure: owns what a line is.

Whole buffers are searched with one scan, which stops only at matches. RE2 sees the byte before and the byte
after the part that it searches, so `^`, `$`, `\\b`, `\\A` and `\\z` mean the same wherever a buffer begins.

A CR before an LF belongs to the end of the line. A line longer than LONG is searched in parts that overlap:
a match in it is found if it is not longer than OVERLAP.
"""

from dataclasses import dataclass, field
from dataclasses import replace as updated
from itertools import islice

from loom.patterns import compile_pattern
from loom.streams.grep.query import Query
from loom.streams.grep.times import Times
from loom.streams.lines import skip_lines
from loom.wire.matches import FoundLine

LONG = 256 << 10
OVERLAP = 16 << 10
SHOWN = 4 << 10
"""The most bytes of a line that are shown."""
SPANS = 100
"""The most matches that are shown within one line."""
FULL = 256 << 10
"""Bytes of output after which a scanner pauses."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, when it arrived, and the part of it to show: `text`, which begins at the offset `at`."""

    number: int
    offset: int
    text: bytes
    at: int
    time: float | None
    cut: bool = False


@dataclass(slots=True)
class State:
    """All that a scanner has to know to continue.

    `buffer` begins at `offset`. With `led` its first byte was searched and only gives context. `line` is the
    number of the line after that. Until `start`, and then for `skip` line ends, bytes are only counted.
    """

    offset: int = 0
    start: int = 0
    skip: int = 0
    buffer: bytes = b""
    led: bool = False
    line: int = 1
    long: Line | None = None
    """The beginning of the line that is being searched in parts."""
    found: bool = False
    """True if that line has matched."""
    before: list[Line] = field(default_factory=list)
    """The latest lines, which become context if the next one matches."""
    after: int = 0
    """How many of the next lines are context of the latest match."""
    matches: int = 0
    after_match: int = 0
    """The offset after the line of the latest match."""


class Scanner:
    """Searches the bytes that it is fed, and collects lines of JSON in `output`."""

    def __init__(self, query: Query, state: State, times: Times | None = None) -> None:
        self.state = state
        self.output = bytearray()
        self._query = query
        self._pattern = compile_pattern(query.pattern, query.ignore_case)
        self._times = times or Times()

    @property
    def full(self) -> bool:
        """True if the output has to be taken before more is searched."""
        return len(self.output) >= FULL

    @property
    def done(self) -> bool:
        """True once the limit of matches is reached and the context of the last one is complete."""
        return self._limited and not self.state.after

    @property
    def next(self) -> int:
        """The offset from which a new search continues this one."""
        state = self.state
        if self._limited:
            return state.after_match
        return state.offset + state.led

    @property
    def _limited(self) -> bool:
        return self.state.matches >= self._query.limit

    def feed(self, data: bytes, *, last: bool = False) -> bool:
        """Search more bytes; with `last` also a line at the end that has no LF.

        Returns False if the scanner paused because it is full. Then feed it nothing before it has continued.
        """
        state = self.state
        data = self._counted(data)
        buffer = state.buffer + data if state.buffer else data
        # The same bytes with an LF for each CR before an LF, so that `$` matches there.
        crlf = b"\r" in buffer and b"\r\n" in buffer  # a CR alone is found ten times as fast
        view = buffer.replace(b"\r\n", b"\n\n") if crlf else buffer
        position, waiting = int(state.led), False
        while position < len(buffer) and not waiting and not self.full and not self.done:
            if state.long is None:
                end = buffer.rfind(b"\n", position)
                if end < 0 and last:
                    end = len(buffer)
                if end >= 0:
                    position = self._search_lines(buffer, view, position, end)
                elif len(buffer) - position > LONG:
                    state.long, state.found = self._line(buffer, state.line, position, len(buffer)), False
                else:
                    waiting = True
            else:
                end = buffer.find(b"\n", position)
                ends = last or end >= 0
                # The last byte of a part is searched with the next part, because it gives context now.
                stop = len(buffer) - (not ends) if end < 0 else end
                self._search_part(buffer, view, position, stop)
                if ends:
                    self._end_long()
                    position = stop + 1
                else:
                    position, waiting = max(position, len(buffer) - OVERLAP), True
        # One searched byte is kept as context.
        kept = max(0, min(position, len(buffer)) - 1)
        state.led = position > 0 and bool(buffer)
        state.buffer, state.offset = buffer[kept:], state.offset + kept
        return waiting or position >= len(buffer) or self.done

    def _counted(self, data: bytes) -> bytes:
        """Count the lines before the start of the search, and return the bytes after it."""
        state = self.state
        if (before := min(len(data), state.start - state.offset)) > 0:
            state.line += data.count(b"\n", 0, before)
            state.offset += before
            data = data[before:]
        if state.skip and data:
            missing, rest = skip_lines(data, state.skip)
            state.line += state.skip - missing
            state.offset += len(data) - len(rest)
            state.skip, data = missing, rest
        return data

    def _search_lines(self, buffer: bytes, view: bytes, begin: int, end: int) -> int:
        """Search the lines from `begin` on, whose last one ends at `end`.

        Returns where the first line begins that is not searched yet.
        """
        state = self.state
        while begin <= end and not self.full and not self._limited:
            if (found := self._find(buffer, view, begin, end)) < 0:
                break
            start = max(begin, buffer.rfind(b"\n", begin, found) + 1)
            stop = buffer.find(b"\n", found, end)
            stop = end if stop < 0 else stop
            self._pass(buffer, begin, start)
            self._show_match(view, self._line(buffer, state.line, start, stop, found))
            state.line += 1
            state.after_match = state.offset + min(stop + 1, len(buffer))
            begin = stop + 1
        if not self.full and begin <= end:
            self._pass(buffer, begin, end + 1)
            begin = end + 1
        return begin

    def _search_part(self, buffer: bytes, view: bytes, begin: int, end: int) -> None:
        """Search a part of a long line, unless the line has matched already."""
        state = self.state
        if state.found or self._limited or (found := self._find(buffer, view, begin, end)) < 0:
            return
        assert state.long is not None
        at = max(begin, min(found - SHOWN // 4, end - SHOWN))
        text = buffer[at : at + SHOWN]
        line = updated(state.long, text=text, at=state.offset + at)
        self._show_match(view, line)
        state.found = True
        state.after_match = state.offset + len(buffer)

    def _end_long(self) -> None:
        state = self.state
        assert state.long is not None
        if not state.found:
            self._passed([state.long])
        state.long = None
        state.line += 1

    def _find(self, buffer: bytes, view: bytes, begin: int, end: int) -> int:
        """Return where the first match begins, -1 without one."""
        while found := self._pattern.search(view, begin, end):
            start: int = found.start()
            # Between the CR and the LF of one line end there is no empty line.
            if view is buffer or buffer[start - 1 : start + 1] != b"\r\n":
                return start
            begin = start + 1
        return -1

    def _pass(self, buffer: bytes, begin: int, end: int) -> None:
        """Pass over the lines in [begin, end), none of which matches."""
        state = self.state
        while state.after and begin < end:
            stop = buffer.find(b"\n", begin, end)
            stop = end - 1 if stop < 0 else stop
            self._passed([self._line(buffer, state.line, begin, min(stop, len(buffer)))])
            state.line += 1
            begin = stop + 1
        if begin >= end:
            return
        # A line without an LF at the end of a stream counts, too.
        count = buffer.count(b"\n", begin, end) + (end > len(buffer))
        lines: list[Line] = []
        stop = end - 1
        while len(lines) < min(self._query.before, count):
            start = max(begin, buffer.rfind(b"\n", begin, stop) + 1)
            lines.append(self._line(buffer, state.line + count - len(lines) - 1, start, stop))
            stop = start - 1
        state.line += count
        self._passed(lines[::-1])

    def _passed(self, lines: list[Line]) -> None:
        """Show lines that are context of the latest match; keep the others for the next one."""
        state = self.state
        shown, rest = lines[: state.after], lines[state.after :]
        state.after -= len(shown)
        for line in shown:
            self._show(line, context=True)
        if rest and self._query.before:
            state.before = [*state.before, *rest][-self._query.before :]

    def _show_match(self, view: bytes, line: Line) -> None:
        state = self.state
        for each in state.before:
            self._show(each, context=True)
        state.before = []
        self._show(line, spans=self._spans(view, line))
        state.matches += 1
        state.after = self._query.after

    def _spans(self, view: bytes, line: Line) -> tuple[tuple[int, int], ...]:
        """Return the matches in the text of a line, in characters."""
        at = line.at - self.state.offset
        found = islice(self._pattern.finditer(view, at, at + len(line.text)), SPANS)
        spans = [(each.start() - at, each.end() - at) for each in found]
        if not line.text.isascii():
            spans = [(_characters(line.text[:start]), _characters(line.text[:end])) for start, end in spans]
        return tuple((start, end) for start, end in spans if end > start)

    def _show(self, line: Line, *, context: bool = False, spans: tuple[tuple[int, int], ...] = ()) -> None:
        found = FoundLine(
            line.number,
            line.offset,
            line.text.decode(errors="replace"),
            line.time,
            spans,
            context,
            line.cut,
            line.at if line.cut else None,
        )
        self.output += found.encode()

    def _line(self, buffer: bytes, number: int, start: int, stop: int, focus: int | None = None) -> Line:
        """Return the line in [start, stop); of a longer one the part around `focus`, or its beginning."""
        offset = self.state.offset + start
        time = self._times.at(offset)
        if stop - start <= SHOWN:
            return Line(number, offset, buffer[start:stop].removesuffix(b"\r"), offset, time)
        at = start if focus is None else max(start, min(focus - SHOWN // 4, stop - SHOWN))
        return Line(number, offset, buffer[at : at + SHOWN], self.state.offset + at, time, cut=True)


def _characters(text: bytes) -> int:
    return len(text.decode(errors="replace"))

"""What is asked for against plain models: slices of bytes, and tail(1)."""

import math
import re
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom.errors import BadRequest, RangeNotSatisfiable
from loom.model import Info, State
from loom.streams.ranges import (
    FOLLOWS_FROM,
    MAX,
    SCAN,
    Arrival,
    ByteRange,
    FromLine,
    FromOffset,
    LastBytes,
    LastLines,
    Part,
    Since,
    SuffixRange,
    Wish,
    parse_place,
    parse_range,
    skip_lines,
)

SIZES = st.integers(0, 40)
STATES = st.sampled_from(State)
DATA = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\n\n", b"\r\n", b"\x00"]), max_size=30).map(b"".join)


def stream(size: int, state: State = State.COMPLETE) -> Info:
    return Info(key="k", id="a", epoch=1, state=state, size=size)


def no_time(_text: str) -> float:
    return math.nan


def part_of(
    wish: Wish,
    data: bytes,
    state: State,
    tail: bool = True,
    piece: int = SCAN,
    known: tuple[int, int] | None = None,
) -> Part:
    """The part, found in `data` where it has to be searched for, from a line and an offset in it if known."""
    found = wish.of(stream(len(data), state), tail)
    if isinstance(found, Part):
        return found
    assert not isinstance(found, Arrival)
    if known and found.part is None:
        found.begin(*known)
    while found.part is None:
        start, stop = found.wanted
        assert 0 <= start < stop <= min(len(data), start + SCAN)
        # In smaller pieces than a search wants, so that there are many.
        if isinstance(wish, LastLines):
            found.feed(data[max(start, stop - piece) : stop])
        else:
            found.feed(data[start : min(stop, start + piece)])
    return found.part


# The Range header.


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (b"bytes=0-4", ByteRange(0, "4")),
        (b"bytes=5-", ByteRange(5)),
        (b"bytes=-6", SuffixRange(6)),
        (b"bytes=-0", SuffixRange(0)),
        (b"BYTES=7-7", ByteRange(7, "7")),
        (b"bytes= 1-2", ByteRange(1, "2")),
        (b"bytes=,, 1-2 ,\t,", ByteRange(1, "2")),
        (b"bytes=007-0010", ByteRange(7, "0010")),
        (b"bytes=0-99999999999999999999", ByteRange(0, "9" * 20)),
    ],
)
def test_one_range_is_understood(value, parsed):
    assert parse_range([value]) == parsed


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"bytes"],
        [b"bytes="],
        [b"bytes=,"],
        [b"bytes=-"],
        [b"bytes=4-3"],
        [b"bytes=a-b"],
        [b"bytes=1"],
        [b"bytes=1-2-3"],
        [b"bytes=--1"],
        [b"bytes=+1-2"],
        [b"bytes=1 -2"],
        [b"bytes=0x1-2"],
        [b"bytes=1_0-20"],
        ["bytes=١-٢".encode()],
        [b"bytes=\xb2-"],
        [b"bytes =0-1x"],
        [b"lines=0-1"],
        [b"0-1"],
        [b"bytes=0-1,3-4"],
        [b"bytes=0-1, x"],
        [b"bytes=0-1", b"bytes=0-1"],
        [b"bytes=0-100000000000000000000"],
        [b"bytes=" + b"1" * 60_000 + b"-"],
        [b"bytes=0-1\n"],
    ],
)
def test_what_is_not_one_range_of_bytes_is_ignored(values):
    assert parse_range(values) is None


@given(st.lists(st.binary() | st.binary().map(lambda rest: b"bytes=" + rest), max_size=2))
@example([b"bytes=" + b"9" * 5_000 + b"-"])
def test_whatever_comes_as_a_range_is_understood_or_ignored(values):
    parsed = parse_range(values)
    if parsed is not None:
        assert re.fullmatch(rb"[ \t,]*bytes=[ \t,]*\d*-\d*[ \t,]*", values[0].lower())


def model_range(text: bytes) -> tuple[str, str] | None:
    """First and last position of one well-formed range, by splitting it."""
    first, dash, last = text.decode("latin-1").partition("-")
    digits = set("0123456789")
    if not dash or not {*first, *last} <= digits or not (first or last):
        return None
    if max(len(first), len(last)) > 20 or (first and last and int(last) < int(first)):
        return None
    return first, last


@given(st.text("0123456789- x", max_size=24).map(str.encode))
def test_the_parser_agrees_with_a_model(text):
    text = text.strip()
    expected = model_range(text)
    parsed = parse_range([b"bytes=" + text])
    if expected is None:
        assert parsed is None
    elif expected[0]:
        assert parsed == ByteRange(int(expected[0]), expected[1])
    else:
        assert parsed == SuffixRange(int(expected[1]))


# What a range means.


@given(SIZES, STATES, st.booleans(), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_range_is_the_slice_that_is_there_now(size, state, tail, first, more):
    last = "" if more is None else str(first + more)
    wish = ByteRange(first, last)
    if first >= size:
        with pytest.raises(RangeNotSatisfiable) as caught:
            wish.of(stream(size, state), tail)
        assert caught.value.size == size
        return
    part = wish.of(stream(size, state), tail)
    expected = range(size)[first : int(last) + 1 if last else None]
    assert part.stop is not None
    assert range(size)[part.start : part.stop] == expected
    length = str(size) if state.final else "*"
    assert part.content_range == f"bytes {expected[0]}-{expected[-1]}/{length}"


@given(SIZES, STATES, st.booleans(), st.integers(0, 50))
def test_a_suffix_is_the_end_that_is_there_now(size, state, tail, count):
    if not count:
        with pytest.raises(RangeNotSatisfiable):
            SuffixRange(count).of(stream(size, state), tail)
        return
    part = SuffixRange(count).of(stream(size, state), tail)
    expected = range(size)[-count:]
    assert part.stop is not None
    assert range(size)[part.start : part.stop] == expected
    length = str(size) if state.final else "*"
    assert part.content_range == (f"bytes {expected[0]}-{expected[-1]}/{length}" if size else "")


@pytest.mark.parametrize("last", ["100000000000", "9007199254740991", "000000100000000000", "9" * 20])
@pytest.mark.parametrize("first", [0, 3, 5])
def test_a_very_large_last_position_follows_and_is_echoed(first, last):
    part = ByteRange(first, last).of(stream(5, State.LIVE), True)
    assert part == Part(first, None, f"bytes {first}-{last}/*")


def test_a_very_large_last_position_is_ordinary_where_nothing_comes():
    last = str(FOLLOWS_FROM)
    assert ByteRange(1, last).of(stream(5), True) == Part(1, 5, "bytes 1-4/5")
    assert ByteRange(1, last).of(stream(5, State.LIVE), False) == Part(1, 5, "bytes 1-4/*")
    assert ByteRange(1, str(FOLLOWS_FROM - 1)).of(stream(5, State.LIVE), True) == Part(1, 5, "bytes 1-4/*")
    for first, state, tail in ((5, State.COMPLETE, True), (5, State.LIVE, False), (6, State.LIVE, True)):
        with pytest.raises(RangeNotSatisfiable):
            ByteRange(first, last).of(stream(5, state), tail)


# Offsets.


@given(SIZES, STATES, st.booleans(), st.integers(0, 50))
def test_an_offset_counts_from_the_start_or_from_the_end(size, state, tail, offset):
    info = stream(size, state)
    ahead, back = FromOffset(offset).of(info, tail), LastBytes(offset).of(info, tail)
    follows = tail and not state.final
    assert ahead.stop == back.stop == (None if follows else size)
    assert ahead.start == (offset if follows else min(offset, size))
    assert back.start == max(0, size - offset)


# Lines.


def lines_of(data: bytes) -> list[bytes]:
    """As tail counts them: what stands behind the last LF is a line, unless it is nothing."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


@given(DATA, STATES, st.booleans(), st.integers(0, 40), st.integers(1, 5))
@example(b"", State.LIVE, True, 1, 1)
@example(b"ab", State.LIVE, True, 0, 1)
@example(b"\n", State.LIVE, True, 1, 1)
def test_last_lines_are_those_of_tail(data, state, tail, count, piece):
    part = part_of(LastLines(count), data, state, tail, piece)
    lines = lines_of(data)
    assert data[part.start :] == b"".join(lines[max(0, len(lines) - count) :])
    assert part.stop == (None if tail and not state.final else len(data))
    assert not part.skip


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\n", b"a\nb", b"\n\na\n\n", b"a\r\nb\rc\n\x00"])
def test_lines_and_offsets_count_as_tail_itself_counts(data, tool):
    for count in range(5):
        for wish, *option in (
            (LastLines(count), "-n", f"{count}"),
            (FromLine(count + 1), "-n", f"+{count + 1}"),
            (LastBytes(count), "-c", f"{count}"),
            (FromOffset(count), "-c", f"+{count + 1}"),
        ):
            expected = subprocess.run([tool("tail"), *option], input=data, capture_output=True).stdout
            assert data[part_of(wish, data, State.COMPLETE).start :] == expected


@given(DATA, STATES, st.booleans(), st.integers(1, 40), st.integers(1, 5))
@example(b"", State.LIVE, True, 1, 1)
@example(b"a\n", State.LIVE, True, 2, 1)
@example(b"a\nb", State.LIVE, True, 3, 1)
def test_a_line_is_found_or_waited_for(data, state, tail, number, piece):
    part = part_of(FromLine(number), data, state, tail, piece)
    follows = tail and not state.final
    assert part.stop == (None if follows else len(data))
    assert data[part.start :] == b"".join(lines_of(data)[number - 1 :])
    assert part.skip == (max(0, number - 1 - data.count(b"\n")) if follows else 0)


@given(DATA, st.integers(0, 40))
def test_skipping_lines_leaves_what_stands_behind_them(data, count):
    missing, rest = skip_lines(data, count)
    whole = data.split(b"\n")
    assert missing == max(0, count - data.count(b"\n"))
    assert rest == (b"" if missing else b"\n".join(whole[count:]))


@pytest.mark.parametrize("wish", [LastLines(3), FromLine(3)])
def test_a_search_wants_bounded_pieces_and_each_byte_once(wish):
    size = 3 * SCAN + 7
    search = wish.of(stream(size), True)
    wanted = []
    while search.part is None:
        wanted.append(search.wanted)
        start, stop = search.wanted
        search.feed(bytes(stop - start))
    wanted.sort()
    assert [start for start, _ in wanted] == [0, *(stop for _, stop in wanted[:-1])]
    assert wanted[-1][1] == size
    assert max(stop - start for start, stop in wanted) == SCAN
    assert search.part == Part(0 if isinstance(wish, LastLines) else size, size)


def test_a_search_stops_as_soon_as_it_has_found():
    search = LastLines(1).of(stream(10**15), True)
    search.feed(b"x" * (SCAN - 3) + b"\na\n")
    assert search.part == Part(10**15 - 2, 10**15)
    search = FromLine(2).of(stream(10**15), True)
    search.feed(b"a\nb")
    assert search.part == Part(2, 10**15)


# The query.


@pytest.mark.parametrize(
    ("query", "wish"),
    [
        ([], None),
        ([("notail", ""), ("Offset", "x")], None),
        ([("offset", "0")], FromOffset(0)),
        ([("x", "1"), ("offset", "007"), ("notail", "")], FromOffset(7)),
        ([("offset", "-7")], LastBytes(7)),
        ([("offset", "-0")], LastBytes(0)),
        ([("offset", str(MAX))], FromOffset(MAX)),
        ([("offset", str(-MAX))], LastBytes(MAX)),
        ([("lines", "0")], LastLines(0)),
        ([("lines", str(MAX))], LastLines(MAX)),
        ([("line", "1")], FromLine(1)),
    ],
)
def test_a_place_in_the_query(query, wish):
    assert parse_place(query, no_time) == wish


BAD = ["", " ", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "--1", "-", "٣", "²", "\ufffd", str(MAX + 1)]


@pytest.mark.parametrize("name", ["offset", "lines", "line"])
@pytest.mark.parametrize("value", [*BAD, "1\n", "9" * 5_000])
def test_what_is_no_number_is_refused_in_a_sentence(name, value):
    with pytest.raises(BadRequest, match=f"^The query parameter {name} is .*\\.$"):
        parse_place([(name, value)], no_time)


@pytest.mark.parametrize(("name", "value"), [("line", "0"), ("line", "-1"), ("lines", "-1")])
def test_lines_have_no_sign_and_no_line_is_zero(name, value):
    with pytest.raises(BadRequest):
        parse_place([(name, value)], no_time)


@pytest.mark.parametrize("names", ["offset lines", "lines line", "line line", "line since"])
def test_one_place_is_enough(names):
    with pytest.raises(BadRequest, match="give it once"):
        parse_place([(name, "1") for name in names.split()], no_time)


def test_a_time_is_a_place_too():
    assert parse_place([("since", "noon")], {"noon": 5.0}.__getitem__) == Since(5.0)
    with pytest.raises(BadRequest, match="since is a time"):
        parse_place([("since", "noon")], no_time)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("state", [State.LIVE, State.COMPLETE])
def test_a_line_is_found_from_any_place_before_it(number, state):
    data = b"one\n\nthree\nfour"
    expected = part_of(FromLine(number), data, state)
    for offset in range(len(data) + 1):
        line = data.count(b"\n", 0, offset) + 1
        if line < number or (line == number and data[:offset].endswith(b"\n")):
            part = part_of(FromLine(number), data, state, known=(line, offset))
            assert (part.start, part.stop, part.skip) == (expected.start, expected.stop, expected.skip)


def test_since_is_left_to_who_knows_when_bytes_arrived():
    assert Since(5.0).of(stream(7, State.LIVE), tail=True) == Arrival(5.0, None)
    assert Since(5.0).of(stream(7, State.LIVE), tail=False) == Arrival(5.0, 7)
    assert Since(5.0).of(stream(7), tail=True) == Arrival(5.0, 7)

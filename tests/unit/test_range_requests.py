"""How a request selects bytes: the Range header compared with plain slices, and the query."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom.errors import BadRequest, RangeNotSatisfiable
from loom.http.stream.ranges import (
    FOLLOWS_FROM,
    ByteRange,
    PartialContent,
    SuffixRange,
    parse_range,
    parse_start,
)
from loom.model import Info, State
from loom.streams.ranges import MAX, FromLine, FromOffset, LastBytes, LastLines, Part, Since

SIZES = st.integers(0, 40)
STATES = st.sampled_from(State)


def stream(size: int, state: State = State.COMPLETE) -> Info:
    return Info(key="k", id="a", epoch=1, state=state, size=size)


def no_time(_text: str) -> float:
    return math.nan


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
def test_one_range_is_parsed(value, parsed):
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
def test_anything_but_one_range_of_bytes_is_ignored(values):
    assert parse_range(values) is None


@given(st.lists(st.binary() | st.binary().map(lambda rest: b"bytes=" + rest), max_size=2))
@example([b"bytes=" + b"9" * 5_000 + b"-"])
def test_any_text_of_a_range_is_parsed_or_ignored(values):
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
def test_a_range_is_the_stored_slice(size, state, tail, first, more):
    last = "" if more is None else str(first + more)
    wish = ByteRange(first, last)
    if first >= size:
        with pytest.raises(RangeNotSatisfiable) as caught:
            wish.select(stream(size, state), tail)
        assert caught.value.size == size
        return
    part = wish.select(stream(size, state), tail)
    assert isinstance(part, PartialContent)
    expected = range(size)[first : int(last) + 1 if last else None]
    assert part.stop is not None
    assert range(size)[part.start : part.stop] == expected
    length = str(size) if state.final else "*"
    assert part.content_range == f"bytes {expected[0]}-{expected[-1]}/{length}"


@given(SIZES, STATES, st.booleans(), st.integers(0, 50))
def test_a_suffix_is_the_end_of_the_stored_bytes(size, state, tail, count):
    if not count:
        with pytest.raises(RangeNotSatisfiable):
            SuffixRange(count).select(stream(size, state), tail)
        return
    part = SuffixRange(count).select(stream(size, state), tail)
    expected = range(size)[-count:]
    assert part.stop is not None
    assert range(size)[part.start : part.stop] == expected
    length = str(size) if state.final else "*"
    if size:
        assert isinstance(part, PartialContent)
        assert part.content_range == f"bytes {expected[0]}-{expected[-1]}/{length}"
    else:
        assert part == Part(0, 0)


@pytest.mark.parametrize("last", ["100000000000", "9007199254740991", "000000100000000000", "9" * 20])
@pytest.mark.parametrize("first", [0, 3, 5])
def test_a_very_large_last_position_follows_and_is_echoed(first, last):
    part = ByteRange(first, last).select(stream(5, State.LIVE), True)
    assert part == PartialContent(first, content_range=f"bytes {first}-{last}/*")


def test_a_very_large_last_position_is_ordinary_for_a_stream_that_cannot_grow():
    last = str(FOLLOWS_FROM)
    assert ByteRange(1, last).select(stream(5), True) == PartialContent(1, 5, content_range="bytes 1-4/5")
    assert ByteRange(1, last).select(stream(5, State.LIVE), False) == PartialContent(
        1, 5, content_range="bytes 1-4/*"
    )
    assert ByteRange(1, str(FOLLOWS_FROM - 1)).select(stream(5, State.LIVE), True) == PartialContent(
        1, 5, content_range="bytes 1-4/*"
    )
    for first, state, tail in ((5, State.COMPLETE, True), (5, State.LIVE, False), (6, State.LIVE, True)):
        with pytest.raises(RangeNotSatisfiable):
            ByteRange(first, last).select(stream(5, state), tail)


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
        ([("line", "7-7")], FromLine(7, 7)),
        ([("line", f"1-{MAX}")], FromLine(1, MAX)),
    ],
)
def test_a_query_selects_a_start(query, wish):
    assert parse_start(query, no_time) == wish


BAD = ["", " ", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "--1", "-", "٣", "²", "\ufffd", str(MAX + 1)]


@pytest.mark.parametrize("name", ["offset", "lines", "line"])
@pytest.mark.parametrize("value", [*BAD, "1\n", "9" * 5_000])
def test_text_that_is_not_a_number_is_refused_in_a_sentence(name, value):
    with pytest.raises(BadRequest, match=f"^The query parameter {name} is .*\\.$"):
        parse_start([(name, value)], no_time)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("line", "0"),
        ("line", "-1"),
        ("lines", "-1"),
        ("line", "0-1"),
        ("line", "3-2"),
        ("line", "1-"),
        ("lines", "1-2"),
    ],
)
def test_lines_have_no_sign_and_no_line_is_zero(name, value):
    with pytest.raises(BadRequest):
        parse_start([(name, value)], no_time)


@pytest.mark.parametrize("names", ["offset lines", "lines line", "line line", "line since"])
def test_one_start_is_enough(names):
    with pytest.raises(BadRequest, match="give it once"):
        parse_start([(name, "1") for name in names.split()], no_time)


def test_a_time_selects_a_start():
    assert parse_start([("since", "noon")], {"noon": 5.0}.__getitem__) == Since(5.0)
    with pytest.raises(BadRequest, match="since is a time"):
        parse_start([("since", "noon")], no_time)

"""Finding lines, against plain models."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom.store.places import ORIGIN, LinePlace
from loom.streams.lines import SCAN, Read, find_last_lines, find_line, skip_lines

DATA = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\n\n", b"\r\n", b"\x00"]), max_size=30).map(b"".join)


def lines_of(data: bytes) -> list[bytes]:
    """Split as tail(1) does: bytes after the last LF are a line, unless there are none."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


def reader(data: bytes, piece: int = SCAN) -> Read:
    async def read(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= min(len(data), start + piece)
        return data[start:stop]

    return read


@given(DATA, st.integers(0, 40), st.integers(1, 5))
@example(b"", 1, 1)
@example(b"ab", 0, 1)
@example(b"\n", 1, 1)
async def test_last_lines_are_those_of_tail(data, count, piece):
    start = await find_last_lines(reader(data, piece), count, len(data), piece)
    lines = lines_of(data)
    assert data[start:] == b"".join(lines[max(0, len(lines) - count) :])


@given(DATA, st.integers(1, 40), st.integers(1, 5))
@example(b"", 1, 1)
@example(b"a\n", 2, 1)
@example(b"a\nb", 3, 1)
async def test_a_line_is_found_or_the_missing_line_ends_are_counted(data, number, piece):
    start, missing = await find_line(reader(data, piece), number, len(data), ORIGIN, piece)
    assert data[start:] == b"".join(lines_of(data)[number - 1 :])
    assert missing == max(0, number - 1 - data.count(b"\n"))


@given(DATA, st.integers(0, 40))
def test_skipping_lines_leaves_the_rest(data, count):
    missing, rest = skip_lines(data, count)
    whole = data.split(b"\n")
    assert missing == max(0, count - data.count(b"\n"))
    assert rest == (b"" if missing else b"\n".join(whole[count:]))


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_search_reads_bounded_pieces_and_each_byte_once(backwards):
    size = 3 * SCAN + 7
    spans = []

    async def read(start: int, stop: int) -> bytes:
        spans.append((start, stop))
        return bytes(stop - start)

    if backwards:
        assert await find_last_lines(read, 3, size) == 0
    else:
        assert await find_line(read, 3, size, ORIGIN) == (size, 2)
    spans.sort()
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == size
    assert max(stop - start for start, stop in spans) == SCAN


async def test_a_search_stops_as_soon_as_it_has_found():
    pieces = [b"x" * (SCAN - 3) + b"\na\n", b"a\nb"]

    async def read(start: int, stop: int) -> bytes:
        return pieces.pop(0)

    assert await find_last_lines(read, 1, 10**15) == 10**15 - 2
    assert await find_line(read, 2, 10**15, ORIGIN) == (2, 0)
    assert not pieces


@pytest.mark.parametrize("number", range(1, 9))
async def test_a_line_is_found_from_any_place_before_it(number):
    data = b"one\n\nthree\nfour"
    expected = await find_line(reader(data), number, len(data), ORIGIN)
    for offset in range(len(data) + 1):
        line = data.count(b"\n", 0, offset) + 1
        if line < number or (line == number and data[:offset].endswith(b"\n")):
            known = LinePlace(line, offset)
            assert await find_line(reader(data), number, len(data), known) == expected

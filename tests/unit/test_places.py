"""The sparse index against plain models, and the times that a query may contain."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.store.places import (
    GAP,
    GRAIN,
    MOMENTS,
    ORIGIN,
    Count,
    Dates,
    LinePlace,
    Moment,
    arrivals,
    offset_of,
    place_of,
    sample,
    thinned,
)
from loom.wire.times import parse_since


def lines_of(chance: random.Random, size: int, length: int) -> bytes:
    """Return about `size` bytes of lines, `length` bytes long on average."""
    return b"".join(b"x" * chance.randrange(2 * length) + b"\n" for _ in range(size // length))


@pytest.mark.parametrize("length", [1, 100, GAP // 2, 3 * GAP])
@pytest.mark.parametrize("piece", [1000, GAP, 5 * GAP])
def test_places_are_exact_for_pieces_of_any_size(length, piece):
    data = lines_of(random.Random(length), 3 * GAP if length < 100 else 20 * GAP, length)
    count, places = Count(), []
    for at in range(0, len(data), piece):
        count, found = count.after([data[at : at + piece // 3], data[at + piece // 3 : at + piece]])
        places += found
    assert (count.offset, count.lines) == (len(data), data.count(b"\n"))
    before = ORIGIN
    for place in places:
        assert place.line == data.count(b"\n", 0, place.offset) + 1
        assert not place.start or data[place.offset - 1 : place.offset] == b"\n"
        assert before.offset < place.offset <= before.offset + 2 * GAP + piece
        before = place
    assert len(data) - before.offset < 2 * GAP + piece


@given(st.data())
def test_the_search_for_a_line_begins_at_the_last_place_before_it(data):
    text = data.draw(st.binary(max_size=30).map(lambda raw: raw.replace(b"a", b"\n")))
    offsets = data.draw(st.sets(st.integers(1, max(1, len(text)))))
    places = [
        LinePlace(text.count(b"\n", 0, each) + 1, each, text[:each].endswith(b"\n"))
        for each in sorted(offsets)
        if each <= len(text)
    ]
    for line in range(1, text.count(b"\n") + 3):
        right = [each for each in places if each.line < line or (each.line == line and each.start)]
        assert place_of(places, line) == max(right, key=lambda each: each.offset, default=ORIGIN)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9))), st.sampled_from([None, 4.0, 64.0]))
def test_no_byte_that_arrived_since_a_time_is_left_out(growth, grain):
    """Few earlier bytes are included, however often moments are thinned."""
    dates, moments, times = Dates(0.0), [Moment(0.0, 0)], []
    now, size = 0.0, 0
    for wait, grown in growth:
        now += wait
        if moment := dates.arrived(now, size):
            moments.append(moment)
        times += [now] * grown
        size += grown
    coarse = thinned(thinned(moments, grain / 2), grain) if grain else moments
    for when in [0.0, now, now + 5, *(time + delta for time in times for delta in (-0.5, 0.0, 0.5))]:
        exact = next((at for at, time in enumerate(times) if time >= when), size)
        offset = offset_of(coarse, when, size)
        assert offset <= exact
        early = when - 2 * (grain or GRAIN)
        assert all(time > early for time in times[offset:exact])


def test_moments_are_few():
    dates, kept = Dates(0.0), [Moment(0.0, 0)]
    for second in range(3 * MOMENTS):
        if moment := dates.arrived(float(second), second):
            kept.append(moment)
        if dates.coarser():
            kept = thinned(kept, dates.grain)
    assert MOMENTS / 4 <= len(kept) <= MOMENTS + 1
    assert dates.grain <= 4
    assert offset_of(kept, 10_000.0, 3 * MOMENTS) in range(9_990, 10_001)


def test_moments_are_few_even_if_producers_resume_every_hour():
    seconds, kept = 1_000_000, [Moment(0.0, 0)]
    for hour in range(0, seconds, 3600):
        dates = Dates(0.0, resumed=True)
        kept += [
            moment
            for second in range(hour, min(seconds, hour + 3600))
            if (moment := dates.arrived(float(second), second))
        ]
    assert len(kept) < 6 * MOMENTS
    served = arrivals(kept, 0.0)
    assert MOMENTS / 4 <= len(served) <= MOMENTS
    for second in range(0, seconds, 997):
        moment = [each for each in served if each.offset <= second][-1]
        assert moment.time <= second < moment.time + moment.grain


def test_arrivals_are_in_order_and_begin_with_the_creation():
    stored, recent = [Moment(9.0, 50), Moment(12.0, 70, 4.0)], [Moment(20.0, 90), Moment(9.0, 50)]
    everything = [Moment(7.0, 0), *stored, recent[0]]
    assert arrivals([*stored, *recent], 7.0) == everything
    assert arrivals([*recent, *stored], 7.0, 50) == everything[1:]
    assert arrivals(stored, 7.0, 49) == everything[:3]
    assert arrivals([Moment(30.0, 0)], 7.0) == [Moment(30.0, 0)], "the first byte arrived later"


def test_a_sample_is_spread_evenly_and_dated():
    places = [LinePlace(10 * n + 1, 100 * n, start=n % 7 != 3) for n in range(1, 1000)]
    moments = [Moment(7.0, 0), *(Moment(50.0 + n, 10_000 * n) for n in range(1, 10))]

    def taken(first: int, last: int, count: int) -> list[LinePlace]:
        return sample(lambda line: place_of(places, line), moments, (first, last), count)

    everything = taken(1, 10**9, 10_000)
    assert everything[0] == LinePlace(1, 0, time=7.0)
    assert len(everything) == 1 + sum(each.start for each in places)
    assert {each.time for each in everything} == {7.0, *(each.time for each in moments)}
    few = taken(1, 10**9, 10)
    assert 9 <= len(few) <= 11
    assert few[0].line == 1
    assert few[-1].line > 9_900
    assert all(2000 <= each.line <= 2100 for each in taken(2010, 2100, 50))


def test_thinning_keeps_a_coarser_grain():
    assert thinned([], 2.0) == []
    assert thinned([Moment(1.0, 0, 50.0), Moment(60.0, 9)], 2.0) == [
        Moment(1.0, 0, 50.0),
        Moment(60.0, 9, 2.0),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("2d", 172_800), ("1.5s", 1.5), ("0s", 0)],
)
def test_a_duration_is_counted_back_from_now(text, seconds):
    assert parse_since(text, 1_000_000.0) == 1_000_000.0 - seconds


@pytest.mark.parametrize(
    "text", ["", " ", "10", "m", "10 m", "-10m", "10m1h", "1e3s", "yesterday", "\u0663m"]
)
def test_text_that_is_not_a_time_is_nan(text):
    assert math.isnan(parse_since(text, 0.0))


def test_an_rfc3339_time_is_absolute():
    assert parse_since("1970-01-01T00:01:00Z", 0.0) == 60.0

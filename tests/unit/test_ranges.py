"""What a selector means, against plain slices of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from loom.model import Info, State
from loom.streams.ranges import FromLine, FromOffset, LastBytes, LastLines, Lookup, Since

SIZES = st.integers(0, 40)


def stream(size: int, state: State = State.COMPLETE) -> Info:
    return Info(key="k", id="a", epoch=1, state=state, size=size)


@given(SIZES, st.sampled_from(State), st.booleans(), st.integers(0, 50))
def test_an_offset_counts_from_the_start_or_from_the_end(size, state, tail, offset):
    info = stream(size, state)
    ahead, back = FromOffset(offset).select(info, tail), LastBytes(offset).select(info, tail)
    follows = tail and not state.final
    assert ahead.stop == back.stop == (None if follows else size)
    assert ahead.start == (offset if follows else min(offset, size))
    assert back.start == max(0, size - offset)


def test_lines_and_times_are_looked_up_and_stop_as_any_other_part():
    for by in (Since(5.0), FromLine(2), LastLines(3)):
        assert by.select(stream(7, State.LIVE), tail=True) == Lookup(by, None)
        assert by.select(stream(7, State.LIVE), tail=False) == Lookup(by, 7)
        assert by.select(stream(7), tail=True) == Lookup(by, 7)

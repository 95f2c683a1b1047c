"""Looking up the start of a part in a store. The searches themselves are tested in test_lines."""

import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.stores import TestStore, created
from tests.unit.test_lines import DATA, lines_of

from loom.model import Patch, State
from loom.streams.ranges import FromLine, FromOffset, LastBytes, LastLines, Part, Selector
from loom.streams.search import Finder
from loom.testing.tools import ManualClock


async def located(selector: Selector, data: bytes, state: State = State.COMPLETE, tail: bool = True) -> Part:
    store = TestStore(ManualClock(1_000_000.0))
    writer = await created(store, data=data)
    if state is not State.LIVE:
        await writer.close(Patch(state=state))
    info = await store.info("a")
    try:
        return await Finder(store, lambda: None).locate(info, selector.select(info, tail))
    finally:
        assert store.idle
        await store.close()


@given(DATA, st.sampled_from(State), st.booleans(), st.integers(0, 40))
@example(b"", State.LIVE, True, 1)
@example(b"ab", State.LIVE, True, 0)
@example(b"\n", State.LIVE, True, 1)
async def test_last_lines_are_followed_by_new_bytes(data, state, tail, count):
    part = await located(LastLines(count), data, state, tail)
    lines = lines_of(data)
    assert data[part.start :] == b"".join(lines[max(0, len(lines) - count) :])
    assert part.stop == (None if tail and not state.final else len(data))
    assert not part.skip


@given(DATA, st.sampled_from(State), st.booleans(), st.integers(1, 40))
@example(b"", State.LIVE, True, 1)
@example(b"a\n", State.LIVE, True, 2)
@example(b"a\nb", State.LIVE, True, 3)
async def test_a_line_is_found_or_awaited(data, state, tail, number):
    part = await located(FromLine(number), data, state, tail)
    follows = tail and not state.final
    assert part.stop == (None if follows else len(data))
    assert data[part.start :] == b"".join(lines_of(data)[number - 1 :])
    assert part.skip == (max(0, number - 1 - data.count(b"\n")) if follows else 0)


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\n", b"a\nb", b"\n\na\n\n", b"a\r\nb\rc\n\x00"])
async def test_lines_and_offsets_count_as_tail_itself_counts(data, tool):
    for count in range(5):
        for selector, *option in (
            (LastLines(count), "-n", f"{count}"),
            (FromLine(count + 1), "-n", f"+{count + 1}"),
            (LastBytes(count), "-c", f"{count}"),
            (FromOffset(count), "-c", f"+{count + 1}"),
        ):
            expected = subprocess.run([tool("tail"), *option], input=data, capture_output=True).stdout
            assert data[(await located(selector, data)).start :] == expected

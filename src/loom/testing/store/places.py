"""The sparse index of lines and times."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise

import pytest

from loom.errors import StreamNotFound
from loom.model import NewStream
from loom.store.base import Store, Writer
from loom.store.places import GAP, GRAIN, MAX_LINE, ORIGIN, LinePlace, Moment
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import COMPLETE, INTERRUPTED, ManualClock, stream

LINES = b"".join(b"%d\n" % number for number in range(300_000))  # 2 MB

ALL = 1, MAX_LINE


async def append(store: Store, id: str, pieces: list[bytes]) -> str:
    """Create a complete stream of these pieces, each durable before the next, and return its key."""
    writer = await store.create(NewStream(id=id))
    for piece in pieces:
        writer.append(piece)
        await writer.wait_durable(writer.accepted)
    await writer.close(COMPLETE)
    return writer.key


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def check(store: Store, key: str, data: bytes, slack: int) -> None:
    """Assert that each line is found within `slack` bytes of a place."""
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]
    for line in [1, 2, len(starts) // 3, len(starts) - 1, len(starts), len(starts) + 5]:
        place = await store.place(key, line)
        assert place.line <= line
        assert place.line == data.count(b"\n", 0, place.offset) + 1
        assert not place.start or place.offset in (0, starts[place.line - 1])
        start = starts[min(line, len(starts)) - 1]
        assert place.offset <= start <= place.offset + slack


async def indexed(store: Store, key: str, line: int = 200_000) -> None:
    """Wait until the index reaches that line: it may lag the bytes."""
    await until(lambda: store.place(key, MAX_LINE), lambda place: place.line >= line)


async def until(look: Callable[[], Awaitable[LinePlace]], reached: Callable[[LinePlace], bool]) -> LinePlace:
    async with asyncio.timeout(10):
        while not reached(place := await look()):  # noqa: ASYNC110  # no event reports the growth of the index
            await asyncio.sleep(0.01)
    return place


async def send_slowly(writer: Writer, clock: ManualClock, pauses: Iterable[float]) -> list[tuple[int, float]]:
    """Append a line after each pause, and return the offset and the time of each."""
    sent = []
    for pause in pauses:
        clock.time += pause
        sent.append((writer.accepted, clock.time))
        writer.append(b"line\n")
        await writer.wait_durable(writer.accepted)
    return sent


async def check_times(store: Store, key: str, sent: Iterable[tuple[int, float]]) -> None:
    """Assert that the moments of a stream have the true times of these bytes, to a second."""
    moments = await store.moments(key, 0)
    assert all(one.offset < two.offset and one.time <= two.time for one, two in pairwise(moments))
    for offset, time in sent:
        moment = [each for each in moments if each.offset <= offset][-1]
        assert moment.time <= time < moment.time + moment.grain
        assert moment.grain == GRAIN


class PlacesTests:
    @pytest.mark.parametrize("size", [50_000, 200_000, len(LINES)], ids=["small", "mixed", "at once"])
    async def test_a_line_is_near_a_known_place(self, store: Store, size: int) -> None:
        key = await append(store, "a", cut(LINES, size))
        await indexed(store, key)
        await check(store, key, LINES, 2 * GAP + size)

    async def test_the_index_of_a_stream_that_is_written_both_ways_at_once(self, store: Store) -> None:
        chance = random.Random(5)
        writer = await store.create(NewStream(id="a"))
        at = 0
        while at < len(LINES):
            size = chance.choice([10, 1000, 70_000, 400_000])
            writer.append(LINES[at : at + size])
            at += size
            if chance.random() < 0.5:
                await writer.wait_durable(writer.accepted)
        await writer.close(COMPLETE)
        await indexed(store, writer.key)
        await check(store, writer.key, LINES, 3 * GAP + 800_000)

    async def test_a_short_stream_needs_no_place(self, store: Store) -> None:
        writer = await stream(store, "a", b"one\ntwo\n", COMPLETE)
        assert await store.place(writer.key, 2) == ORIGIN
        [place] = await store.places(writer.key, ALL, 100)
        assert (place.line, place.offset, place.time) == (1, 0, 1_000.0)

    async def test_a_line_of_megabytes_has_places_within(self, store: Store) -> None:
        data = b"first\n" + bytes(4 * GAP) + b"\nlast\n"
        key = await append(store, "a", cut(data, GAP))
        await indexed(store, key, 2)
        place = await until(lambda: store.place(key, 3), lambda place: place.offset >= 2 * GAP)
        assert (place.line, place.start) == (2, False)
        assert (await store.places(key, ALL, 100))[0].line == 1

    async def test_places_are_spread_over_lines_and_dated(self, store: Store, clock: ManualClock) -> None:
        writer = await store.create(NewStream(id="a"))
        for piece in cut(LINES, 100_000):
            clock.time += 10
            writer.append(piece)
            await writer.wait_durable(writer.accepted)
        await indexed(store, writer.key)
        places = await store.places(writer.key, ALL, 1000)
        assert [(each.line, each.offset) for each in places] == sorted(
            {(each.line, each.offset) for each in places}
        )
        for each in places:
            assert LINES[: each.offset].count(b"\n") + 1 == each.line
            assert each.time == 1_000.0 + 10 * (each.offset // 100_000 + 1)
        narrow = await store.places(writer.key, (100_000, 200_000), 1000)
        assert 1 <= len(narrow) < len(places)
        assert all(each in places for each in narrow)
        assert len(await store.places(writer.key, ALL, 2)) <= 3

    async def test_an_offset_is_found_by_the_time_of_arrival(self, store: Store, clock: ManualClock) -> None:
        writer = await store.create(NewStream(id="a"))
        arrivals = []
        for number in range(60):
            clock.time += (0.25, 0.5, 30.0)[number % 3]
            writer.append(b"12345")
            await writer.wait_durable(writer.accepted)
            arrivals.append(clock.time)
        await writer.close(COMPLETE)
        for at, time in enumerate(arrivals):
            for when in (time - 0.1, time, time + 0.1):
                exact = 5 * next((at for at, each in enumerate(arrivals) if each >= when), 60)
                offset = await store.offset_at(writer.key, when)
                assert offset <= exact
                assert all(each > when - 1 for each in arrivals[offset // 5 : exact // 5]), (at, when)
        assert await store.offset_at(writer.key, 0.0) == 0
        assert await store.offset_at(writer.key, clock.time + 1) == 300

    async def test_each_byte_has_its_time_of_arrival(self, store: Store, clock: ManualClock) -> None:
        writer = await store.create(NewStream(id="a"))
        arrivals = await send_slowly(writer, clock, [(0.3, 1.0, 7.0)[at % 3] for at in range(200)])
        await check_times(store, writer.key, arrivals)
        await writer.close(COMPLETE)
        await check_times(store, writer.key, arrivals)
        late = await store.moments(writer.key, 500)
        assert late == [each for each in await store.moments(writer.key, 0) if each.offset >= late[0].offset]
        assert late[0].offset <= 500 < late[1].offset

    async def test_a_stream_without_bytes_begins_with_its_creation(self, store: Store) -> None:
        writer = await stream(store, "a", b"", COMPLETE)
        assert await store.moments(writer.key, 0) == [Moment(1_000.0, 0)]
        assert await store.moments(writer.key, 10**9) == [Moment(1_000.0, 0)]

    async def test_the_index_is_deleted_with_its_stream(self, store: Store) -> None:
        key = await append(store, "a", cut(LINES, 100_000))
        await store.delete(key)
        for asked in (
            store.place(key, 1),
            store.places(key, ALL, 10),
            store.moments(key, 0),
            store.offset_at(key, 0.0),
        ):
            with pytest.raises(StreamNotFound):
                await asked


class DurablePlacesTests:
    async def test_the_index_survives_a_restart_and_grows_after_it(
        self, reopening: Reopening, clock: ManualClock
    ) -> None:
        store = reopening.store
        writer = await stream(store, "a", b"", INTERRUPTED)
        at, times = 0, {}
        for size in (700_000, 300_000, 150_000, 10):
            clock.time += 100
            writer = await store.resume(writer.key, at)
            for piece in cut(LINES[at : at + size], 60_000):
                writer.append(piece)
                await writer.wait_durable(writer.accepted)
            await writer.close(INTERRUPTED)
            times[clock.time] = at
            at += size
            store = await reopening.reopen()
        for time, offset in times.items():
            assert await store.offset_at(writer.key, time) == offset
            assert await store.offset_at(writer.key, time - 50) == offset
        writer = await store.resume(writer.key, at)
        for piece in cut(LINES[at:], 100_000):
            writer.append(piece)
            await writer.wait_durable(writer.accepted)
        await writer.close(COMPLETE)
        await indexed(store, writer.key)
        await check(store, writer.key, LINES, 3 * GAP)
        store = await reopening.reopen()
        await check(store, writer.key, LINES, 3 * GAP)

    async def test_times_of_arrival_survive_restarts(self, reopening: Reopening, clock: ManualClock) -> None:
        writer = await stream(reopening.store, "a", b"", INTERRUPTED)
        sent: list[tuple[int, float]] = []
        for _ in range(3):
            store = await reopening.reopen()
            writer = await store.resume(writer.key, 5 * len(sent))
            sent += await send_slowly(writer, clock, [3.0, 0.5, 0.4, 2.0] * 20)
            await writer.close(INTERRUPTED)
            await check_times(store, writer.key, sent)
        await check_times(await reopening.reopen(), writer.key, sent)

    async def test_a_clock_that_was_set_back_leaves_times_in_order(
        self, reopening: Reopening, clock: ManualClock
    ) -> None:
        store = reopening.store
        writer = await stream(store, "a", b"1", INTERRUPTED)
        clock.time += 500
        writer = await store.resume(writer.key, 1)
        writer.append(b"2")
        await writer.close(INTERRUPTED)
        late = clock.time
        clock.time -= 400
        store = await reopening.reopen()
        writer = await store.resume(writer.key, 2)
        writer.append(b"3")
        await writer.close(COMPLETE)
        store = await reopening.reopen()
        assert await store.offset_at(writer.key, late - 300) == 1
        assert await store.offset_at(writer.key, late) == 1
        assert await store.offset_at(writer.key, late + 100) == 3

"""Requests that cost little to send, and must cost the server little."""

import asyncio

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.unit.stores import TestStore, created

from loom.model import Info, NewStream, Patch, State
from loom.store.places import GAP
from loom.streams.ranges import LastLines, Lookup, Part
from loom.streams.search import Finder
from loom.testing.tools import ManualClock
from loom.wire.rows import encode_row


@ONE_STORE
async def test_a_change_is_encoded_once_for_all_readers_of_events(
    loom: Loom, monkeypatch: pytest.MonkeyPatch
):
    encoded: list[str] = []

    def counted(info: Info) -> str:
        encoded.append(info.id)
        return encode_row(info)

    monkeypatch.setattr("loom.streams.feed.encode_row", counted)
    readers = [await loom.get("/events") for _ in range(20)]
    for name in ("a", "b"):
        await (await loom.store.create(NewStream(id=name))).close(Patch(state=State.COMPLETE))

    async def read(wire: object) -> int:
        seen = b""
        while seen.count(b"event: closed") < 2:
            seen += await wire.read_chunk()  # type: ignore[attr-defined]
        return seen.count(b"event: ")

    assert await asyncio.gather(*map(read, readers)) == [4] * 20
    assert encoded == ["a", "a", "b", "b"], "created and closed, each encoded once"


LINE = b"%07d of a long stream, which is indexed\n"


@pytest.mark.parametrize("tail", [b"", b"no end"])
@pytest.mark.parametrize("count", [1, 100_000, 150_000, 299_999, 300_000, 300_001, 10**18])
async def test_the_last_lines_of_a_long_stream_are_found_by_its_index(count: int, tail: bytes):
    store = TestStore(ManualClock(1_000_000.0))
    data = b"".join(LINE % number for number in range(300_000)) + tail
    writer = await created(store, data=data)
    info = await writer.close(Patch(state=State.COMPLETE))
    store.bytes_read = 0
    part = await Finder(store, lambda: None).locate(info, Lookup(LastLines(count), None))
    ends = [0, *(len(LINE % 0) * number for number in range(1, 300_001)), *([len(data)] if tail else [])]
    assert part == Part(ends[max(0, len(ends) - 1 - count)], None, 0)
    assert store.bytes_read < 4 * GAP, "however long the stream"
    await store.close()


async def test_a_stream_without_line_ends_is_not_searched():
    store = TestStore(ManualClock(1_000_000.0))
    writer = await created(store, data=bytes(8 << 20))
    info = await writer.close(Patch(state=State.COMPLETE))
    store.bytes_read = 0
    assert (await Finder(store, lambda: None).locate(info, Lookup(LastLines(1), None))).start == 0
    assert store.bytes_read < 4 * GAP
    await store.close()

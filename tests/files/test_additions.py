"""Shared streams in the files store: failures of the disk, what stays in memory, and what an append costs."""

import asyncio
import contextlib
import errno
import sqlite3

import pytest
from tests.files.disks import Gate, failing, until

from loom.errors import Conflict, StorageFull, StoreStopped
from loom.model import Framing, NewStream, Patch, State
from loom.store.files.content import content_name
from loom.store.files.testing import Inside
from loom.testing.store.append import once
from loom.testing.tools import add, entries_of, ids, shared, stored

LARGE = 20_000
"""Bytes that go to the content file first, with the small log of these tests."""


async def test_a_full_disk_fails_additions_and_the_stream_stays_open(disk, starter):
    store = await starter()
    key = (await shared(store, "a", content=[b"x"], entries={"p": "0"})).key
    await Inside(store).checkpoint()
    disk.fault = failing(errno.ENOSPC, "write", "content", times=1)
    asked = [store.append(key, ["p"], once("p", number, b"y" * LARGE)) for number in (1, 1, 2)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StorageFull}
    assert ((await store.info("a")).state, await stored(store, "a")) == (State.OPEN, b"x")
    # The entries were dropped with the bytes: the retry is no repeat.
    assert await entries_of(store, key, "p") == {"p": "0"}
    assert (await store.append(key, ["p"], once("p", 1, b"y" * LARGE))).size == 1 + LARGE
    store = await starter()
    assert await stored(store, "a") == b"x" + b"y" * LARGE
    assert await entries_of(store, key, "p") == {"p": "1"}


async def test_an_end_whose_bytes_fail_is_no_end(disk, starter):
    store = await starter()
    key = (await shared(store, "a")).key
    disk.fault = failing(errno.ENOSPC, "write", "content", times=1)
    with pytest.raises(StorageFull):
        await add(store, key, b"y" * LARGE, {"p": "0"}, Patch(state=State.COMPLETE))
    assert (await add(store, key, b"more")).state is State.OPEN
    assert await stored(store, "a") == b"more"


async def test_content_that_cannot_be_stored_leaves_no_stream_and_no_file(disk, starter):
    store = await starter()
    disk.fault = failing(errno.ENOSPC, "write", "content", times=1)
    new = NewStream(
        id="a", state=State.OPEN, framing=Framing.JSON, content=[b"y" * LARGE], entries={"p": "0"}
    )
    with pytest.raises(StorageFull):
        await store.put(new)
    assert (await ids(store), store.size, store.holdings.overhead) == ([], 0, 0)
    await until(lambda: Inside(store).at_rest)
    assert not (disk.root / content_name(1)).exists()
    assert (await store.put(new)).size == LARGE
    store = await starter()
    assert await stored(store, "a") == b"y" * LARGE


async def test_additions_and_repeats_that_wait_for_a_flush_that_fails_are_not_acknowledged(disk, starter):
    store = await starter()
    key = (await shared(store, "a")).key
    disk.fault = failing(errno.EIO, "sync", "log")
    asked = [store.append(key, ["p"], once("p", number, b"y")) for number in (0, 0, 5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, StoreStopped) for answer in answers)
    store = await starter()
    info = await store.append(key, ["p"], once("p", 0, b"y"))
    assert (info.size, await stored(store, "a")) == (1, b"y")


@pytest.mark.parametrize(("size", "place"), [(100, "log"), (LARGE, "content"), (LARGE, "log")])
async def test_a_repeat_of_what_is_being_stored_is_recognized_and_waits_for_it(disk, starter, size, place):
    store = await starter()
    key = (await shared(store, "a")).key
    gate = Gate(disk, "sync", place)
    first = asyncio.ensure_future(store.append(key, ["p"], once("p", 0, b"y" * size)))
    await gate.entered()
    repeat = asyncio.ensure_future(store.append(key, ["p"], once("p", 0, b"y" * size)))
    refused = asyncio.ensure_future(store.append(key, ["p"], once("p", 7, b"y" * size)))
    await asyncio.sleep(0.01)
    assert not repeat.done()
    assert not refused.done()
    gate.open()
    assert (await first).size == (await repeat).size == size
    with pytest.raises(Conflict):
        await refused
    assert await stored(store, "a") == b"y" * size


async def test_a_close_is_in_the_frame_of_the_large_bytes_before_it(disk, starter, monkeypatch):
    store = await starter()
    key = (await shared(store, "a")).key
    before = Inside(store).applied
    await add(store, key, b"y" * LARGE, {"p": "0"}, Patch(state=State.COMPLETE))
    assert Inside(store).applied == before + 1


async def test_nothing_is_accepted_while_a_close_is_being_stored(disk, starter):
    store = await starter()
    key = (await shared(store, "a")).key
    gate = Gate(disk, "sync", "log")
    closing = asyncio.ensure_future(add(store, key, b"end", patch=Patch(state=State.COMPLETE)))
    await gate.entered()
    late = asyncio.ensure_future(add(store, key, b"late"))
    closing.cancel()
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(Conflict):
        await late
    assert await stored(store, "a") == b"end"


async def test_memory_forgets_entries_that_the_catalog_has(disk, starter):
    store = await starter()
    key = (await shared(store, "a")).key
    stream = Inside(store).table.by_key(key)
    assert stream
    for value in range(3):
        await asyncio.gather(*(add(store, key, b"x", {f"p{n}": f"{value}"}) for n in range(50)))
        assert await entries_of(store, key, "p7") == {"p7": f"{value}"}
    await until(lambda: stream.ledger.idle)
    assert await entries_of(store, key, "p7", "p49") == {"p7": "2", "p49": "2"}
    await store.delete(key)
    await store.close()
    with contextlib.closing(sqlite3.connect(disk.root / "catalog.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM ledger").fetchone() == (0,)


async def test_entries_in_flight_are_bounded_whatever_they_are(store):
    """Control characters take twelve times their number in the log, whose frames must fit into a segment."""
    key = (await shared(store, "a")).key
    await asyncio.gather(*(add(store, key, b"", {f"{n}" + "\0" * 300: "\0" * 300}) for n in range(200)))
    assert store.health().ready
    assert (await store.info("a")).ledger > 200 * 600


async def steps_of_append(store, key, name):
    """Return what one append costs: bytes of the log, instructions of SQLite in the loop and in images."""
    inside = Inside(store)
    await inside.checkpoint()
    counted = dict.fromkeys(("loop", "images"), 0)

    def counting(what):
        def step():
            counted[what] += 1

        return step

    connections = {"loop": inside.parts.reader._db, "images": inside.parts.catalog._db}
    for what, connection in connections.items():
        assert isinstance(connection, sqlite3.Connection)
        connection.set_progress_handler(counting(what), 1)
    end = inside.parts.log.end
    await store.append(key, [name], once(name, 1, b"x" * 100))
    logged = inside.parts.log.end - end
    await inside.checkpoint()
    for connection in connections.values():
        connection.set_progress_handler(None, 0)
    return logged, counted["loop"], counted["images"]


async def test_an_append_costs_the_same_with_a_hundred_thousand_entries(starter):
    store = await starter(segment_size=1 << 20)
    keys = [(await shared(store, id, entries={"p": "0"})).key for id in ("short", "long")]
    for first in range(0, 100_000, 2000):
        names = [[f"{n}" for n in range(at, at + 50)] for at in range(first, first + 2000, 50)]
        await asyncio.gather(*(add(store, keys[1], b"x", dict.fromkeys(each, "0")) for each in names))
    short, long = [await steps_of_append(store, key, "p") for key in keys]
    assert long[0] - short[0] in range(8)  # the offset and the sizes in the row have more digits
    # A round of images may store another row besides. A scan of the ledger would take far more.
    assert all(much < 2 * few for few, much in zip(short[1:], long[1:], strict=True))
    assert (await store.info("long")).ledger > 100_000 * 64

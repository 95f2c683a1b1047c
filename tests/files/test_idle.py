"""Streams at rest cost disk only, whatever their state: no start, sweep or listing loads them."""

import asyncio
import contextlib
import sqlite3
from dataclasses import replace

import pytest
from tests.files.disks import start, until
from tests.files.test_store import rest

from loom.errors import StreamNotFound, VersionMismatch
from loom.model import Addition, Framing, Info, NewStream, Patch, Query, State
from loom.store import rules
from loom.store.files.catalog import Catalog
from loom.store.files.queries import CatalogReader
from loom.store.files.schema import info_of
from loom.store.files.testing import Inside
from loom.testing.tools import INTERRUPTED, OPEN, found, stored

MANY = 3000


def opened(number: int, framing: Framing = Framing.NONE) -> Info:
    deadline = None if framing else 10_000.0 - number
    return Info(
        key=f"{number:x}-000000000000", id=f"s/{number}", epoch=1, state=State.OPEN, created=1.0,
        owner="ab"[number % 2], deadline=deadline, framing=framing,
    )  # fmt: skip


@pytest.fixture
async def filled(disk, starter):
    """A directory with many open streams, every third of them shared."""
    await (await starter()).close()

    def fill() -> None:
        catalog = Catalog(disk.root / "catalog.sqlite")
        rows = [(n, opened(n, Framing.NONE if n % 3 else Framing.BYTES)) for n in range(1, MANY + 1)]
        catalog.store(rows, [], MANY, checkpoint=catalog.fact("checkpoint"))
        catalog.close()

    await asyncio.to_thread(fill)
    return disk


@pytest.fixture
def loaded(monkeypatch):
    """The rows that were read from catalogs, as their ids."""
    rows: list[str] = []

    def counting(row):
        info = info_of(row)
        rows.append(info.id)
        return info

    for module in ("catalog", "queries"):
        monkeypatch.setattr(f"loom.store.files.{module}.info_of", counting)
    return rows


async def test_a_start_with_many_open_streams_reads_none_of_them(filled, clock, loaded):
    store = await start(filled, clock)
    assert not loaded
    assert not Inside(store).table.all()
    classic = [n for n in range(1, MANY + 1) if n % 3]
    assert (store.holdings.streams, store.holdings.open) == (MANY, len(classic))
    assert store.holdings.open_of("b") == sum(n % 2 for n in classic)
    assert (await store.usage()).streams[State.OPEN] == MANY
    assert not loaded
    await store.close()
    assert not loaded


async def test_a_sweep_reads_the_rows_that_are_due(filled, clock, loaded):
    store = await start(filled, clock)
    clock.time = 10_000.0 - MANY + 10
    assert [info.id for info in await store.due(clock.time)] == [
        f"s/{n}" for n in range(MANY, MANY - 11, -1) if n % 3
    ]
    assert len(loaded) < 20
    clock.time = 1e6
    loaded.clear()
    assert len(await store.due(clock.time)) == rules.AT_ONCE
    assert len(loaded) == rules.AT_ONCE
    assert not Inside(store).table.all()
    await store.close()


async def test_listings_and_sweeps_show_what_is_in_memory_and_what_is_not(filled, clock, starter):
    store = await starter()
    state = Query(states=frozenset({State.OPEN}))

    async def listed(query: Query) -> list[str]:
        return [info.id async for info in store.find(query)]

    everything = [f"s/{n}" for n in range(MANY, 0, -1)]
    assert await listed(state) == everything
    assert await listed(Query(states=frozenset({State.LIVE}))) == []
    keys = {number: opened(number).key for number in (7, 4, 2)}
    writer = await store.resume(keys[7], 0)
    other = await store.resume(keys[4], 0)
    await store.change(keys[2], Patch(state=State.ABORTED, reason="tired"), version=1)
    taken = {writer.info.id, "s/4", "s/2"}
    left = [id for id in everything if id not in taken]
    assert await listed(state) == left
    assert set(await listed(Query(states=frozenset({State.LIVE})))) == taken - {"s/2"}
    usage = await store.usage()
    assert (usage.streams[State.OPEN], usage.streams[State.LIVE]) == (MANY - 3, 2)
    due: list[str] = []
    clock.time = 1e6
    while infos := await store.due(clock.time):
        due += [info.id for info in infos]
        await asyncio.gather(*(store.change(i.key, rules.overdue(i), version=i.version) for i in infos))
    assert due == [id for id in left if int(id[2:]) % 3]
    await other.close(OPEN)
    await writer.close(INTERRUPTED)
    assert [info.id for info in await store.due(clock.time)] == [writer.info.id, "s/4"]
    await rest(store)
    assert [info.id for info in await store.due(clock.time)] == [writer.info.id, "s/4"]
    assert store.holdings.open == 1
    assert len(await found(store)) == MANY


async def test_a_stream_comes_back_for_each_append_and_leaves_again(starter, disk, clock):
    store = await starter()
    info = await store.put(NewStream(id="a", framing=Framing.BYTES, state=State.OPEN))
    for turn in range(5):
        clock.time += 0.3
        after = await store.append(info.key, ["n"], lambda *_: Addition(data=[b"x\n"], entries={"n": "1"}))
        assert after.size == 2 * (turn + 1)
        await rest(store)
        assert not Inside(store).table.all()
    assert await stored(store, "a") == b"x\n" * 5
    assert len(await store.moments(info.key, 0)) < 4
    store = await starter()
    assert await stored(store, "a") == b"x\n" * 5


async def test_everyone_that_waits_for_a_stream_at_rest_has_the_same_one(starter):
    """A lock that is passed on belongs to nobody for a moment."""
    store = await starter()
    for turn in range(20):
        writer = await store.create(NewStream(id=f"{turn}"))
        info = await writer.close(OPEN)
        await rest(store)
        changes = [
            store.change(info.key, Patch(metadata=f'{{"n": {n}}}'), version=info.version + n)
            for n in range(3)
        ]
        found = await asyncio.gather(*changes, store.delete(info.key), return_exceptions=True)
        assert not any(isinstance(each, VersionMismatch) for each in found)
        with pytest.raises(StreamNotFound):
            await store.info(f"{turn}")
        assert not Inside(store).table.all()


async def test_a_stream_that_failed_leaves_memory_once_it_is_aborted(starter, disk):
    store = await starter()
    info = await store.put(NewStream(id="a", framing=Framing.BYTES, state=State.OPEN, content=[b"x"]))
    await rest(store)
    (disk.root / "content/000/000/000000001").unlink()
    await store.append(info.key, [], lambda *_: Addition(data=[b"y" * 100]))
    await until(lambda: any(stream.info.state is State.ABORTED for stream in Inside(store).table.all()))
    assert (await store.info("a")).state is State.ABORTED
    await rest(store)


def test_the_open_streams_of_an_owner_are_counted_by_the_catalog(folder):
    catalog = Catalog(folder / "catalog.sqlite")
    one, two = opened(1), opened(2, Framing.JSON)

    def counted() -> dict[str, tuple[int, int]]:
        return {owner: (each.streams, each.open) for owner, each in catalog.owners().items()}

    catalog.store([(1, one), (2, two)], [], 2)
    assert counted() == {"b": (1, 1), "a": (1, 0)}
    catalog.store([(1, replace(one, state=State.LIVE)), (3, replace(one, id="c", key="3-0"))], [], 3)
    assert counted() == {"b": (2, 1), "a": (1, 0)}
    catalog.store([(1, replace(one, state=State.OPEN, version=3))], [], 3)
    assert counted() == {"b": (2, 2), "a": (1, 0)}
    catalog.store([(3, replace(one, id="c", key="3-0", state=State.COMPLETE))], [1, 2], 3)
    assert counted() == {"b": (1, 0)}
    catalog.close()


def test_deadlines_are_looked_up_in_an_index(folder):
    Catalog(folder / "catalog.sqlite").close()
    statements: list[str] = []
    reader = CatalogReader(folder / "catalog.sqlite")
    reader._db.set_trace_callback(statements.append)
    reader.due(1.0, 10)
    with contextlib.closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    assert plan == ["SEARCH streams USING INDEX due (deadline<?)"]
    reader.close()

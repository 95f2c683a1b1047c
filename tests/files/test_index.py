"""The index in the catalog: what a crash leaves of it is true, and deletes leave nothing."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.files.conftest import Starter
from tests.files.disks import FaultyDisk, until

from loom.model import Info, NewStream, State
from loom.store.files import FilesStore
from loom.store.files.catalog import Catalog
from loom.store.files.queries import CatalogReader
from loom.store.places import GAP, MAX_LINE, LinePlace, Mark, Moment
from loom.testing.tools import COMPLETE, INTERRUPTED, ManualClock, stream

LINES = b"".join(b"%d\n" % number for number in range(300_000))  # 2 MB


def info(number: int, **fields: object) -> Info:
    return Info(**{"key": f"{number:x}-x", "id": f"{number}", "epoch": 1, "state": State.LIVE, **fields})  # type: ignore[arg-type]


def rows(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        return {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("places", "moments")
        }


async def test_the_index_after_a_crash_is_true_and_complete(
    folder: Path, store: FilesStore, clock: ManualClock
):
    writer = await store.create(NewStream(id="a"))
    arrivals = []
    for at in range(0, len(LINES), 40_000):
        clock.time += 3
        arrivals.append((clock.time, at))
        writer.append(LINES[at : at + 40_000])
        await writer.wait_durable(writer.accepted)
    await until(lambda: rows(folder / "data")["moments"] == len(arrivals))
    copy = folder / "copy"
    shutil.copytree(folder / "data", copy)
    with closing(sqlite3.connect(copy / "catalog.sqlite")) as db:  # as if nothing of it had been flushed
        for name in ("places", "moments"):
            db.execute(f"DELETE FROM {name} WHERE offset > 700000")
        db.execute("UPDATE streams SET size = 700000")
        db.commit()
    clock.time += 1000
    again = await FilesStore.start(copy, clock=clock, min_free_bytes=0, min_free_inodes=0)
    for time, at in arrivals:
        offset = await again.offset_at(writer.key, time)
        assert offset <= at
        assert offset == at or at > 600_000, "what was flushed is as exact as before"
    resumed = await again.resume(writer.key, len(LINES))
    clock.time += 5
    resumed.append(LINES)
    await resumed.close(COMPLETE)
    assert await again.offset_at(writer.key, clock.time) == len(LINES)
    await again.close()
    again = await FilesStore.start(copy, clock=clock, min_free_bytes=0, min_free_inodes=0)
    data = LINES + LINES
    for line in range(1, 600_000, 50_000):
        known = await again.place(writer.key, line)
        assert known.line == data[: known.offset].count(b"\n") + 1 <= line
        start = len(b"".join(data.splitlines(keepends=True)[: line - 1]))
        assert known.offset <= start <= known.offset + 3 * GAP
    await again.close()


def test_a_start_drops_index_entries_of_missing_bytes(folder: Path):
    catalog = Catalog(folder / "catalog.sqlite")
    live = info(1, size=100, created=10.0)
    marks: list[Mark] = [LinePlace(2, 50), LinePlace(9, 150), Moment(20.0, 60), Moment(30.0, 160)]
    catalog.store([(1, live)], [], 1, marks={1: marks})
    catalog.mend_index([(1, live)], 90.0)
    reader = CatalogReader(folder / "catalog.sqlite")
    assert reader.place(1, MAX_LINE) == LinePlace(2, 50)
    assert reader.moments_around(1, 1000.0) == [Moment(20.0, 60)], "nothing is missing: it is left as it is"
    catalog.mend_index([(1, info(1, size=101, created=10.0))], 90.0)
    assert reader.moments_around(1, 1000.0) == [Moment(20.0, 60, 70.0)]
    catalog.store([], [], 1, marks={1: [Moment(15.0, 99)]}, grains={1: 4.0})
    assert reader.moments_around(1, 20.0) == [Moment(20.0, 60, 70.0)], "and never earlier than the one before"
    reader.close()
    catalog.close()


async def test_the_index_keeps_nothing_of_short_or_deleted_streams(
    starter: Starter, disk: FaultyDisk, store: FilesStore, clock: ManualClock
):
    for number in range(20):
        await stream(store, f"short {number}", b"one\ntwo\n", COMPLETE)
    await stream(store, "long", LINES, INTERRUPTED)
    await store.delete((await stream(store, "deleted", LINES, COMPLETE)).key)
    clock.time += 5
    await starter()
    counts = rows(disk.root)
    assert 2 <= counts["places"] <= len(LINES) // GAP + 1
    assert counts["moments"] == 0
    store = await starter()
    await store.delete((await store.info("long")).key)
    await starter()
    assert rows(disk.root) == {"places": 0, "moments": 0}


def test_lookups_use_the_keys_of_the_tables(folder: Path):
    from loom.store.files import index

    Catalog(folder / "catalog.sqlite").close()
    direct = sqlite3.connect(folder / "catalog.sqlite")
    for query, parameters in ((index.PLACE, (1, 2, 2)), (index.LAST, (1,)), (index.AROUND, (1, 2.0))):
        plan = direct.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
        assert all("SCAN" not in row[3] or "SCALAR" in row[3] for row in plan), plan
        assert not any("TEMP B-TREE" in row[3] for row in plan), plan
    direct.close()

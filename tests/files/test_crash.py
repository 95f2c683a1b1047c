"""Hundreds of power losses under a random load: nothing promised is lost, nothing is made up."""

import asyncio
import random
import shutil
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.files.crash import CrashDisk, Snapshot
from tests.files.disks import SEGMENT, QuickDisk, start
from tests.files.history import History, Life, check

from loom.errors import ConfigError, LoomError
from loom.model import Info, State
from loom.store.files.catalog import Catalog
from loom.store.files.log import Log
from loom.store.files.parts import Parts, open_parts
from loom.store.files.records import Entries, Put, decode, encode
from loom.store.files.schema import connect
from loom.testing.tools import ManualClock


def recover(disk: QuickDisk | CrashDisk) -> Parts:
    return open_parts(disk, ManualClock(), flush=True, segment_size=SEGMENT)


async def lives(root: Path, history: History, seed: int, *, lies: str = "-", steps: int = 60) -> CrashDisk:
    """Run a load on this directory; return the disk with the snapshots of possible crashes."""
    disk = CrashDisk(root, chance=random.Random(seed), share=0.08, promises=history.promises, lies=lies)
    with disk.observe():
        store = await start(disk)
        await Life(store, history, seed, steps=steps).live()
        await store.close()
    return disk


def crash(
    snapshots: list[Snapshot], history: History, folder: Path, chance: random.Random, *, count: int
) -> Path:
    """Recover from some of these crashes and check the result; some of the recoveries crash too.

    Returns the last of the directories.
    """
    root = folder
    for index, snapshot in enumerate(chance.sample(snapshots, min(count, len(snapshots)))):
        root = folder / f"crash {index}"
        root.mkdir()
        snapshot.restore(root, chance)
        if index % 4 == 0:
            again = folder / f"again {index}"
            again.mkdir()
            shutil.copytree(root, again, dirs_exist_ok=True)
            disk = CrashDisk(again, chance=chance, share=0.2, promises=dict)
            with disk.observe():
                recover(disk).close()
            for inner in chance.sample(disk.snapshots, min(5, len(disk.snapshots))):
                shutil.rmtree(again)
                again.mkdir()
                inner.restore(again, chance)
                look(again, snapshot, history)
            shutil.rmtree(again)
        look(root, snapshot, history)
        if index + 1 < count:
            shutil.rmtree(root)
    return root


def look(root: Path, snapshot: Snapshot, history: History) -> None:
    parts = recover(QuickDisk(root))
    try:
        check(parts, root, snapshot.before, snapshot.after)
    finally:
        parts.close()


def rows(root: Path) -> dict[str, Info]:
    parts = recover(QuickDisk(root))
    try:
        return {info.key: info for info in parts.catalog.rows(range(1, parts.recovered.number + 1)).values()}
    finally:
        parts.close()


@pytest.mark.parametrize("seed", range(3))
async def test_every_crash_keeps_what_was_promised_and_the_store_works_afterwards(folder, seed):
    history = History()
    chance = random.Random(seed)
    root = folder / "first"
    root.mkdir()
    for generation in range(2):
        disk = await lives(root, history, 10 * seed + generation)
        assert len(disk.snapshots) > 50
        shutil.rmtree(root)
        last = await asyncio.to_thread(crash, disk.snapshots, history, folder, chance, count=25)
        root = last.rename(folder / f"generation {generation}")
        history.recovered(await asyncio.to_thread(rows, root))


@pytest.mark.parametrize("lies", ["log/0", "content/000/000/", "content/000/000/0", "catalog"])
async def test_the_crashes_find_a_flush_that_is_left_out(folder, lies):
    history = History()
    root = folder / "first"
    root.mkdir()
    disk = await lives(root, history, 5, lies=lies)
    with pytest.raises((AssertionError, ConfigError)):
        await asyncio.to_thread(crash, disk.snapshots, history, folder, random.Random(5), count=400)


@pytest.mark.parametrize("apart", [(Entries, 1), (Entries, 0), (Put, 1)], ids=["after", "before", "end"])
async def test_the_crashes_find_a_ledger_or_an_end_in_a_frame_of_its_own(folder, monkeypatch, apart):
    kind, place = apart
    append = Log.append

    def split(log: Log, parts: Sequence[bytes]) -> int:
        records = list(decode(memoryview(b"".join(parts))))
        frames = [[each for each in records if isinstance(each, kind) == mine] for mine in (False, True)]
        lsn = 0
        for each in frames if place else frames[::-1]:
            if each:
                lsn = append(log, [part for record in each for part in encode(record)])
        return lsn

    monkeypatch.setattr(Log, "append", split)

    async def crash_lives() -> None:
        # Which records share a frame is a matter of time: one life may have none of this kind.
        for seed in range(5, 10):
            history = History()
            root = folder / str(seed) / "first"
            root.mkdir(parents=True)
            disk = await lives(root, history, seed, steps=30)
            chance = random.Random(5)
            await asyncio.to_thread(crash, disk.snapshots, history, root.parent, chance, count=400)

    with pytest.raises(
        (AssertionError, ConfigError),
        match=r"are apart|without its content|not in the catalog|size of the ledger",
    ):
        await crash_lives()


class Whatever(int):
    """A checksum that equals any other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize("left_out", ["checksum", "truncation"])
async def test_the_crashes_find_a_check_that_recovery_leaves_out(folder, monkeypatch, left_out):
    history = History()
    root = folder / "first"
    root.mkdir()
    disk = await lives(root, history, 5)
    if left_out == "checksum":
        monkeypatch.setattr("loom.store.files.records.digest_of", lambda *_: Whatever())
    else:
        monkeypatch.setattr(QuickDisk, "truncate", lambda *_: None)
    with pytest.raises((AssertionError, LoomError, ValueError, struct.error)):
        await asyncio.to_thread(crash, disk.snapshots, history, folder, random.Random(5), count=400)


@pytest.fixture
def quiet(folder):
    """Return a disk without crashes by chance: the test takes the snapshots."""
    (folder / "data").mkdir()
    return CrashDisk(folder / "data", chance=random.Random(1), share=0, promises=dict)


def left(disk: CrashDisk, path: Path) -> Catalog:
    """Return the catalog after a crash now that loses everything unflushed."""
    path.mkdir()
    disk.snapshot().restore(path, random.Random(1), mood="nothing")
    return Catalog(path / "catalog.sqlite")


@pytest.mark.parametrize("reading", [True, False])
def test_a_checkpoint_of_the_catalog_is_durable_even_if_a_reader_holds_it_up(quiet, folder, reading):
    with quiet.observe(), closing(Catalog(quiet.root / "catalog.sqlite")) as catalog:
        catalog.store([(1, Info(key="1-x", id="a", epoch=1, state=State.LIVE))], [], 1)
        with closing(connect(catalog.path, read_only=True)) as reader:
            if reading:
                # SQLite cannot checkpoint what comes after this snapshot, so it does not flush it then.
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM streams").fetchall()
                catalog._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                catalog._db.execute("PRAGMA busy_timeout = 0")
            catalog.store([(2, Info(key="2-x", id="b", epoch=1, state=State.LIVE))], [], 2, checkpoint=7)
            with closing(left(quiet, folder / "left")) as found:
                assert found.fact("checkpoint") == 7
                assert found.rows([1, 2]).keys() == {1, 2}


def test_a_new_catalog_and_a_fact_are_durable_on_return(quiet, folder):
    with quiet.observe(), closing(Catalog(quiet.root / "catalog.sqlite")) as catalog:
        with closing(left(quiet, folder / "new")) as found:
            assert found.fact("seed") == catalog.fact("seed")
        catalog.set_fact("flushed", 0)
        with closing(left(quiet, folder / "changed")) as found:
            assert found.fact("flushed") == 0

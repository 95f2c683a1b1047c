"""Recovery reads the log once, in little memory, and may be repeated."""

import asyncio
import os
import shutil
import tracemalloc
from collections import defaultdict
from pathlib import Path

import pytest
from tests.files.disks import SEGMENT, FaultyDisk, Gate, QuickDisk, start, written

from loom.errors import ConfigError
from loom.store.files.log import BLOCK, Log
from loom.store.files.records import HEADER
from loom.testing.tools import stored

MIB = 1 << 20


class ReadingDisk(QuickDisk):
    """Records which bytes of which file are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        data = super().read(fd, size, offset)
        self.reads[os.readlink(f"/proc/self/fd/{fd}")].append((offset, offset + len(data)))
        return data


@pytest.fixture
async def crashed(disk: FaultyDisk, folder: Path) -> Path:
    """Return a directory whose images have nothing of a log of several segments."""
    store = await start(disk)
    gate = Gate(disk, "write", "content/")
    for index in range(3):
        await written(store, f"{index}", bytes([index]) * 9000)
    writer = await written(store, "long")
    for _ in range(12):
        writer.append(b"x" * 9000)
        await writer.wait_durable(writer.accepted)
    await asyncio.to_thread(shutil.copytree, disk.root, folder / "copy")
    gate.open()
    await store.close()
    return folder / "copy"


async def test_a_start_reads_each_byte_of_the_log_once(crashed):
    disk = ReadingDisk(crashed)
    store = await start(disk)
    logs = {name: reads for name, reads in disk.reads.items() if "/log/" in name}
    assert len(logs) == 4
    for reads in logs.values():
        # Of each segment its own header, and that of its first frame, which says where the log begins.
        beginning, first, *rest = reads
        assert beginning[1] < BLOCK
        assert first == (BLOCK, BLOCK + HEADER.size)
        assert [begin for begin, _ in rest] == [BLOCK, *(end for _, end in rest[:-1])]
        assert rest[-1][1] == SEGMENT
    assert await stored(store, "long") == b"x" * 108_000
    assert await stored(store, "2") == b"\2" * 9000
    await store.close()


async def test_a_start_that_is_refused_for_damage_changes_nothing_that_a_later_one_needs(crashed):
    path = crashed / "log/001"
    whole = path.read_bytes()
    path.write_bytes(whole[: SEGMENT // 2] + b"?" + whole[SEGMENT // 2 + 1 :])
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"cannot be read though commit \d+ can"):
            await start(QuickDisk(crashed))
    path.write_bytes(whole)
    store = await start(QuickDisk(crashed))
    assert await stored(store, "long") == b"x" * 108_000
    await store.close()


def test_a_replay_holds_no_segment_in_memory(tmp_path):
    log = Log(QuickDisk(tmp_path), seed=1, flush=True)
    log.open(fresh=True)
    assert list(log.replay(0)) == []
    for _ in range(3000):
        log.append([bytes(10_000)])
    log.close()
    again = Log(QuickDisk(tmp_path), seed=1, flush=True)
    again.open(fresh=False)
    tracemalloc.start()
    assert sum(1 for _ in again.replay(0)) == 3000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    again.close()
    assert peak < 4 * MIB

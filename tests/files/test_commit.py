"""What a commit cycle writes to the log."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.files.disks import SEGMENT, FaultyDisk, failing, start, written

from loom.errors import StreamFailed
from loom.model import NewStream, State
from loom.store.files.records import HEADER, Delete, Put, Record, decode
from loom.testing.tools import COMPLETE

LARGE = bytes(SEGMENT // 4)


class LoggingDisk(FaultyDisk):
    """Keep the records of each frame that is written to the log."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.frames: list[list[Record]] = []

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        super().write(fd, parts, offset)
        if len(parts) == 2 and len(parts[0]) == HEADER.size:
            self.frames.append(list(decode(memoryview(parts[1]))))


@pytest.fixture
def disk(folder: Path) -> LoggingDisk:
    return LoggingDisk(folder / "data")


async def test_no_end_is_recorded_of_a_stream_whose_bytes_failed(disk, store):
    writer = await written(store, "a")
    disk.fault = failing(errno.ENOSPC, "write", "content/")
    disk.frames.clear()
    writer.append(LARGE)
    with pytest.raises(StreamFailed):
        await writer.close(COMPLETE)
    await store.close()
    puts = [record for frame in disk.frames for record in frame if isinstance(record, Put)]
    assert {put.info.state for put in puts} == {State.ABORTED}
    again = await start(disk)
    info = await again.info("a")
    assert (info.state, info.size) == (State.ABORTED, 0)
    await again.close()


async def test_a_replace_is_one_frame_the_delete_first(disk, store):
    old = await written(store, "a", b"old", COMPLETE)
    disk.frames.clear()
    new = await store.create(NewStream(id="a"), replace=True)
    [records] = disk.frames
    assert [type(record) for record in records] == [Delete, Put]
    assert [record.number for record in records] == [old.stream.number, new.stream.number]


async def test_a_row_is_recorded_with_the_bytes_that_come_before_it(disk, store):
    writer = await written(store, "a", b"first")
    disk.frames.clear()
    writer.append(b", second")
    await asyncio.gather(writer.close(COMPLETE))
    puts = [record for frame in disk.frames for record in frame if isinstance(record, Put)]
    assert [put.info.size for put in puts] == [13]

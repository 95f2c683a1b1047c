"""Large writes: what waits for them, and what does not."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext

import pytest
from tests.files.conftest import Starter
from tests.files.disks import SEGMENT, FaultyDisk, Gate, failing, until, written

from loom.errors import StoreStopped
from loom.model import NewStream
from loom.store.files import FilesStore
from loom.store.files.testing import Inside
from loom.testing.tools import COMPLETE, stored

LARGE = bytes(range(256)) * (SEGMENT // 1024)


@pytest.fixture
def gate(disk: FaultyDisk, store: FilesStore) -> Iterator[Gate]:
    """Block the flush of a content file."""
    gate = Gate(disk, "sync", "content/000/000/0")
    yield gate
    gate.open()


@asynccontextmanager
async def gathering(store: FilesStore, disk: FaultyDisk) -> AsyncIterator[None]:
    """Let one cycle take everything that is queued in the block: the cycle before lasts as long."""
    busy = await written(store, "busy")
    before = disk.fault
    cycle = Gate(disk, "sync", "log/")
    busy.append(b"now")
    await cycle.entered()
    yield
    disk.fault = before
    cycle.open()


in_one_cycle = pytest.mark.parametrize("at_once", [False, True], ids=["begun", "in one cycle"])


async def test_a_line_does_not_wait_for_a_concurrent_upload(store: FilesStore, gate: Gate):
    upload, line = await written(store, "upload"), await written(store, "line")
    upload.append(LARGE)
    await gate.entered()
    line.append(b"at once")
    assert await line.wait_durable(7) == 7
    assert upload.durable == 0
    gate.open()
    assert (await upload.close(COMPLETE)).size == len(LARGE)


@in_one_cycle
async def test_bytes_and_changes_after_a_large_write_stay_after_it(
    disk: FaultyDisk, store: FilesStore, gate: Gate, at_once: bool
):
    upload = await written(store, "a")
    async with gathering(store, disk) if at_once else nullcontext():
        upload.append(LARGE)
        if not at_once:
            await gate.entered()
        upload.append(b" and a line")
        closing = asyncio.create_task(upload.close(COMPLETE))
        await until(lambda: bool(upload.stream.ops))
    await gate.entered()
    await (await written(store, "another")).close(COMPLETE)
    assert not closing.done()
    gate.open()
    assert (await closing).size == len(LARGE) + 11
    assert await stored(store, "a") == LARGE + b" and a line"


@in_one_cycle
async def test_a_stream_is_replaced_after_its_large_write(
    starter: Starter, disk: FaultyDisk, store: FilesStore, gate: Gate, at_once: bool
):
    upload = await written(store, "a")
    old = upload.stream.number
    async with gathering(store, disk) if at_once else nullcontext():
        if not at_once:
            upload.append(LARGE)
            await gate.entered()
        replacing = asyncio.create_task(store.create(NewStream(id="a"), replace=True))
        if at_once:  # the new stream is first in the queue
            await until(lambda: Inside(store).queued)
            upload.append(LARGE)
    await gate.entered()
    await (await written(store, "another")).close(COMPLETE)
    assert not replacing.done()
    gate.open()
    new = await replacing
    new.append(b"new")
    await new.close(COMPLETE)
    store = await starter()
    assert await stored(store, "a") == b"new"
    assert await asyncio.to_thread(Inside(store).parts.content.size, old) is None


async def test_a_store_that_fails_closes_no_file_under_a_large_write(
    disk: FaultyDisk, store: FilesStore, gate: Gate
):
    upload, line = await written(store, "upload"), await written(store, "line")
    upload.append(LARGE)
    await gate.entered()
    full = failing(errno.EIO, "sync", "log/")

    def fault(operation: str, name: str) -> OSError | None:
        gate(operation, name)
        return full(operation, name)

    disk.fault = fault
    line.append(b"lost")
    with pytest.raises(StoreStopped):
        await line.wait_durable(4)
    closing = asyncio.create_task(store.close())
    closed, _ = await asyncio.wait({closing}, timeout=0.2)
    assert not closed
    assert Inside(store).parts.content.fd(upload.stream.number) is not None
    gate.open()
    await closing

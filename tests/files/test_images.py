"""The order of a round: what is durable before the catalog says that the log is no longer needed."""

import asyncio
import errno
import sqlite3

import pytest
from tests.files.disks import FaultyDisk, Gate, failing, until, written

from loom.store.files import FilesStore
from loom.store.files.testing import Inside
from loom.store.places import GAP
from loom.testing.tools import COMPLETE, stored


@pytest.fixture
def events(store: FilesStore, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the writes and flushes of content files, and the checkpoints of the catalog, in order."""
    events: list[str] = []
    catalog = Inside(store).parts.catalog
    store_rows = catalog.store

    def record(operation: str, name: str) -> None:
        if name.startswith("content/000/000/0"):
            events.append(operation)

    def record_checkpoint(*changes, checkpoint=None, **more):
        if checkpoint is not None:
            events.append("checkpoint")
        store_rows(*changes, checkpoint=checkpoint, **more)

    disk.fault = record
    monkeypatch.setattr(catalog, "store", record_checkpoint)
    return events


async def test_content_is_flushed_before_the_catalog_stores_the_checkpoint(store, events):
    writer = await written(store, "a")
    for _ in range(3):
        writer.append(b"bytes")
        await writer.wait_durable(writer.accepted)
        events.clear()
        await Inside(store).checkpoint()
        assert [each for each in events if each != "open"][-3:] == ["write", "sync", "checkpoint"]


async def test_no_checkpoint_covers_bytes_that_could_not_be_written(store, disk, starter):
    disk.fault = failing(errno.EMFILE, "write", "content/", times=1_000_000)
    await written(store, "a", b"only in the log", COMPLETE)
    inside = Inside(store)
    reached = inside.reached
    for _ in range(3):
        inside.request_checkpoint()
        await inside.wait_round()
        assert inside.reached == reached
    disk.fault = lambda operation, name: None
    await inside.checkpoint()
    again = await starter()
    assert await stored(again, "a") == b"only in the log"


async def test_a_flush_that_lacks_a_descriptor_makes_no_checkpoint(store, monkeypatch):
    inside = Inside(store)
    await written(store, "a", b"bytes")
    reached = inside.reached

    def lacking() -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(inside.parts.content, "sync_all", lacking)
        inside.request_checkpoint()
        await inside.wait_round()
        assert inside.reached == reached
    await inside.checkpoint()
    assert inside.reached > reached


async def test_rows_that_the_catalog_could_not_store_are_stored_by_the_next_round(store, monkeypatch):
    inside = Inside(store)
    store_rows, left = inside.parts.catalog.store, 2

    def full(*changes, **more):
        nonlocal left
        left -= 1
        if left >= 0:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        store_rows(*changes, **more)

    await inside.checkpoint()
    monkeypatch.setattr(inside.parts.catalog, "store", full)
    writer = await written(store, "a", b"bytes", COMPLETE)
    reached = inside.reached
    inside.request_checkpoint()
    while left > 0:
        await inside.wait_round()
        assert inside.reached == reached
    await inside.checkpoint()
    rows = await asyncio.to_thread(inside.parts.catalog.rows, [writer.stream.number])
    assert [info.id for info in rows.values()] == ["a"]


async def test_a_close_during_a_round_stores_the_places_that_the_next_round_counts(disk, starter):
    store = await starter(segment_size=4 << 20)
    inside = Inside(store)
    writer = await written(store, "a")
    end_of_round = Gate(disk, "free", "")
    inside.request_checkpoint()
    await end_of_round.entered()
    line, count = b"1234567\n", 3 * GAP // 8
    for _ in range(0, count, 1000):
        writer.append(line * 1000)
        await writer.wait_durable(writer.accepted)
    await writer.close(COMPLETE)
    closing = asyncio.create_task(store.close())
    await until(lambda: inside.closing)
    end_of_round.open()
    await closing
    again = await starter()
    assert (await again.place(writer.key, count)).line > count // 2

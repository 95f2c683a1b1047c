"""Failing disks: what stops the store, what ends one stream, and what the others notice."""

import asyncio
import errno
import os
import time

import pytest
from tests.files.disks import SEGMENT, FaultyDisk, QuickDisk, failing, start, until, written

from loom.errors import (
    Busy,
    LoomError,
    StorageFull,
    StoreStopped,
    StreamDamaged,
    StreamFailed,
    StreamNotFound,
)
from loom.jobs.digests import Digests
from loom.jobs.scrub import Scrub
from loom.model import NewStream, Patch, State
from loom.store.files.content import content_name
from loom.store.files.disk import FlushFailed
from loom.store.files.testing import Inside
from loom.streams.hub import Hub
from loom.streams.service import Service
from loom.testing.tools import COMPLETE, follow, losses, outcomes, stored, watch

LARGE = SEGMENT // 4


async def every(*waiting):
    """Return the error of each; each has to raise one."""
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, LoomError) for result in results), results
    return results


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_log_that_cannot_be_written_or_flushed_stops_the_store(disk, starter, operation, number):
    store = await starter()
    writer = await written(store, "a", b"kept")
    other = await written(store, "b", b"kept too")
    done = await written(store, "done", b"complete", COMPLETE)
    reader = await follow(store, writer.key)
    watcher = watch(store)
    lost = losses(other)
    stopped = asyncio.create_task(store.wait_stopped())
    disk.fault = failing(number, operation, "log/")
    writer.append(b" - lost")
    waiting = [
        writer.wait_durable(writer.accepted),
        other.close(COMPLETE),
        store.create(NewStream(id="c")),
        store.create(NewStream(id="b"), replace=True),
        store.delete(done.key),
        store.resume(writer.key, 4),
    ]
    await every(*waiting)
    error = await stopped
    assert isinstance(error, StoreStopped)
    assert not store.health().ready
    assert store.health().detail == str(error)
    assert reader.data == b""
    assert len(reader.errors) == len(await lost.wait_count(1)) == 1
    assert watcher.events == []
    await every(
        store.info("a"), store.create(NewStream(id="d")), store.open(writer.key), writer.wait_for_room()
    )
    with pytest.raises(LoomError):
        writer.append(b"more")
    again = await starter()
    for id, kept in {"a": b"kept", "b": b"kept too", "done": b"complete"}.items():
        content = await stored(again, id)
        assert content.startswith(kept)
    assert (await again.info("done")).state is State.COMPLETE


@pytest.mark.parametrize("batches", [1, 3, 8])
async def test_a_stopped_store_writes_no_checkpoint_past_what_it_wrote(disk, starter, batches):
    store = await starter()
    writer = await store.create(NewStream(id="a"))
    sent = b""
    for index in range(batches):
        sent += bytes([index]) * 1000
        writer.append(bytes([index]) * 1000)
        await writer.wait_durable(len(sent))
    disk.fault = failing(errno.EIO, "sync", "log/")
    writer.append(b"x")
    with pytest.raises(FlushFailed):
        await writer.wait_durable(len(sent) + 1)
    again = await starter()
    assert (await stored(again, "a"))[: len(sent)] == sent


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_images_that_cannot_be_written_stop_the_store_and_the_log_keeps_everything(
    disk, starter, operation, number
):
    store = await starter()
    writer = await written(store, "a", b"x" * 3000)
    disk.fault = failing(number, operation, "content/", times=1000)
    Inside(store).request_checkpoint()
    await store.wait_stopped()
    await every(writer.wait_durable(4000), store.create(NewStream(id="b")))
    disk.fault = failing(0, "-")
    again = await starter()
    assert await stored(again, "a") == b"x" * 3000


async def test_producers_waiting_for_space_in_the_log_are_notified_when_images_fail(disk, starter):
    """The committer waits for a checkpoint that is never reached."""
    store = await starter()
    writers = [await store.create(NewStream(id=f"{index}")) for index in range(8)]
    disk.fault = failing(errno.EIO, "sync", "content/", times=1000)

    async def fill(writer):
        while True:
            writer.append(b"x" * 4000)
            await writer.wait_durable(writer.accepted)

    await every(*map(fill, writers))
    assert isinstance(await store.wait_stopped(), StoreStopped)
    await store.close()
    assert not Inside(store).changing


async def test_a_full_disk_ends_the_streams_that_grow_and_nothing_else(disk, starter):
    store = await starter()
    small, large, idle = [await written(store, id, b"first ") for id in ("small", "large", "idle")]
    done = await written(store, "done", b"complete", COMPLETE)
    Inside(store).request_checkpoint()
    await until(lambda: small.stream.filed == 6)
    lost = losses(small)
    disk.fault = failing(errno.ENOSPC, "write", "content/", times=1 << 30)
    small.append(b"into the log")
    large.append(b"y" * LARGE)
    with pytest.raises(StreamFailed, match="could not be stored further: No space left on device"):
        await large.wait_durable(large.accepted)
    await small.wait_durable(small.accepted)
    assert isinstance((await lost.wait_count(1))[0], StreamFailed)
    await until(lambda: small.stream.info.state.final and large.stream.info.state.final)
    for id in ("small", "large"):
        info = await store.info(id)
        assert (info.state, info.reason) == (State.ABORTED, "not stored: No space left on device")
    with pytest.raises(StorageFull):
        await store.create(NewStream(id="new"))
    assert store.health().ready
    assert await stored(store, "small") == b"first into the log"
    assert await stored(store, "large") == b"first "
    assert (await idle.close(COMPLETE)).state is State.COMPLETE
    await store.delete(done.key)
    with pytest.raises(StreamNotFound):
        await store.info("done")
    disk.fault = failing(0, "-")
    await until(lambda: not store.full)
    await written(store, "new", b"z" * LARGE, COMPLETE)
    again = await starter()
    assert await stored(again, "small") == b"first into the log"
    assert await stored(again, "large") == b"first "
    assert await stored(again, "new") == b"z" * LARGE


async def test_a_full_disk_and_a_full_log_end_producers_and_leave_room_for_ends_and_deletes(disk, starter):
    """Everything in the log waits for space in content files, so no segment can be released."""
    store = await starter()
    idle = [await written(store, f"idle {index}", b"kept") for index in range(20)]
    await until(lambda: all(writer.stream.filed == 4 for writer in idle))
    disk.fault = failing(errno.ENOSPC, "write", "content/", times=1 << 30)
    kept = {}

    async def fill(id):
        writer = await store.create(NewStream(id=id))
        kept[id] = 0
        while True:
            writer.append(b"x" * 1000)
            kept[id] = await writer.wait_durable(writer.accepted)

    await every(*(fill(f"{index}") for index in range(10)))
    for index, writer in enumerate(idle):
        if index % 2:
            await store.delete(writer.key)
        else:
            assert (await writer.close(COMPLETE)).size == 4
    await until(lambda: not any(each.writer for each in Inside(store).table.all() if each.info.id in kept))
    for id, size in kept.items():
        # What was accepted last may be stored too, though its producer was lost before the acknowledgement.
        assert await stored(store, id) in (b"x" * size, b"x" * (size + 1000))
        await store.delete((await store.info(id)).key)
    assert store.health().ready
    disk.fault = failing(0, "-")
    await until(lambda: not store.full)
    await written(store, "after", b"y" * LARGE, COMPLETE)
    again = await starter()
    assert [await stored(again, f"idle {index}") for index in range(0, 20, 2)] == [b"kept"] * 10
    assert await stored(again, "after") == b"y" * LARGE


async def test_deleting_a_stream_while_its_bytes_fail_succeeds(disk, store):
    writer = await written(store, "a", b"first")
    disk.fault = failing(errno.ENOSPC, "write", "content/")
    writer.append(b"x" * LARGE)
    await store.delete(writer.key)
    with pytest.raises(StreamNotFound):
        await store.info("a")
    await until(lambda: Inside(store).in_flight == 0)


@pytest.mark.parametrize("offset", [0, 5])
async def test_a_takeover_while_bytes_fail_leaves_the_stream_aborted(disk, store, offset):
    writer = await written(store, "a", b"first")
    disk.fault = failing(errno.ENOSPC, "write", "content/")
    writer.append(b"x" * LARGE)
    taken, errors = await outcomes(store.resume(writer.key, offset))
    await until(lambda: writer.stream.info.state.final)
    assert len(taken) + len(errors) == 1
    assert writer.stream.writer is None
    for other in taken:
        with pytest.raises(StreamFailed):
            other.append(b"more")
    assert (await store.info("a")).size == 5
    assert await stored(store, "a") == b"first"


async def test_too_little_space_or_inodes_refuse_new_streams(disk, starter):
    for option in ("min_free_bytes", "min_free_inodes"):
        store = await starter(**{option: 1 << 60})
        await until(lambda: store.full)  # noqa: B023
        with pytest.raises(StorageFull):
            await store.create(NewStream(id="a"))
    store = await starter()
    writer = await written(store, "a", b"x", Patch(state=State.OPEN, deadline=5000))
    store = await starter(min_free_bytes=1 << 60)
    await until(lambda: store.full)
    with pytest.raises(StorageFull):
        await store.resume(writer.key, 1)
    assert (await store.info("a")).state is State.OPEN
    await store.delete(writer.key)


async def test_the_ballast_is_released_on_a_full_disk_and_reserved_again(disk, store):
    ballast = disk.root / "ballast"
    await until(lambda: ballast.exists() and ballast.stat().st_size == SEGMENT // 2)
    writer = await written(store, "a", b"x")
    disk.fault = failing(errno.ENOSPC, "write", "content/", times=1 << 30)
    Inside(store).request_checkpoint()
    await until(lambda: not ballast.exists())
    disk.fault = failing(0, "-")
    await until(lambda: ballast.exists() and ballast.stat().st_size == SEGMENT // 2)
    assert writer.stream.info.state is State.ABORTED


@pytest.mark.parametrize("how", ["cut", "removed"])
@pytest.mark.parametrize("size", [100, LARGE])
async def test_a_content_file_changed_from_outside_ends_its_stream_only(disk, starter, how, size):
    store = await starter()
    writer, other = await written(store, "a", b"0123456789"), await written(store, "b", b"fine")
    Inside(store).request_checkpoint()
    await until(lambda: writer.stream.filed == 10)
    path = disk.root / content_name(writer.stream.number)
    await asyncio.to_thread(path.unlink if how == "removed" else lambda: os.truncate(path, 4))
    writer.append(b"x" * size)
    await asyncio.gather(writer.wait_durable(10 + size), return_exceptions=True)
    Inside(store).request_checkpoint()
    await until(lambda: writer.stream.info.state.final)
    info = await store.info("a")
    assert (info.state, info.reason) == (State.ABORTED, "not stored: stored bytes are missing")
    if how == "cut":  # who has a removed file open still reads it
        with pytest.raises(StreamDamaged):
            await stored(store, "a")
    other.append(b" and more")
    await other.close(COMPLETE)
    store = await starter()
    with pytest.raises(StreamDamaged):
        await stored(store, "a")
    assert (await store.info("a")).state is State.ABORTED
    assert await stored(store, "b") == b"fine and more"


@pytest.mark.parametrize("state", [State.OPEN, State.INTERRUPTED, State.COMPLETE])
@pytest.mark.parametrize("how", ["cut", "removed"])
async def test_damage_found_at_the_start_is_reported_and_never_written_over(disk, starter, state, how):
    store = await starter()
    writer = await written(store, "a", b"0123456789", Patch(state=state, deadline=5000))
    await written(store, "b", b"fine", COMPLETE)
    await store.close()
    path = disk.root / content_name(writer.stream.number)
    await asyncio.to_thread(path.unlink if how == "removed" else lambda: os.truncate(path, 4))
    store = await starter()
    info = await store.info("a")
    # A start does not check streams at rest, so that its time does not depend on them. Reads fail instead.
    assert info.state is (State.ABORTED if state is State.INTERRUPTED else state)
    assert info.size == 10
    with pytest.raises(StreamDamaged):
        await stored(store, "a")
    assert await stored(store, "b") == b"fine"


async def test_a_wrong_byte_in_an_extent_of_the_log_is_damage(disk, starter):
    store = await starter()
    writer = await written(store, "a", b"x" * LARGE)
    path = disk.root / content_name(writer.stream.number)
    disk.fault = failing(errno.EIO, "sync", "log/")
    writer.append(b"y")
    await store.wait_stopped()
    await store.close()
    with path.open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"?")
    store = await starter()
    info = await store.info("a")
    assert (info.state, info.reason) == (State.ABORTED, "stored bytes are damaged")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_without_descriptors_opening_is_busy_and_nothing_is_lost(disk, starter, number):
    store = await starter()
    writer = await written(store, "a", b"first")
    done = await written(store, "done", b"z" * 100, COMPLETE)
    Inside(store).request_checkpoint()
    await until(lambda: done.stream.filed == 100)
    await asyncio.to_thread(Inside(store).parts.content.close)
    disk.fault = failing(number, "open", "", times=1 << 30)
    with pytest.raises(Busy):
        await store.open(done.key)
    writer.append(b", second")
    await writer.wait_durable(13)
    Inside(store).request_checkpoint()
    await asyncio.sleep(0.2)
    assert store.health().ready
    other = await store.create(NewStream(id="b"))
    await other.close(COMPLETE)
    disk.fault = failing(0, "-")
    assert await stored(store, "done") == b"z" * 100
    await writer.close(COMPLETE)
    again = await starter()
    assert await stored(again, "a") == b"first, second"


async def test_after_any_single_failure_everything_promised_is_recovered(folder, clock):
    """Each kind of failure happens at each of the first operations of a load."""
    for operation in ("open", "write", "sync"):
        for number in (errno.EIO, errno.ENOSPC, errno.EMFILE):
            await asyncio.gather(
                *(
                    one_failure(folder / f"{operation} {number} {turn}", operation, number, turn)
                    for turn in range(0, 30, 3)
                )
            )


async def one_failure(root, operation, number, turn):
    disk = FaultyDisk(root)
    store = await start(disk)
    count = 0

    def fault(asked, name):
        nonlocal count
        count += asked == operation
        return OSError(number, os.strerror(number)) if asked == operation and count == turn else None

    disk.fault = fault
    promised = {}
    for index in range(8):
        id, data = f"{index}", bytes([index]) * (100 if index % 2 else LARGE)
        try:
            writer = await store.create(NewStream(id=id))
            promised[id] = b""
            writer.append(data)
            await writer.wait_durable(len(data))
            promised[id] = data
            await writer.close(COMPLETE)
        except LoomError:
            pass
        if index == 4:
            Inside(store).request_checkpoint()
    await store.close()
    assert not Inside(store).changing
    again = await start(QuickDisk(root))
    for id, data in promised.items():
        assert (await stored(again, id))[: len(data)] == data
    assert await asyncio.to_thread(lambda: Inside(again).parts.recovered.damaged) == []
    await again.close()


async def test_producers_are_ended_before_the_disk_is_full(disk, starter):
    store = await starter(min_free_bytes=1)
    service = Service(store, Hub(store), time.time, Digests(store), Scrub(store, interval=1, rate=1))
    producer = await service.create(NewStream(id="a"))
    await producer.take(b"some")
    disk.free = lambda: (0, None)
    await until(lambda: store.full)
    with pytest.raises(StorageFull):
        await producer.take(b" more")
    with pytest.raises(StorageFull):
        await service.create(NewStream(id="b"))
    info = await store.info("a")
    assert (info.state, info.reason, info.size) == (State.ABORTED, "size limit", 4)
    assert await stored(store, "a") == b"some"
    await service.delete("a")

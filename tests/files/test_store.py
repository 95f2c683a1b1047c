"""The files store from inside: races of its threads with the loop, cancelled callers, leftovers."""

import asyncio
import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.files.disks import SEGMENT, Gate, QuickDisk, failing, start, until, written

from loom.errors import LoomError, StoreStopped, StreamExists, StreamFinal, StreamGone, StreamNotFound
from loom.model import Info, NewStream, Patch, Query, State
from loom.store.files import FilesStore
from loom.store.files.batch import most_bytes, records_of
from loom.store.files.content import content_name
from loom.store.files.listing import Lists
from loom.store.files.queries import CatalogReader
from loom.store.files.records import encode
from loom.store.files.stream import Op
from loom.store.files.testing import Inside
from loom.store.files.writer import FilesWriter
from loom.store.places import LinePlace
from loom.testing.tools import COMPLETE, INTERRUPTED, OPEN, collect, follow, ids, stored, watch

LARGE = SEGMENT // 4


async def rest(store: FilesStore) -> None:
    """Wait until nothing is under way, and only live streams are in memory."""
    await Inside(store).checkpoint()
    await until(lambda: Inside(store).at_rest)


# Cancelled callers.


async def give_up(call: Callable[[], Awaitable[object]], turns: int) -> bool:
    """Call, and cancel after so many turns of the loop; return False if the call had ended by then."""
    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        await asyncio.gather(task, return_exceptions=True)
        return False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return True


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_creation_leaves_nothing_or_an_interrupted_stream(disk, store, turns, replace):
    old = await written(store, "a", b"old") if replace else None
    cancelled = await give_up(lambda: store.create(NewStream(id="a"), replace=replace), turns)
    await Inside(store).wait_changes()
    if cancelled:
        streams = [(info.key, info.state) async for info in store.find(Query())]
        if old and streams[0][0] == old.key:
            assert streams == [(old.key, State.LIVE)]
        else:
            assert [state for _, state in streams] in ([], [State.INTERRUPTED])
    new = await store.create(NewStream(id="a"), replace=True)
    await new.close(COMPLETE)
    await rest(store)


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_takeover_leaves_the_stream_resumable(store, turns):
    first = await written(store, "a", b"first")
    first.append(b" more")
    await give_up(lambda: store.resume(first.key, 10), turns)
    await Inside(store).wait_changes()
    info = await store.info("a")
    assert info.state in (State.LIVE, State.INTERRUPTED)
    second = await store.resume(first.key, 10)
    second.append(b"!")
    assert (await second.close(COMPLETE)).size == 11
    assert await stored(store, "a") == b"first more!"
    await rest(store)


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_creation_does_not_end_a_later_producer(disk, store, turns):
    gate = Gate(disk, "sync", "log/")
    creating = asyncio.ensure_future(store.create(NewStream(id="a")))
    takers: list[asyncio.Future[FilesWriter]] = []

    async def take_over(key: str) -> FilesWriter:
        for _ in range(turns):
            await asyncio.sleep(0)
        taken: FilesWriter = await store.resume(key, 0)
        return taken

    watching = store.watch(lambda change: takers.append(asyncio.ensure_future(take_over(change.info.key))))
    await gate.entered()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    gate.open()
    await until(lambda: bool(takers))
    watching.close()
    second = await takers[0]
    await Inside(store).wait_changes()
    second.append(b"fine")
    assert (await second.close(COMPLETE)).size == 4


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("change", ["close", "change", "delete"])
async def test_a_cancelled_change_is_applied_wholly_or_not_at_all(store, turns, change):
    writer = await written(store, "a", b"first")
    writer.append(b" second")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "close": lambda: writer.close(COMPLETE),
        "change": lambda: store.change(writer.key, Patch(metadata="1"), version=1),
        "delete": lambda: store.delete(writer.key),
    }
    await give_up(calls[change], turns)
    await Inside(store).wait_changes()
    try:
        info = await store.info("a")
    except StreamNotFound:
        assert change == "delete"
    else:
        assert (info.state, info.version) in ((State.LIVE, 1), (State.LIVE, 2), (State.COMPLETE, 2))
        if info.state is State.LIVE:
            await writer.close(COMPLETE)
        assert await stored(store, "a") == b"first second"
    await rest(store)


@pytest.mark.parametrize("held", [False, True])
async def test_a_cancelled_open_leaves_nothing_open(disk, store, held):
    writer = await written(store, "a", b"first", COMPLETE)
    await rest(store)
    await asyncio.to_thread(Inside(store).parts.content.close)
    before = len(os.listdir("/proc/self/fd"))
    gate = Gate(disk, "open", "content/")
    opening = asyncio.ensure_future(store.open(writer.key))
    if held:
        await gate.entered()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    gate.open()
    await until(lambda: not Inside(store).parts.content.pinned)
    assert Inside(store).at_rest
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the file itself, kept for the next
    assert await stored(store, "a") == b"first"


# Creations, replacements and deletions at once.


@pytest.mark.parametrize("seed", range(3))
async def test_concurrent_replacements_and_deletions_of_one_id_have_one_order(starter, seed):
    store = await starter()
    chance = random.Random(seed)
    watcher = watch(store)

    async def act():
        try:
            writer = await store.create(NewStream(id="a"), replace=chance.random() < 0.8)
            writer.append(b"x" * chance.choice([1, 1, 1, LARGE]))
            if chance.random() < 0.3:
                await writer.close(COMPLETE)
            if chance.random() < 0.3:
                await store.delete(writer.key)
        except (StreamExists, StreamGone, StreamNotFound):
            pass

    await asyncio.gather(*(act() for _ in range(60)))
    assert store.health().ready
    present: set[str] = set()
    for change in watcher.events:
        if change.kind == "created":
            assert present == set()
            present.add(change.info.key)
        elif change.kind == "deleted":
            present.remove(change.info.key)
    assert [info.key async for info in store.find(Query())] == list(present)
    await Inside(store).checkpoint()
    store = await starter()
    assert [info.key async for info in store.find(Query())] == list(present)
    numbers = {int(key.split("-")[0], 16) for key in present}
    files = {path.name for path in (Inside(store).parts.disk.root / "content").rglob("*") if path.is_file()}
    assert files <= {f"{number:09x}" for number in numbers}


@pytest.mark.parametrize("size", [100, LARGE])
@pytest.mark.parametrize("replace", [False, True])
async def test_a_stream_is_deleted_while_its_bytes_are_written_and_read(disk, store, size, replace):
    writer = await written(store, "a", b"x" * 5000)
    content = await store.open(writer.key)
    reader = await follow(store, writer.key)
    gate = Gate(disk, "sync", "log/" if size == 100 else "content/")
    writer.append(b"y" * size)
    await gate.entered()
    writer.append(b"z" * size)
    gone = asyncio.ensure_future(
        store.create(NewStream(id="a"), replace=True) if replace else store.delete(writer.key)
    )
    await asyncio.sleep(0)
    gate.open()
    await gone
    with pytest.raises(StreamGone):
        writer.append(b"late")
    assert isinstance(await reader.wait_error(), StreamGone)
    shown = b"x" * 5000 + reader.data
    Inside(store).request_checkpoint()
    await until(lambda: not Inside(store).catalog_lags)
    assert await collect(content, 0, len(shown)) == shown
    content.close()
    await rest(store)
    assert not (disk.root / content_name(1)).exists()


# Reading while images are written.


async def test_bytes_read_while_their_image_is_written_are_right_at_every_boundary(disk, store):
    chunks = [bytes([index]) * size for index, size in enumerate((1, 7, 64, 3), start=1)]
    writer = await written(store, "a")
    whole = b""
    async with await store.open(writer.key) as content:

        async def check() -> None:
            for begin in range(len(whole) + 1):
                for end in range(begin, len(whole) + 1, 5):
                    assert await collect(content, begin, end) == whole[begin:end]

        for chunk in chunks:
            gate = Gate(disk, "write", "content/")
            whole += chunk
            writer.append(chunk)
            await writer.wait_durable(len(whole))
            await check()
            Inside(store).request_checkpoint()
            await gate.entered()
            whole += b"-"
            writer.append(b"-")
            await writer.wait_durable(len(whole))
            await check()
            gate.open()
            await Inside(store).checkpoint()
            assert content.filed == len(whole)
            await check()


async def test_a_large_write_overtakes_an_image_of_earlier_bytes(disk, store):
    writer = await written(store, "a", b"small")
    gate = Gate(disk, "write", "content/")
    Inside(store).request_checkpoint()
    await gate.entered()
    writer.append(b"L" * LARGE)
    await asyncio.sleep(0.05)
    gate.open()
    await writer.wait_durable(5 + LARGE)
    writer.append(b"small again")
    await writer.wait_durable(writer.accepted)
    await Inside(store).checkpoint()
    assert await stored(store, "a") == b"small" + b"L" * LARGE + b"small again"
    assert await asyncio.to_thread((disk.root / content_name(1)).read_bytes) == await stored(store, "a")


async def test_a_content_opened_before_its_first_image_reads_the_file_later(disk, store):
    Inside(store).keep_no_file_open()
    writer = await written(store, "a", b"first")
    content = await store.open(writer.key)
    await Inside(store).checkpoint()
    assert content.filed == 5
    assert await collect(content, 0, 5) == b"first"
    content.close()
    await writer.close(COMPLETE)
    await rest(store)


# What the catalog does not have yet.


async def test_no_stale_stream_is_visible_while_the_catalog_is_written(disk, store):
    """After a read a final stream is forgotten, but not before the catalog has its row."""
    done, gone = await written(store, "done", b"x"), await written(store, "gone", b"x")
    other = await written(store, "other")
    await Inside(store).checkpoint()
    await done.close(COMPLETE)
    fresh = await written(store, "fresh", b"", COMPLETE)
    await store.delete(gone.key)
    gate = Gate(disk, "write", "content/")
    other.append(b"holds the image up")
    Inside(store).request_checkpoint()
    await gate.entered()
    for _ in range(2):
        assert (await store.info("done")).state is State.COMPLETE
        assert await stored(store, "done") == b"x"
        assert (await store.info("fresh")).key == fresh.key
        with pytest.raises(StreamNotFound):
            await store.info("gone")
        seen = {info.id: info.state async for info in store.find(Query())}
        assert seen == {"fresh": State.COMPLETE, "other": State.LIVE, "done": State.COMPLETE}
    gate.open()
    await rest(store)
    assert (await store.info("done")).state is State.COMPLETE


class ReadingLate(ThreadPoolExecutor):
    """Delays the result of the first read until `meanwhile` has run."""

    def __init__(self, meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__(1)
        self._meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = meanwhile
        self._loop = asyncio.get_running_loop()

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(self._late, fn, *args, **kwargs)

    def _late(self, fn, *args, **kwargs):
        read = fn(*args, **kwargs)
        if meanwhile := self._meanwhile:
            self._meanwhile = None
            asyncio.run_coroutine_threadsafe(meanwhile(), self._loop).result(30)
        return read


@pytest.mark.parametrize("change", ["end", "delete"])
async def test_a_listing_shows_no_row_that_was_read_before_memory_forgot_the_stream(store, change):
    writer = await written(store, "a", b"x")
    await Inside(store).checkpoint()

    async def meanwhile() -> None:
        await (writer.close(COMPLETE) if change == "end" else store.delete(writer.key))
        await rest(store)
        assert Inside(store).table.all() == []

    with ReadingLate(meanwhile) as threads:
        lists = Lists(Inside(store).table, Inside(store).parts.catalog.path, threads)
        assert [info.state async for info in lists.find(Query())] == [State.COMPLETE] * (change == "end")


@pytest.mark.parametrize("blocked", ["page", "places"])
async def test_listings_contents_and_the_index_do_not_wait_for_each_other(store, monkeypatch, blocked):
    writer = await written(store, "a", b"x\n", COMPLETE)
    opened = threading.Event()
    call = getattr(CatalogReader, blocked)

    def held(*args):
        opened.wait()
        return call(*args)

    async def listing() -> list[str]:
        return await ids(store)

    async def places() -> list[LinePlace]:
        found: list[LinePlace] = await store.places(writer.key, (1, 10), 10)
        return found

    monkeypatch.setattr(CatalogReader, blocked, held)
    slow, other = (listing, places) if blocked == "page" else (places, listing)
    many = [asyncio.ensure_future(slow()) for _ in range(8)]
    try:
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
            assert await stored(store, "a") == b"x\n"
            await other()
        assert not any(each.done() for each in many)
    finally:
        opened.set()
    await asyncio.gather(*many)


async def test_a_checkpoint_covers_no_commit_that_has_not_been_applied(disk, store):
    """The committer may be a cycle ahead of the loop; no image has what it wrote then."""
    writer = await written(store, "a", b"first")
    await Inside(store).checkpoint()
    writer.append(b"second")
    while Inside(store).queued:  # noqa: ASYNC110
        await asyncio.sleep(0)
    applied, log = Inside(store).applied, Inside(store).parts.log
    while log.lsn == applied:
        time.sleep(0.001)  # the loop is blocked: the commit is durable and not yet shown
    assert Inside(store).image_lsn() == applied < log.lsn
    await writer.wait_durable(11)
    await Inside(store).checkpoint()


async def test_streams_at_rest_are_in_the_catalog_only_and_found_again(starter):
    store = await starter()
    keys = {}
    for index in range(50):
        writer = await written(store, f"{index}", b"%d" % index, COMPLETE if index % 5 else OPEN)
        keys[f"{index}"] = writer.key
    await rest(store)
    assert not Inside(store).table.all()
    for id, key in keys.items():
        if (await store.info(id)).state.final:
            with pytest.raises(StreamFinal):
                await store.resume(key, 1)
    assert not Inside(store).table.all()
    for key in keys.values():
        (await follow(store, key)).following.close()
    assert not Inside(store).table.all()
    for index in range(50):
        assert (await store.info(f"{index}")).key == keys[f"{index}"]
        assert await stored(store, f"{index}") == b"%d" % index
        reader = await follow(store, keys[f"{index}"])
        reader.following.close()
        if index % 5:
            with pytest.raises(StreamFinal):
                await store.resume(keys[f"{index}"], 1)
            with pytest.raises(StreamFinal):
                await store.change(keys[f"{index}"], Patch(state=State.ABORTED), version=2)
            with pytest.raises(StreamExists):
                await store.create(NewStream(id=f"{index}"))
        for key in (keys[f"{index}"][:-1], keys[f"{index}"] + "0", "ffffffffffffffffffff-0"):
            with pytest.raises(StreamNotFound):
                await store.open(key)
    await rest(store)
    assert not Inside(store).table.all()
    for key in keys.values():
        await store.delete(key)
    await rest(store)
    assert Inside(store).table.all() == []


async def test_a_stream_that_ended_before_its_image_could_be_written_is_forgotten_after_it(disk, store):
    writer = await written(store, "a", b"x" * 100)
    disk.fault = failing(errno.EMFILE, "open", "content/", times=1 << 30)
    await writer.close(COMPLETE)
    Inside(store).request_checkpoint()
    await until(lambda: Inside(store).table.caught_up_times > 0 and not Inside(store).table.ahead)
    disk.fault = failing(0, "-")
    await rest(store)
    assert Inside(store).table.all() == []
    assert await stored(store, "a") == b"x" * 100


# The order within a cycle.


async def test_an_end_follows_all_bytes_of_its_cycle(starter):
    store = await starter()
    writers = [await store.create(NewStream(id=f"{index}")) for index in range(30)]
    for index, writer in enumerate(writers):
        writer.append(b"x" * (1000 + 400 * index))
    infos = await asyncio.gather(*(writer.close(COMPLETE) for writer in writers))
    assert [info.size for info in infos] == [1000 + 400 * index for index in range(30)]
    store = await starter()
    for index in range(30):
        assert len(await stored(store, f"{index}")) == 1000 + 400 * index


texts = st.text(max_size=60)


@given(st.builds(Info, key=st.just("f" * 20), id=texts, epoch=st.integers(1, 1 << 40),
                 state=st.sampled_from(State), reason=texts, metadata=texts, content_type=texts,
                 created=st.floats(0, 1e12), deadline=st.floats(0, 1e12)))  # fmt: skip
def test_an_operation_takes_no_more_of_the_log_than_estimated(info):
    loop = asyncio.new_event_loop()
    op = Op(None, info, None, loop.create_future(), size=1 << 62)  # type: ignore[arg-type]
    op.stream = type("Stream", (), {"number": 1 << 50})()
    assert sum(len(part) for record in records_of(op) for part in encode(record)) <= most_bytes(op)
    loop.close()


async def test_thousands_of_creations_of_the_largest_size_fit_into_the_log(starter):
    store = await starter(segment_size=4 * SEGMENT)
    new = [
        NewStream(id="\U0001f600" * 250 + f"{index}", metadata='"' * 4000, content_type="é" * 2000)
        for index in range(100)
    ]
    await asyncio.gather(*map(store.create, new))
    assert store.health().ready


# The end.


async def test_closing_ends_producers_accepts_nothing_more_and_may_be_repeated(disk, starter):
    store = await starter()
    writer = await written(store, "a", b"first")
    writer.append(b" second")
    gate = Gate(disk, "sync", "log/")
    creating = [asyncio.ensure_future(store.create(NewStream(id=f"c{index}"))) for index in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.gather(store.close(), store.close())
    await gate.entered()
    with pytest.raises(StoreStopped):
        await store.create(NewStream(id="late"))
    gate.open()
    await closing
    await store.close()
    for made in await asyncio.gather(*creating, return_exceptions=True):
        assert isinstance(made.lost if isinstance(made, FilesWriter) else made, StoreStopped)
    assert isinstance(writer.lost, StoreStopped)
    disk.fault = failing(0, "-")
    store = await starter()
    assert await stored(store, "a") == b"first second"
    states = {info.state async for info in store.find(Query())}
    assert states == {State.INTERRUPTED}


async def test_a_closed_and_reopened_store_leaks_no_descriptor_thread_or_task(folder):
    import threading

    before = len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks())
    for index in range(3):
        store = await start(QuickDisk(folder / "data"))
        writer = await written(store, f"{index}", b"x" * 1000)
        content = await store.open(writer.key)
        await store.close()
        content.close()
        await until(lambda: threading.active_count() <= before[1] + 4)  # asyncio.to_thread keeps some
    assert len(os.listdir("/proc/self/fd")) == before[0]
    assert len(asyncio.all_tasks()) == before[2]


# Without flushes.


async def test_without_flushes_a_killed_process_loses_nothing(disk, folder, starter):
    store = await starter(durability="os")

    def no_file_is_flushed(operation: str, name: str) -> OSError | None:
        stored = name.startswith(("log/", "content/")) and (disk.root / name).is_file()
        return OSError(5, name) if operation == "sync" and stored else None

    disk.fault = no_file_is_flushed
    assert store.health().durability == "os"
    writers = [await written(store, f"{index}", b"x" * size) for index, size in enumerate((10, LARGE, 500))]
    await writers[2].close(COMPLETE)
    await asyncio.to_thread(shutil.copytree, disk.root, folder / "copy")
    disk.fault = failing(0, "-")
    copy = await start(QuickDisk(folder / "copy"))
    for index, size in enumerate((10, LARGE, 500)):
        assert await stored(copy, f"{index}") == b"x" * size
    await copy.close()


@pytest.mark.parametrize("durability", ["os", "disk"])
async def test_without_flushes_the_log_ends_at_a_hole_and_the_store_starts(disk, folder, starter, durability):
    """A power loss may leave a later commit and not an earlier one."""
    store = await starter(durability="os")
    gate = Gate(disk, "write", "content/")
    await written(store, "early", b"x" * 100, INTERRUPTED)
    hole = Inside(store).parts.log.end
    for index in range(5):
        await written(store, f"{index}", b"y" * 100)
    await asyncio.to_thread(shutil.copytree, disk.root, folder / "copy")
    gate.open()
    with (folder / "copy/log/000").open("r+b") as file:
        file.seek(hole + 20)
        file.write(bytes(40))
    copy = await start(QuickDisk(folder / "copy"), durability=durability)
    assert [info.id async for info in copy.find(Query())] == ["early"]
    assert await stored(copy, "early") == b"x" * 100
    await written(copy, "new", b"z", COMPLETE)
    await copy.close()
    copy = await start(QuickDisk(folder / "copy"))
    assert [info.id async for info in copy.find(Query())] == ["new", "early"]
    await copy.close()


async def test_one_error_reaches_every_waiter(store, disk):
    writer = await written(store, "a")
    disk.fault = failing(5, "sync", "log/")
    writer.append(b"x")
    waiting = await asyncio.gather(*(writer.wait_durable(1) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(error, LoomError) for error in waiting)


async def test_space_is_free_once_a_deleted_stream_has_no_reader(store, disk):
    writer = await store.create(NewStream(id="a"))
    writer.append(b"x" * LARGE)
    await writer.close(COMPLETE)
    content = await store.open(writer.key)
    fd = content.fileno()
    assert fd is not None
    await store.delete(writer.key)
    await until(lambda: not os.path.exists(disk.root / content_name(1)))
    assert os.fstat(fd).st_size == LARGE
    assert await collect(content, 0, LARGE) == b"x" * LARGE
    content.close()
    await until(lambda: Inside(store).parts.content.fd(1) is None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)

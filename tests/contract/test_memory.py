"""Nothing is reported before it is durable: tests that hold commits back in the memory store."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from loom.errors import Fenced, OffsetMismatch, StoreStopped, StreamExists, StreamGone, StreamNotFound
from loom.model import NewStream, Patch, State
from loom.store.memory import MemoryStore
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    ManualClock,
    Reader,
    follow,
    ids,
    losses,
    stored,
    stream,
    watch,
)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


async def asked(ask: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Return a task that has run as far as it can without a commit."""
    task = asyncio.create_task(ask)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_bytes_are_neither_shown_nor_acknowledged_before_they_are_durable(store: MemoryStore):
    writer = await stream(store, "a", b"shown ")
    reader = await follow(store, writer.key)
    with store.held():
        writer.append(b"held")
        flushed = await asked(writer.wait_durable(10))
        assert not flushed.done()
        assert (writer.accepted, writer.durable) == (10, 6)
        assert (await store.info("a")).size == 6
        assert await stored(store, "a") == b"shown "
        assert reader.events == []
        late = await follow(store, writer.key)
        assert late.following.info.size == 6
    assert await flushed == 10
    assert reader.data == late.data == b"held"


async def test_stream_is_not_found_before_its_creation_is_durable(store: MemoryStore):
    watcher = watch(store)
    with store.held():
        first = await asked(store.create(NewStream(id="a")))
        second = await asked(store.create(NewStream(id="a")))
        assert not first.done()
        assert not second.done()
        with pytest.raises(StreamNotFound):
            await store.info("a")
        assert await ids(store) == []
        assert watcher.events == []
    assert (await first).key == (await store.info("a")).key
    with pytest.raises(StreamExists):
        await second


async def test_end_is_not_shown_before_it_is_durable(store: MemoryStore):
    writer = await stream(store, "a", b"bytes")
    reader, watcher = await follow(store, writer.key), watch(store)
    with store.held():
        closed = await asked(writer.close(COMPLETE))
        assert not closed.done()
        assert (await store.info("a")).state is State.LIVE
        assert not reader.events
        assert not watcher.events
    assert (await closed).state is State.COMPLETE
    assert reader.states == [State.COMPLETE]


async def test_stream_is_found_until_its_deletion_is_durable(store: MemoryStore):
    writer = await stream(store, "a", b"bytes")
    reader, lost = await follow(store, writer.key), losses(writer)
    with store.held():
        deleted = await asked(store.delete(writer.key))
        assert not deleted.done()
        assert await stored(store, "a") == b"bytes"
        assert await ids(store) == ["a"]
        assert reader.events == lost.events == []
    await deleted
    assert [type(error) for error in (*reader.errors, *lost.events)] == [StreamGone] * 2


async def test_replacement_shows_the_old_stream_until_it_is_durable(store: MemoryStore):
    old = await stream(store, "a", b"old")
    reader = await follow(store, old.key)
    with store.held():
        replaced = await asked(store.create(NewStream(id="a"), replace=True))
        assert (await store.info("a")).key == old.key
        old.append(b" still")
        assert reader.events == []
    assert (await replaced).replaced
    assert reader.data == b" still"
    assert isinstance(reader.events[-1], StreamGone)


async def test_change_is_not_seen_before_it_is_durable(store: MemoryStore):
    writer = await stream(store, "a")
    before = await store.info("a")
    with store.held():
        changed = await asked(store.change(writer.key, Patch(metadata="1"), version=before.version))
        assert await store.info("a") == before
    info = await changed
    assert await store.info("a") == info
    assert info.metadata == "1"


async def test_fenced_writer_appends_no_more_even_before_the_takeover_is_durable(store: MemoryStore):
    old = await stream(store, "a", b"one ")
    with store.held():
        old.append(b"two ")
        taken = await asked(store.resume(old.key, 8))
        assert not taken.done()
        with pytest.raises(Fenced):
            old.append(b"slipped in")
    writer = await taken
    assert (writer.accepted, writer.durable) == (8, 8)
    assert await stored(store, "a") == b"one two "


async def test_wrong_offset_is_answered_once_the_right_one_is_durable(store: MemoryStore):
    old = await stream(store, "a", b"one ")
    with store.held():
        old.append(b"two ")
        taken = await asked(store.resume(old.key, 4))
        assert not taken.done()
    with pytest.raises(OffsetMismatch) as error:
        await taken
    assert error.value.offset == 8


async def test_wait_for_room_waits_until_bytes_are_durable(clock: ManualClock):
    store = MemoryStore(clock, writer_bound=100, total_bound=150)
    full, other = [await store.create(NewStream(id=id)) for id in ("a", "b")]
    with store.held():
        full.append(b"x" * 100)
        await other.wait_for_room()
        waiting = [await asked(full.wait_for_room())]
        other.append(b"x" * 50)
        waiting.append(await asked(other.wait_for_room()))
        assert [task.done() for task in waiting] == [False, False]
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("cancelled", ["create", "resume"])
async def test_caller_cancelled_before_the_commit_leaves_the_stream_interrupted(
    store: MemoryStore, clock: ManualClock, cancelled: str
):
    old = await stream(store, "resumed", b"", INTERRUPTED)
    with store.held():
        ask = store.create(NewStream(id="new")) if cancelled == "create" else store.resume(old.key, 0)
        task = await asked(ask)
        task.cancel()
        await asyncio.wait([task])
    await stream(store, "later")
    info = await store.info("new" if cancelled == "create" else "resumed")
    assert (info.state, info.deadline) == (State.INTERRUPTED, clock.time + 30.0)


async def test_commit_applies_changes_in_the_order_of_their_submission(store: MemoryStore):
    writer = await stream(store, "a", b"", INTERRUPTED)
    with store.held():
        resumed = await asked(store.resume(writer.key, 0))
        deleted = await asked(store.delete(writer.key))
        created = await asked(store.create(NewStream(id="a")))
        refused = await asked(store.create(NewStream(id="a")))
    with pytest.raises(StreamGone):
        (await resumed).append(b"x")
    await deleted
    assert not (await created).replaced
    with pytest.raises(StreamExists):
        await refused


@pytest.mark.parametrize("end", ["change", "delete", "close"])
async def test_bytes_appended_in_a_callback_of_the_commit_that_ends_their_writer_are_kept(
    store: MemoryStore, end: str
):
    class Forwarding(Reader):
        def on_bytes(self, offset: int, data: bytes) -> None:
            super().on_bytes(offset, data)
            writer.append(data)

    first, writer = await stream(store, "first"), await stream(store, "second")
    reader = await follow(store, writer.key)
    await follow(store, first.key, Forwarding())
    asks = {
        "change": lambda: store.change(writer.key, ABORTED, version=1),
        "delete": lambda: store.delete(writer.key),
        "close": store.close,
    }
    with store.held():
        first.append(b"bytes")
        ended = await asked(asks[end]())
    await ended
    assert (writer.accepted, writer.durable) == (5, 5)
    assert reader.data == b"bytes"


async def test_failed_store_notifies_all_users_and_shows_nothing_more(store: MemoryStore):
    writer = await stream(store, "a", b"durable ")
    reader, lost = await follow(store, writer.key), losses(writer)
    stopped = await asked(store.wait_stopped())
    with store.held():
        writer.append(b"never durable")
        asks = [
            await asked(ask)
            for ask in (
                writer.wait_durable(writer.accepted),
                store.create(NewStream(id="b")),
                store.change(writer.key, ABORTED, version=1),
                store.delete(writer.key),
                writer.close(COMPLETE),
                store.close(),
            )
        ]
        store.fail("The disk is broken.")
    answers = await asyncio.gather(*asks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreStopped] * 5 + [type(None)]
    assert str(await stopped) == "The disk is broken."
    assert [type(event) for event in reader.events] == [StoreStopped]
    assert [type(error) for error in lost.events] == [StoreStopped]
    assert writer.durable == 8
    assert (store.health().ready, store.health().detail) == (False, "The disk is broken.")
    with pytest.raises(StoreStopped):
        await store.info("a")
    await store.close()

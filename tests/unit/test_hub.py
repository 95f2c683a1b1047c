import asyncio
import os

import pytest
from tests.unit.stores import TestStore, created, fed, settled

from loom.errors import Busy, StoreStopped, StreamGone, StreamNotFound
from loom.model import Patch, State
from loom.streams.hub import CHUNK, CHUNK_COST, Hub
from loom.testing.tools import ManualClock


@pytest.fixture
async def store() -> TestStore:
    return TestStore(ManualClock(1_000_000.0))


@pytest.fixture
async def hub(store: TestStore) -> Hub:
    return Hub(store)


def lines(count: int, size: int = 10) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


async def test_every_follower_takes_the_object_that_the_store_passed(store: TestStore, hub: Hub):
    writer = await created(store)
    one, two = await hub.attach(writer.key), await hub.attach(writer.key)
    line = os.urandom(100)
    await fed(writer, line)
    assert one is two
    assert one.take(0) is line
    assert two.take(0) is line


async def test_tail_begins_at_the_durable_size_and_holds_no_older_byte(store: TestStore, hub: Hub):
    writer = await created(store, data=b"old")
    tail = await hub.attach(writer.key)
    await fed(writer, b"new")
    assert (tail.start, tail.end) == (3, 6)
    assert tail.take(0) is None
    assert tail.take(2) is None
    assert tail.take(3) == b"new"
    assert tail.take(5) == b"w"


async def test_lagging_follower_gets_small_chunks_joined_up_to_the_limit(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    chunks = lines(10)
    await fed(writer, *chunks)
    everything = b"".join(chunks)
    assert tail.take(0) == everything
    assert tail.take(0, 35) == everything[:30]
    assert tail.take(13, 35) == everything[13:40], "up to the last whole chunk within the limit"
    assert tail.take(13, 1) == everything[13:20], "at least the rest of one chunk"
    assert tail.take(20, 1) is chunks[2]
    assert tail.take(90) is chunks[9]


async def test_a_long_commit_is_split_once_for_all_followers(store: TestStore):
    hub = Hub(store, tail_limit=4 * CHUNK)
    writer = await created(store)
    tail = await hub.attach(writer.key)
    data = os.urandom(CHUNK * 2 + 10)
    await fed(writer, data)
    first = tail.take(0)
    assert first == data[:CHUNK]
    assert tail.take(0) is first
    assert tail.take(CHUNK) == data[CHUNK : 2 * CHUNK]
    assert tail.take(2 * CHUNK) == data[2 * CHUNK :]


async def test_tail_keeps_its_newest_bytes_within_its_limit(store: TestStore):
    hub = Hub(store, tail_limit=3 * (10 + CHUNK_COST))
    writer = await created(store)
    tail = await hub.attach(writer.key)
    chunks = lines(5)
    await fed(writer, *chunks)
    assert (tail.start, tail.end) == (20, 50)
    assert tail.take(10) is None
    assert tail.take(20) == b"".join(chunks[2:])
    assert hub.statistics().held == 3 * (10 + CHUNK_COST)


async def test_a_chunk_longer_than_the_limit_is_not_kept(store: TestStore):
    hub = Hub(store, tail_limit=100)
    writer = await created(store)
    tail = await hub.attach(writer.key)
    await fed(writer, b"x" * 101)
    assert (tail.start, tail.end) == (101, 101)
    assert hub.statistics().held == 0
    await fed(writer, b"y")
    assert tail.take(101) == b"y"


async def test_longest_quiet_tail_pays_for_the_budget_first(store: TestStore):
    hub = Hub(store, budget=4 * (10 + CHUNK_COST))
    writers = [await created(store, id) for id in "abc"]
    a, b, c = [await hub.attach(writer.key) for writer in writers]
    await fed(writers[0], *lines(2))
    await fed(writers[1], *lines(2))
    await fed(writers[0], *lines(1))  # now b has been quiet longest
    await fed(writers[2], *lines(1))
    assert [tail.start for tail in (a, b, c)] == [0, 20, 0]
    await fed(writers[2], *lines(2))
    assert [tail.start for tail in (a, b, c)] == [20, 20, 0]
    assert hub.statistics().held == 4 * (10 + CHUNK_COST)


async def test_bytes_wake_every_follower_once_with_all_bytes_since(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    seen: list[bytes | None] = []

    async def follow() -> None:
        await tail.wait_for_bytes(0)
        seen.append(tail.take(0))

    followers = [asyncio.create_task(follow()) for _ in range(3)]
    await settled()
    tail.on_bytes(0, b"one")
    tail.on_bytes(3, b"two")
    await asyncio.gather(*followers)
    assert seen == [b"onetwo"] * 3


async def test_wait_for_bytes_returns_immediately_if_there_are_some(store: TestStore, hub: Hub):
    writer = await created(store, data=b"abc")
    tail = await hub.attach(writer.key)
    await tail.wait_for_bytes(2)
    waiting = asyncio.create_task(tail.wait_for_bytes(5))
    await fed(writer, b"d", b"e")
    await settled()
    assert not waiting.done(), "there are bytes up to offset 5, and none at it"
    await fed(writer, b"f")
    await waiting


@pytest.mark.parametrize("state", [State.COMPLETE, State.ABORTED])
async def test_end_of_the_stream_wakes(store: TestStore, hub: Hub, state: State):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    waiting = asyncio.create_task(tail.wait_for_bytes(0))
    await settled()
    await writer.close(Patch(state=state))
    await waiting
    assert tail.ended
    assert tail.info.state is state


async def test_interruption_does_not_end_a_tail(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    waiting = asyncio.create_task(tail.wait_for_bytes(0))
    await writer.close(Patch(state=State.INTERRUPTED))
    await settled()
    assert not waiting.done()
    assert tail.info.state is State.INTERRUPTED
    await fed(await store.resume(writer.key, 0), b"back")
    await waiting
    assert tail.take(0) == b"back"


async def test_delete_and_stop_wake_with_their_error(store: TestStore, hub: Hub):
    a, b = [await hub.attach((await created(store, id)).key) for id in "ab"]
    waiting = [asyncio.create_task(tail.wait_for_bytes(0)) for tail in (a, b)]
    await store.delete(a.key)
    store.fail("the disk is gone")
    await asyncio.gather(*waiting)
    assert isinstance(a.error, StreamGone)
    assert isinstance(b.error, StoreStopped)


async def test_cancelled_waiter_does_not_disturb_the_others(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    leaving, staying = [asyncio.create_task(tail.wait_for_bytes(0)) for _ in range(2)]
    await settled()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert len(tail._waiters) == 1
    await fed(writer, b"x")
    await staying
    assert not tail._waiters


async def test_listener_is_called_for_bytes_changes_and_the_end(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    heard: list[tuple[int, bool]] = []
    tail.listeners.add(lambda tail: heard.append((tail.end, tail.ended)))
    await fed(writer, b"x")
    await writer.close(Patch(state=State.COMPLETE))
    assert heard == [(1, False), (1, True)]


async def test_two_attaching_at_once_share_one_subscription(store: TestStore, hub: Hub):
    writer = await created(store)
    store.gate.clear()
    both = [asyncio.create_task(hub.attach(writer.key)) for _ in range(2)]
    await settled()
    store.gate.set()
    one, two = await asyncio.gather(*both)
    assert one is two
    assert store.follow_calls == 1
    hub.detach(one)
    await fed(writer, b"still fed")
    assert two.take(0) == b"still fed"
    hub.detach(two)
    assert store.idle
    assert hub.statistics().tails == hub.statistics().held == 0


async def test_attaching_after_all_have_detached_subscribes_again(store: TestStore, hub: Hub):
    writer = await created(store)
    old = await hub.attach(writer.key)
    hub.detach(old)
    await fed(writer, b"unseen")
    new = await hub.attach(writer.key)
    assert new is not old
    assert (new.start, new.end) == (6, 6)


async def test_cancelled_attach_does_not_disturb_the_other(store: TestStore, hub: Hub):
    writer = await created(store)
    store.gate.clear()
    first, second = [asyncio.create_task(hub.attach(writer.key)) for _ in range(2)]
    await settled()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.gate.set()
    tail = await second
    await fed(writer, b"x")
    assert tail.take(0) == b"x"
    hub.detach(tail)
    assert store.idle


async def test_attach_whose_callers_are_all_cancelled_is_undone(store: TestStore, hub: Hub):
    writer = await created(store)
    store.gate.clear()
    attaching = asyncio.create_task(hub.attach(writer.key))
    await settled()
    attaching.cancel()
    await asyncio.gather(attaching, return_exceptions=True)
    store.gate.set()
    await settled()
    assert store.idle
    assert hub.statistics().tails == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_failed_attach_fails_all_callers_and_leaves_nothing(store: TestStore, hub: Hub):
    writer = await created(store)
    store.gate.clear()
    both = [asyncio.create_task(hub.attach(writer.key)) for _ in range(2)]
    await settled()
    store.failure = Busy("Too many open files.")
    store.gate.set()
    for attaching in both:
        with pytest.raises(Busy):
            await attaching
    assert hub.statistics().tails == 0
    store.failure = None
    hub.detach(await hub.attach(writer.key))


async def test_unknown_key_and_deleted_stream_cannot_be_attached(store: TestStore, hub: Hub):
    with pytest.raises(StreamNotFound):
        await hub.attach("unknown")
    tail = await hub.attach((await created(store)).key)
    await store.delete(tail.key)
    with pytest.raises(StreamGone):
        await hub.attach(tail.key)
    hub.detach(tail)
    assert hub.statistics().tails == 0


async def test_bytes_fed_before_the_attach_returns_are_not_lost(store: TestStore, hub: Hub):
    writer = await created(store, data=b"old")
    store.meanwhile = lambda: fed(writer, b"new")
    tail = await hub.attach(writer.key)
    assert (tail.start, tail.end) == (3, 6)
    assert tail.take(3) == b"new"


async def test_closed_hub_ends_every_tail_and_refuses_to_attach(store: TestStore, hub: Hub):
    writer = await created(store)
    tail = await hub.attach(writer.key)
    waiting = asyncio.create_task(tail.wait_for_bytes(0))
    closed: list[bool] = []
    hub.listeners.add(lambda: closed.append(True))
    await settled()
    hub.close(StoreStopped("The server is stopping."))
    await waiting
    assert isinstance(tail.error, StoreStopped)
    assert closed
    with pytest.raises(StoreStopped):
        await hub.attach(writer.key)
    await fed(writer, b"unseen")
    assert tail.end == 0, "no byte becomes visible after that"
    hub.detach(tail)
    assert store.idle

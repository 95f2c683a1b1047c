import asyncio

import pytest
from tests.unit.stores import TestStore, created, settled

from loom.errors import StoreStopped
from loom.model import ChangeKind
from loom.streams.feed import COST, Feed
from loom.testing.tools import ManualClock


@pytest.fixture
async def store() -> TestStore:
    return TestStore(ManualClock(1_000_000.0))


async def ids(feed: Feed, last: str) -> list[str] | None:
    found = await feed.join(last).next()
    return None if found is None else [entry.change.info.id for entry in found]


async def test_the_store_is_watched_from_the_first_consumer_on(store):
    feed = Feed(store)
    await created(store, "before")
    assert store.watchings == 0
    position = feed.join()
    await created(store, "a")
    feed.join()
    assert store.watchings == 1
    (entry,) = await position.next() or []
    assert (entry.change.kind, entry.change.info.id) == (ChangeKind.CREATED, "a")
    feed.close(StoreStopped("over"))
    assert store.watchings == 0


async def test_a_full_ring_drops_the_oldest_and_reports_the_loss_once(store):
    feed = Feed(store, budget=3 * (COST + 100))
    position, id = feed.join(), feed.join().id
    for name in "abcd":
        await created(store, name)
    assert await ids(feed, id or "") is None
    assert await position.next() is None
    assert position.id is not None
    await created(store, "e")
    assert await ids(feed, position.id) == ["e"]
    numbers = [f"{position.id.partition(':')[0]}:{number}" for number in range(1, 7)]
    assert [await ids(feed, each) for each in numbers[:4]] == [None, ["c", "d", "e"], ["d", "e"], ["e"]]
    assert await ids(feed, numbers[5]) is None


async def test_a_change_larger_than_the_ring_is_not_kept(store):
    feed = Feed(store, budget=COST)
    position = feed.join()
    await created(store, "a")
    assert await position.next() is None


async def test_closing_wakes_all_consumers(store):
    feed = Feed(store)
    waiting = [asyncio.create_task(feed.join().next()) for _ in range(3)]
    await settled()
    feed.close(StoreStopped("over"))
    assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {StoreStopped}
    with pytest.raises(StoreStopped):
        feed.join()

"""What a store holds: exact at every moment, whatever memory and disk have told each other."""

from tests.contract.conftest import Reopening
from tests.contract.tools import NOT_LIVE, found, stream

from loom.model import NewStream, State
from loom.store.base import Store


async def check(store: Store) -> None:
    infos = await found(store)
    usage = await store.usage()
    assert usage.streams == {state: sum(info.state is state for info in infos) for state in State}
    assert usage.size == sum(info.size for info in infos)


async def test_usage_is_what_a_listing_adds_up_to(store: Store):
    await check(store)
    for round in range(3):
        for patch in [None, *NOT_LIVE]:
            await stream(store, f"{patch and patch.state}/{round}", b"x" * 10 * round, patch)
            await check(store)
    for info in (await found(store))[::3]:
        await store.delete(info.key)
        await check(store)
    await store.create(NewStream(id="complete/1"), replace=True)
    await check(store)


async def test_usage_stays_right_while_the_catalog_catches_up(store: Store):
    writer = await store.create(NewStream(id="live"))
    for number in range(300):
        await stream(store, f"s/{number}", b"x" * 500, NOT_LIVE[number % len(NOT_LIVE)])
        writer.append(b"y" * 1000)
        await writer.wait_durable(writer.accepted)
        if number % 10 == 0:
            await check(store)


async def test_usage_is_the_same_after_a_start(reopening: Reopening):
    store = reopening.store
    for number in range(20):
        await stream(store, f"s/{number}", b"x" * number, NOT_LIVE[number % len(NOT_LIVE)])
    before = await store.usage()
    for _ in range(2):
        store = await reopening.reopen()
        await check(store)
        usage = await store.usage()
        assert (usage.streams, usage.size) == (before.streams, before.size)

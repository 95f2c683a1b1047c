"""How much a store holds: exact at every moment."""

import pytest

from loom.model import NewStream, Patch, State
from loom.store.base import Store
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import COMPLETE, INTERRUPTED, NOT_LIVE, found, stream


async def check(store: Store) -> None:
    infos = await found(store)
    usage = await store.usage()
    assert usage.streams == {state: sum(info.state is state for info in infos) for state in State}
    assert usage.size == sum(info.size for info in infos)


class UsageTests:
    async def test_usage_is_the_sum_of_a_listing(self, store: Store) -> None:
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

    async def test_usage_stays_right_while_the_catalog_catches_up(self, store: Store) -> None:
        writer = await store.create(NewStream(id="live"))
        for number in range(300):
            await stream(store, f"s/{number}", b"x" * 500, NOT_LIVE[number % len(NOT_LIVE)])
            writer.append(b"y" * 1000)
            await writer.wait_durable(writer.accepted)
            if number % 10 == 0:
                await check(store)

    async def test_size_counts_bytes_from_their_acceptance_until_the_stream_is_deleted(
        self, store: Store
    ) -> None:
        assert (store.size, store.full) == (0, False)
        writer = await store.create(NewStream(id="a"))
        for size in (1, 70_000, 300_000):
            before = store.size
            writer.append(b"x" * size)
            assert store.size == before + size
        await writer.wait_durable(370_001)
        await writer.close(COMPLETE)
        assert store.size == 370_001
        await stream(store, "b", b"12345")
        assert store.size == 370_006
        await store.create(NewStream(id="a"), replace=True)
        assert store.size == 5
        await store.delete((await store.info("b")).key)
        assert store.size == 0

    @pytest.mark.parametrize("patch", [None, COMPLETE, INTERRUPTED])
    async def test_size_does_not_count_bytes_in_flight_of_a_deleted_stream(
        self, store: Store, patch: Patch | None
    ) -> None:
        writer = await store.create(NewStream(id="a"))
        writer.append(b"x" * 300_000)
        if patch:
            await writer.close(patch)
        await store.delete(writer.key)
        await stream(store, "settled", b"123", COMPLETE)
        assert store.size == 3

    async def test_a_takeover_does_not_change_the_size(self, store: Store) -> None:
        writer = await stream(store, "a", b"12345", INTERRUPTED)
        writer = await store.resume(writer.key, 5)
        writer.append(b"678")
        await store.resume(writer.key, 8)
        assert store.size == 8


class DurableUsageTests:
    async def test_usage_is_the_same_after_a_restart(self, reopening: Reopening) -> None:
        store = reopening.store
        for number in range(20):
            await stream(store, f"s/{number}", b"x" * number, NOT_LIVE[number % len(NOT_LIVE)])
        before = await store.usage()
        for _ in range(2):
            store = await reopening.reopen()
            await check(store)
            usage = await store.usage()
            assert (usage.streams, usage.size) == (before.streams, before.size)

    async def test_the_size_is_the_same_after_a_restart(self, reopening: Reopening) -> None:
        store = reopening.store
        await stream(store, "a", b"12345", COMPLETE)
        await stream(store, "b", b"x" * 300_000)
        gone = await stream(store, "c", b"123", COMPLETE)
        store = await reopening.reopen()
        assert store.size == 300_008
        await store.delete(gone.key)
        assert store.size == 300_005
        store = await reopening.reopen()
        assert store.size == 300_005

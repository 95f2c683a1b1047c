"""How much a store holds: exact at every moment."""

import asyncio

import pytest

from loom.errors import StorageFull, StreamExists
from loom.model import Info, NewStream, Patch, State
from loom.store.base import Store
from loom.store.holdings import Holdings, cost, is_open
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import COMPLETE, INTERRUPTED, NOT_LIVE, found, stream


async def check(store: Store) -> None:
    infos = await found(store)
    usage = await store.usage()
    assert usage.streams == {state: sum(info.state is state for info in infos) for state in State}
    assert usage.size == sum(info.size for info in infos)


async def check_holdings(store: Store) -> None:
    """Check the counts against a listing, and against a count from the start."""
    infos, holdings = await found(store), store.holdings
    fresh = Holdings(find={info.id: info for info in infos}.get)
    for info in infos:
        fresh.add(info)
        fresh.change(info, info)
    owners = {info.owner for info in infos} | {"", "a", "b"}
    assert holdings.streams == fresh.streams == len(infos)
    assert holdings.overhead == fresh.overhead == sum(cost(info.metadata) for info in infos)
    opened = {info.id for info in infos if is_open(info)}
    assert holdings.open == len(opened)
    assert holdings.open_or(["new", *(info.id for info in infos)]) == len(infos) + 1
    assert holdings.open_or(opened) == holdings.open_or([]) == len(opened)
    for owner in owners:
        assert holdings.owned(owner) == sum(info.owner == owner for info in infos)
        assert holdings.open_of(owner) == fresh.open_of(owner)
        assert holdings.open_or(opened, owner) == len(opened)


OPEN = Patch(state=State.OPEN, deadline=1e12)


async def owned(store: Store, id: str, owner: str, patch: Patch | None = None, metadata: str = "{}") -> Info:
    writer = await store.create(NewStream(id=id, owner=owner, metadata=metadata), replace=True)
    return await writer.close(patch) if patch else writer.info


class UsageTests:
    async def test_holdings_follow_every_change_of_a_stream(self, store: Store) -> None:
        info = await owned(store, "live", "a", metadata='{"a": 1}')
        await check_holdings(store)
        await store.change(info.key, Patch(metadata='{"longer": "than before"}'), version=info.version)
        for owner in ("a", "b", ""):
            for number, patch in enumerate(NOT_LIVE):
                await owned(store, f"{owner}/{number}", owner, patch)
                await check_holdings(store)
        await owned(store, "open", "a", OPEN)
        await check_holdings(store)
        writer = await store.resume((await store.info("open")).key, 0)
        await check_holdings(store)
        await writer.close(Patch(state=State.OPEN, deadline=1e12, metadata='{"n": 1}'))
        await check_holdings(store)
        await owned(store, "open", "b", COMPLETE)
        await check_holdings(store)
        for info in await found(store):
            await store.delete(info.key)
            await check_holdings(store)
        assert (store.holdings.streams, store.holdings.overhead) == (0, 0)

    async def test_a_limit_enforced_by_admit_is_met_exactly_by_creations_at_once(self, store: Store) -> None:
        def admit(old: Info | None) -> None:
            if store.holdings.streams >= 3:
                raise StorageFull("three are enough")

        made = [store.create(NewStream(id=f"s/{number}"), admit=admit) for number in range(8)]
        outcomes = await asyncio.gather(*made, return_exceptions=True)
        assert sum(isinstance(each, StorageFull) for each in outcomes) == 5
        assert len(await found(store)) == 3
        await check_holdings(store)

    async def test_admit_receives_what_is_replaced_and_changes_nothing_if_it_refuses(
        self, store: Store
    ) -> None:
        seen: list[str | None] = []

        def admit(old: Info | None) -> None:
            seen.append(f"{old.key} {old.size}" if old else None)
            raise StorageFull("never")

        writer = await stream(store, "a", b"12345", COMPLETE)
        with pytest.raises(StreamExists):
            await store.create(NewStream(id="a"), admit=admit)
        for id in ("a", "b"):
            with pytest.raises(StorageFull, match="never"):
                await store.create(NewStream(id=id), replace=True, admit=admit)
        assert seen == [f"{writer.key} 5", None]
        assert [info.key for info in await found(store)] == [writer.key]
        await check_holdings(store)

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
    async def test_holdings_are_the_same_after_a_restart(self, reopening: Reopening) -> None:
        store = reopening.store
        for number, patch in enumerate([*NOT_LIVE, OPEN, OPEN]):
            await owned(store, f"s/{number}", "ab"[number % 2], patch, '{"text": "some"}')
        info = await owned(store, "live", "a")
        await store.change(info.key, Patch(metadata='{"longer": 1}'), version=1)
        before = store.holdings.streams
        for _ in range(2):
            store = await reopening.reopen()
            assert store.holdings.streams == before
            await check_holdings(store)
        for info in await found(store):
            await store.delete(info.key)
        await owned(store, "s/1", "b", OPEN)
        store = await reopening.reopen()
        await check_holdings(store)
        assert store.holdings.open_of("b") == store.holdings.open_or(["s/1"], "b") == 1

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

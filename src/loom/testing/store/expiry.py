"""How long streams are kept: from their end on, and never before it."""

import asyncio
from typing import Any

import pytest

from loom.errors import StreamFinal
from loom.model import Addition, Framing, NewStream, Patch, State
from loom.store.base import Store
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import ABORTED, COMPLETE, NOT_LIVE, OPEN, ManualClock, collect, stream


async def ended(store: Store, id: str, patch: Patch | None = COMPLETE, **new: Any) -> str:
    """Create a stream, close it with `patch` unless that is None, and return its key."""
    writer = await store.create(NewStream(id=id, **new))
    if patch:
        await writer.close(patch)
    return writer.key


async def over(store: Store, now: float) -> list[str]:
    infos = await store.expired(now)
    assert infos == [await store.info(info.id) for info in infos]
    return [info.id for info in infos]


class ExpiryTests:
    @pytest.mark.parametrize("patch", [COMPLETE, ABORTED])
    async def test_a_ttl_counts_from_the_end(self, store: Store, clock: ManualClock, patch: Patch) -> None:
        writer = await store.create(NewStream(id="a", ttl=60.0))
        clock.time += 1000
        assert (await store.info("a")).expires is None
        info = await writer.close(patch)
        assert (info.ttl, info.expires) == (60.0, clock.time + 60)
        assert await over(store, clock.time + 59.9) == []
        assert await over(store, clock.time + 60) == ["a"]

    async def test_an_expiry_time_is_kept_as_it_is(self, store: Store, clock: ManualClock) -> None:
        writer = await store.create(NewStream(id="a", expires=clock.time + 60))
        assert writer.info.expires == clock.time + 60
        await writer.close(COMPLETE)
        assert await over(store, clock.time + 59.9) == []
        assert await over(store, clock.time + 60) == ["a"]

    @pytest.mark.parametrize(
        "patch", [None, *(patch for patch in NOT_LIVE if patch.state not in ("complete", "aborted"))]
    )
    async def test_a_stream_that_has_not_ended_never_expires(
        self, store: Store, clock: ManualClock, patch: Patch | None
    ) -> None:
        key = await ended(store, "a", patch, expires=clock.time + 1)
        assert await over(store, 1e12) == []
        version = (await store.info("a")).version
        await store.change(key, ABORTED, version=version)
        assert await over(store, clock.time + 1) == ["a"]

    async def test_a_shared_stream_expires_whatever_its_state(self, store: Store, clock: ManualClock) -> None:
        for id, state in (("open", State.OPEN), ("complete", State.COMPLETE)):
            new = NewStream(id=id, framing=Framing.BYTES, state=state, expires=clock.time + 10)
            await store.put(new)
        await store.put(NewStream(id="kept", framing=Framing.BYTES, state=State.OPEN))
        assert await over(store, clock.time + 9.9) == []
        assert set(await over(store, clock.time + 10)) == {"open", "complete"}

    @pytest.mark.parametrize("state", [State.OPEN, State.COMPLETE])
    async def test_the_deadline_of_a_shared_stream_is_its_time_to_live_and_may_be_moved(
        self, store: Store, clock: ManualClock, state: State
    ) -> None:
        info = await store.put(NewStream(id="a", framing=Framing.JSON, state=state, ttl=10.0))
        begun = clock.time
        assert info.deadline == begun + 10
        if state is State.OPEN:
            clock.time += 1
            close = Patch(state=State.COMPLETE)
            info = await store.append(info.key, [], lambda *_: Addition(data=[b"x"], patch=close))
        assert (info.state, info.deadline, info.expires) == (State.COMPLETE, begun + 10, None)
        assert await store.due(begun + 9.9) == await store.expired(1e12) == []
        assert await store.due(begun + 10) == [info]
        info = await store.change(info.key, Patch(deadline=begun + 20), version=info.version)
        assert (await store.info("a")).deadline == info.deadline == begun + 20
        assert await store.due(begun + 19.9) == []
        assert await store.due(begun + 20) == [info]

    async def test_no_other_stream_has_a_deadline_that_moves_after_its_end(self, store: Store) -> None:
        writer = await stream(store, "a", b"x", COMPLETE)
        for new in (NewStream(id="b", framing=Framing.BYTES, state=State.COMPLETE), None):
            key = (await store.put(new)).key if new else writer.key
            version = 1 if new else 2
            with pytest.raises(StreamFinal):
                await store.change(key, Patch(deadline=1e6), version=version)

    async def test_the_earliest_expire_first_and_others_never(self, store: Store, clock: ManualClock) -> None:
        for seconds in (30.0, 10.0, 20.0, 40.0):
            await ended(store, f"in {seconds}", ttl=seconds)
        await ended(store, "at 15", expires=clock.time + 15)
        await ended(store, "for ever")
        await ended(store, "for ever too", ttl=0.0)
        assert await over(store, clock.time + 30) == ["in 10.0", "at 15", "in 20.0", "in 30.0"]
        assert await over(store, 1e12) == ["in 10.0", "at 15", "in 20.0", "in 30.0", "in 40.0"]

    async def test_deleted_and_replaced_streams_do_not_expire_and_amended_ones_do(
        self, store: Store, clock: ManualClock
    ) -> None:
        for id in ("deleted", "replaced", "amended", "read"):
            await ended(store, id, ttl=1.0)
        info = await store.info("amended")
        await store.change(info.key, Patch(metadata='"exit 0"'), version=info.version)
        await store.delete((await store.info("deleted")).key)
        await store.create(NewStream(id="replaced", ttl=1.0), replace=True)
        async with await store.open((await store.info("read")).key):
            assert sorted(await over(store, clock.time + 1)) == ["amended", "read"]

    async def test_expired_streams_are_returned_some_hundreds_at_a_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        await asyncio.gather(*(ended(store, str(number), ttl=1.0 + number) for number in range(1200)))
        left = set(map(str, range(1200)))
        while left:
            infos = await store.expired(1e9)
            assert 100 <= len(infos) < 1000 or len(infos) == len(left)
            assert [info.id for info in infos] == sorted(left, key=int)[: len(infos)]
            await asyncio.gather(*(store.delete(info.key) for info in infos))
            left -= {info.id for info in infos}
        assert await over(store, 1e9) == []

    async def test_an_open_content_is_readable_after_the_stream_expired(
        self, store: Store, clock: ManualClock
    ) -> None:
        writer = await stream(store, "a", b"bytes" * 1000, COMPLETE)
        content = await store.open(writer.key)
        await store.delete(writer.key)
        assert await collect(content, 0, 5000) == b"bytes" * 1000
        content.close()


class DurableExpiryTests:
    async def test_streams_expire_after_a_restart_too(self, reopening: Reopening, clock: ManualClock) -> None:
        store = reopening.store
        await ended(store, "ended", ttl=60.0)
        await ended(store, "live", None, ttl=60.0)
        await ended(store, "open", OPEN, expires=clock.time + 60)
        ends = clock.time + 60
        clock.time += 10_000
        store = await reopening.reopen()
        assert (await store.info("ended")).expires == ends
        assert await over(store, ends - 0.1) == []
        assert await over(store, clock.time) == ["ended"]
        live = await store.info("live")
        info = await store.change(live.key, Patch(state=State.ABORTED), version=live.version)
        assert info.expires == clock.time + 60

"""The close of a store."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from loom.errors import StoreStopped
from loom.model import NewStream, State
from loom.store.base import Store
from loom.testing.tools import (
    COMPLETE,
    INTERRUPTED,
    ManualClock,
    Reader,
    follow,
    found,
    losses,
    stream,
    wait_settled,
    watch,
)

ASKS: dict[str, Callable[[Store, str], Any]] = {
    "create": lambda store, key: store.create(NewStream(id="new")),
    "replace": lambda store, key: store.create(NewStream(id="a"), replace=True),
    "resume": lambda store, key: store.resume(key, 5),
    "info": lambda store, key: store.info("a"),
    "change": lambda store, key: store.change(key, INTERRUPTED, version=1),
    "delete": lambda store, key: store.delete(key),
    "find": lambda store, key: found(store),
    "due": lambda store, key: store.due(1e9),
    "open": lambda store, key: store.open(key),
    "follow": lambda store, key: store.follow(key, Reader()),
}


class StopTests:
    async def test_store_is_ready_until_it_is_closed(self, store: Store) -> None:
        health = store.health()
        assert health.ready
        assert health.store
        assert health.durability
        assert health.detail == ""
        await store.close()
        health = store.health()
        assert not health.ready
        assert health.detail

    async def test_close_stores_accepted_bytes_and_leaves_live_streams_interrupted(
        self, store: Store, clock: ManualClock
    ) -> None:
        writer = await store.create(NewStream(id="a", resume_window=7.0))
        reader = await follow(store, writer.key)
        writer.append(b"last ")
        writer.append(b"words")
        clock.time += 100
        await store.close()
        assert writer.durable == 10
        assert reader.data == b"last words"
        (info,) = reader.infos
        assert (info.state, info.size, info.deadline) == (State.INTERRUPTED, 10, clock.time + 7.0)
        assert info.reason == "the server stopped"
        assert isinstance(reader.events[-1], StoreStopped)
        assert len(reader.errors) == 1

    async def test_producers_are_notified_that_the_store_was_closed(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        lost = losses(writer)
        done = await stream(store, "b")
        kept = losses(done)
        await done.close(INTERRUPTED)
        await store.close()
        assert [type(error) for error in lost.events] == [StoreStopped]
        assert kept.events == []
        for data in (b"x", b""):
            with pytest.raises(StoreStopped):
                writer.append(data)
        for ask in (writer.wait_for_room(), writer.wait_durable(1), writer.close(COMPLETE)):
            with pytest.raises(StoreStopped):
                await ask
        assert [type(error) for error in losses(writer).events] == [StoreStopped]

    async def test_followers_of_ended_streams_are_not_notified_of_the_stop(self, store: Store) -> None:
        writer = await stream(store, "a")
        reader = await follow(store, writer.key)
        await writer.close(COMPLETE)
        await store.close()
        assert reader.states == [State.COMPLETE]
        assert not reader.errors

    @pytest.mark.parametrize("name", ASKS)
    async def test_closed_store_refuses_every_call(self, store: Store, name: str) -> None:
        writer = await stream(store, "a", b"bytes")
        await store.close()
        with pytest.raises(StoreStopped):
            await ASKS[name](store, writer.key)

    async def test_closed_store_cannot_be_watched(self, store: Store) -> None:
        await store.close()
        with pytest.raises(StoreStopped):
            watch(store)

    async def test_calls_made_before_the_close_are_answered(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes")
        asked = [asyncio.create_task(store.create(NewStream(id=str(number)))) for number in range(5)]
        asked.append(asyncio.create_task(store.resume(writer.key, 5)))
        await asyncio.sleep(0)
        await store.close()
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, StoreStopped)
            else:
                with pytest.raises(StoreStopped):
                    answer.append(b"x")

    async def test_close_may_be_repeated(self, store: Store) -> None:
        await stream(store, "a", b"bytes")
        await asyncio.gather(store.close(), store.close())
        await store.close()

    async def test_close_is_not_a_failure(self, store: Store) -> None:
        stopped = asyncio.create_task(store.wait_stopped())
        await wait_settled(store)
        await store.close()
        await asyncio.sleep(0)
        assert not stopped.done()
        stopped.cancel()

"""Deletion."""

import asyncio

import pytest

from loom.errors import StreamGone, StreamNotFound
from loom.model import NewStream, Patch, State
from loom.store.base import Store
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    NOT_LIVE,
    collect,
    follow,
    ids,
    losses,
    outcomes,
    stored,
    stream,
    wait_settled,
)


class DeleteTests:
    @pytest.mark.parametrize("patch", [None, *NOT_LIVE], ids=lambda patch: patch.state if patch else "live")
    async def test_deleted_stream_is_not_found(self, store: Store, patch: Patch | None) -> None:
        writer = await stream(store, "a", b"bytes", patch)
        await stream(store, "b", b"other", COMPLETE)
        await store.delete(writer.key)
        with pytest.raises(StreamNotFound):
            await store.info("a")
        for ask in (
            store.open(writer.key),
            store.resume(writer.key, 5),
            store.delete(writer.key),
            follow(store, writer.key),
            store.change(writer.key, ABORTED, version=1),
        ):
            with pytest.raises(StreamNotFound):
                await ask
        assert await ids(store) == ["b"]
        assert await store.due(10_000.0) == []
        assert await stored(store, "b") == b"other"

    async def test_deletion_ends_the_writer_and_the_followers(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes")
        lost = losses(writer)
        readers = [await follow(store, writer.key) for _ in range(3)]
        await store.delete(writer.key)
        for reader in readers:
            assert isinstance(await reader.wait_error(), StreamGone)
        with pytest.raises(StreamGone):
            writer.append(b"x")
        with pytest.raises(StreamGone):
            await writer.wait_for_room()
        with pytest.raises(StreamGone):
            await writer.close(COMPLETE)
        await wait_settled(store)
        assert [type(error) for error in lost.events] == [StreamGone]
        assert [reader.events for reader in readers] == [[reader.errors[0]] for reader in readers]

    async def test_followers_of_an_interrupted_stream_are_notified_that_it_was_deleted(
        self, store: Store
    ) -> None:
        writer = await stream(store, "a", b"bytes", INTERRUPTED)
        reader = await follow(store, writer.key)
        await store.delete(writer.key)
        assert isinstance(await reader.wait_error(), StreamGone)

    async def test_bytes_opened_before_stay_readable(self, store: Store) -> None:
        data = bytes(range(256)) * 4096
        writer = await stream(store, "a", data, COMPLETE)
        first, second = [await store.open(writer.key) for _ in range(2)]
        await store.delete(writer.key)
        first.close()
        await stream(store, "a", b"another stream's", COMPLETE)
        assert await collect(second, 0, len(data)) == data
        second.close()

    async def test_deleted_id_can_be_created_again_and_the_old_key_is_not_found(self, store: Store) -> None:
        old = await stream(store, "a", b"old", COMPLETE)
        await store.delete(old.key)
        new = await store.create(NewStream(id="a"))
        assert not new.replaced
        assert new.key != old.key
        assert (await store.info("a")).size == 0
        with pytest.raises(StreamNotFound):
            await store.resume(old.key, 0)
        with pytest.raises(StreamNotFound):
            await store.delete(old.key)
        new.append(b"new")
        await new.close(COMPLETE)
        assert await stored(store, "a") == b"new"

    async def test_of_many_deletions_at_once_exactly_one_deletes(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes")
        done, errors = await outcomes(*(store.delete(writer.key) for _ in range(5)))
        assert (done, [type(error) for error in errors]) == ([None], [StreamNotFound] * 4)

    async def test_deletion_and_replacement_at_once_leave_the_replacement(self, store: Store) -> None:
        for number in range(10):
            old = await stream(store, "a", b"old")
            deleting = asyncio.ensure_future(outcomes(store.delete(old.key)))
            if number % 2:
                await asyncio.sleep(0)
            new = await store.create(NewStream(id="a"), replace=True)
            _, errors = await deleting
            assert new.replaced == bool(errors)
            assert (await store.info("a")).key == new.key
            await store.delete(new.key)

    async def test_close_of_a_deleted_stream_does_not_restore_it(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        writer.append(b"bytes")
        await outcomes(store.delete(writer.key), writer.close(COMPLETE))
        with pytest.raises(StreamNotFound):
            await store.info("a")
        assert await ids(store, states=frozenset(State)) == []

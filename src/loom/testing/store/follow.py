"""Subscriptions to the bytes and states of one stream."""

import asyncio

import pytest

from loom.errors import StreamGone, StreamNotFound
from loom.model import NewStream, Patch, State
from loom.store.base import Following, Store, Writer
from loom.testing.tools import (
    COMPLETE,
    INTERRUPTED,
    NOT_LIVE,
    Piece,
    Reader,
    collect,
    follow,
    stored,
    stream,
    wait_settled,
)


async def append_numbers(writer: Writer, count: int) -> None:
    for number in range(count):
        writer.append(b"%05d\n" % number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        if number % 50 == 0:
            await writer.wait_durable(writer.accepted)


class FollowTests:
    async def test_following_begins_at_the_durable_size(self, store: Store) -> None:
        writer = await stream(store, "a", b"before ")
        reader = await follow(store, writer.key)
        assert reader.following.info == await store.info("a")
        writer.append(b"after")
        await writer.close(COMPLETE)
        await reader.wait_state(State.COMPLETE)
        assert reader.data == b"after"

    async def test_followers_that_join_at_any_time_miss_and_repeat_nothing(self, store: Store) -> None:
        """What is stored before a subscription begins is in the content; the rest is fed."""
        writer = await store.create(NewStream(id="a"))
        appending = asyncio.create_task(append_numbers(writer, 300))
        readers = []
        while not appending.done():
            readers.append(await follow(store, writer.key))
            for _ in range(len(readers) % 4):
                await asyncio.sleep(0)
        await writer.close(COMPLETE)
        everything = await stored(store, "a")
        assert everything == b"".join(b"%05d\n" % number for number in range(300))
        for reader in readers:
            await reader.wait_state(State.COMPLETE)
            assert reader.data == everything[reader.following.info.size :]
        starts = {reader.following.info.size for reader in readers}
        assert len(starts) > 2
        assert starts != {0, len(everything)}

    async def test_one_call_carries_a_whole_commit(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        reader = await follow(store, writer.key)
        for number in range(100):
            writer.append(b"%02d" % number)
        await reader.wait_size(200)
        assert reader.pieces == [Piece(0, b"".join(b"%02d" % number for number in range(100)))]

    async def test_followers_are_notified_of_every_state_after_the_bytes_before_it(
        self, store: Store
    ) -> None:
        writer = await stream(store, "a", b"one ")
        reader = await follow(store, writer.key)
        writer.append(b"two ")
        await writer.close(INTERRUPTED)
        writer = await store.resume(writer.key, 8)
        writer.append(b"three")
        await writer.close(COMPLETE)
        await reader.wait_state(State.COMPLETE)
        assert reader.states == [State.INTERRUPTED, State.LIVE, State.COMPLETE]
        assert [info.size for info in reader.infos] == [8, 8, 13]
        size = 4
        for event in reader.events:
            if isinstance(event, Piece):
                size += len(event.data)
            else:
                assert event == reader.infos[-1] or event in reader.infos
                assert getattr(event, "size", None) == size
        assert reader.data == b"two three"

    async def test_followers_stay_through_a_takeover(self, store: Store) -> None:
        old = await stream(store, "a", b"one ")
        reader = await follow(store, old.key)
        writer = await store.resume(old.key, 4)
        writer.append(b"two")
        await reader.wait_size(7)
        assert reader.data == b"two"
        assert not reader.errors

    async def test_follower_of_a_stream_without_a_producer_waits_for_the_next(self, store: Store) -> None:
        old = await stream(store, "a", b"one ", INTERRUPTED)
        reader = await follow(store, old.key)
        writer = await store.resume(old.key, 4)
        writer.append(b"two")
        await writer.close(COMPLETE)
        await reader.wait_state(State.COMPLETE)
        assert reader.data == b"two"

    @pytest.mark.parametrize("patch", [patch for patch in NOT_LIVE if patch.state and patch.state.final])
    async def test_nothing_follows_a_final_state(self, store: Store, patch: Patch) -> None:
        writer = await stream(store, "a", b"bytes")
        reader = await follow(store, writer.key)
        info = await writer.close(patch)
        await store.delete(writer.key)
        await wait_settled(store)
        assert reader.events == [info]

    async def test_following_a_final_stream_feeds_nothing(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes", COMPLETE)
        reader = await follow(store, writer.key)
        assert reader.following.info == await store.info("a")
        await store.delete(writer.key)
        await wait_settled(store)
        assert reader.events == []
        reader.following.close()

    async def test_nothing_follows_once_a_stream_was_deleted_or_replaced(self, store: Store) -> None:
        old = await stream(store, "a", b"bytes")
        reader = await follow(store, old.key)
        new = await store.create(NewStream(id="a"), replace=True)
        new.append(b"new")
        await new.close(COMPLETE)
        await wait_settled(store)
        (error,) = reader.events
        assert isinstance(error, StreamGone)

    async def test_all_followers_are_fed_the_same(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        readers = [await follow(store, writer.key) for _ in range(10)]
        await append_numbers(writer, 30)
        await writer.close(COMPLETE)
        for reader in readers:
            await reader.wait_state(State.COMPLETE)
            assert reader.data == await stored(store, "a")

    async def test_followers_of_other_streams_are_not_notified(self, store: Store) -> None:
        writer, other = await stream(store, "a"), await stream(store, "b")
        reader = await follow(store, other.key)
        writer.append(b"bytes")
        await writer.close(COMPLETE)
        await store.delete(writer.key)
        await wait_settled(store)
        assert reader.events == []

    async def test_closed_following_is_fed_no_more(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        reader, other = await follow(store, writer.key), await follow(store, writer.key)
        writer.append(b"one")
        await reader.wait_size(3)
        reader.following.close()
        reader.following.close()
        writer.append(b"two")
        await writer.close(COMPLETE)
        await other.wait_state(State.COMPLETE)
        assert reader.events == [Piece(0, b"one")]

    @pytest.mark.parametrize("at", ["grow", "turn", "gone"])
    async def test_following_can_be_closed_while_followers_are_fed(self, store: Store, at: str) -> None:
        """One closes itself and one closes the next: neither is called again, the others are."""

        class Closing(Reader):
            closes: Following | None = None

            def add(self, event: object) -> None:
                super().add(event)  # type: ignore[arg-type]
                if self.closes and self.called(event) == at:
                    self.closes.close()

            def called(self, event: object) -> str:
                return (
                    "grow" if isinstance(event, Piece) else "gone" if isinstance(event, Exception) else "turn"
                )

        writer = await store.create(NewStream(id="a"))
        itself, before, after, last = [await follow(store, writer.key, Closing()) for _ in range(4)]
        assert isinstance(itself, Closing)
        assert isinstance(before, Closing)
        itself.closes, before.closes = itself.following, after.following
        writer.append(b"bytes")
        await writer.wait_durable(5)
        await writer.close(INTERRUPTED)
        await store.delete(writer.key)
        await last.wait_error()
        calls = {"grow": 1, "turn": 2, "gone": 3}[at]
        assert [len(reader.events) for reader in (itself, before, after, last)] == [calls, 3, calls - 1, 3]

    async def test_fed_bytes_can_be_read_immediately(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        reading: list[asyncio.Task[bytes]] = []
        async with await store.open(writer.key) as content:

            class ReadingAtOnce(Reader):
                def on_bytes(self, offset: int, data: bytes) -> None:
                    super().on_bytes(offset, data)
                    reading.append(asyncio.ensure_future(collect(content, offset, offset + len(data))))

            reader = await follow(store, writer.key, ReadingAtOnce())
            for size in (1, 100, 70_000, 300_000, 1):
                writer.append(bytes([size % 251]) * size)
                await writer.wait_durable(writer.accepted)
            await reader.wait_size(writer.accepted)
            assert b"".join(await asyncio.gather(*reading)) == reader.data

    async def test_following_an_unknown_key_is_refused(self, store: Store) -> None:
        for key in ("", "unknown", "0-0"):
            with pytest.raises(StreamNotFound):
                await follow(store, key)

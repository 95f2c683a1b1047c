"""The producer: what is accepted, what is durable, and how a writer ends."""

import asyncio

import pytest

from loom.errors import StreamGone
from loom.model import NewStream, Patch, State
from loom.store.base import Store, Writer
from loom.testing.store.fixtures import Opener
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    NOT_LIVE,
    OPEN,
    ManualClock,
    Reader,
    follow,
    losses,
    stored,
    stream,
    wait_settled,
)


async def wait_for_room(writer: Writer) -> None:
    while True:
        await writer.wait_for_room()
        writer.append(b"x" * 100)


class WriterTests:
    async def test_appended_bytes_are_accepted_at_once_and_durable_after_a_flush(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        writer.append(b"hello ")
        writer.append(b"world")
        assert (writer.accepted, writer.durable) == (11, 0)
        assert (await store.info("a")).size == 0
        assert await writer.wait_durable(11) == 11
        assert (writer.accepted, writer.durable) == (11, 11)
        assert (await store.info("a")).size == 11
        assert await stored(store, "a") == b"hello world"

    async def test_wait_durable_waits_only_for_the_offset_given(self, store: Store) -> None:
        writer = await stream(store, "a", b"12345")
        assert [await writer.wait_durable(offset) for offset in (0, 3, 5)] == [5, 5, 5]
        writer.append(b"6")
        assert await writer.wait_durable(5) >= 5
        assert await writer.wait_durable(6) == 6

    async def test_durable_never_passes_accepted_and_neither_goes_back(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        pairs = [(0, 0)]
        for number in range(300):
            writer.append(b"x" * number)
            if number % 7 == 0:
                await writer.wait_durable(writer.accepted // 2)
            pairs.append((writer.durable, writer.accepted))
        await writer.wait_durable(writer.accepted)
        assert all(durable <= accepted for durable, accepted in pairs)
        assert pairs == sorted(pairs)

    async def test_pieces_of_any_size_are_kept_in_order(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        pieces = [
            bytes([number]) * size for number, size in enumerate([1, 0, 100, 300_000, 7, 1 << 20, 1, 65_536])
        ]
        for piece in pieces:
            writer.append(piece)
            await asyncio.sleep(0)
        await writer.close(COMPLETE)
        assert await stored(store, "a") == b"".join(pieces)

    async def test_appending_no_bytes_changes_nothing(self, store: Store) -> None:
        writer = await stream(store, "a", b"x")
        reader = await follow(store, writer.key)
        before = await store.info("a")
        writer.append(b"")
        assert await writer.wait_durable(writer.accepted) == 1
        await wait_settled(store)
        assert await store.info("a") == before
        assert reader.events == []

    async def test_writers_do_not_mix(self, store: Store) -> None:
        writers = [await store.create(NewStream(id=f"s{number}")) for number in range(20)]
        for turn in range(50):
            for number, writer in enumerate(writers):
                writer.append(f"{number}:{turn};".encode())
            if turn % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*(writer.close(COMPLETE) for writer in writers))
        for number in range(20):
            expected = "".join(f"{number}:{turn};" for turn in range(50))
            assert await stored(store, f"s{number}") == expected.encode()

    async def test_room_waits_while_one_producer_has_too_much_in_flight(self, opener: Opener) -> None:
        store = await opener(writer_bound=100)
        writer, other = [await store.create(NewStream(id=id)) for id in ("a", "b")]
        await writer.wait_for_room()
        writer.append(b"x" * 300)
        await other.wait_for_room()
        await writer.wait_for_room()
        assert writer.accepted - writer.durable < 100
        await store.close()

    async def test_room_waits_while_all_together_have_too_much_in_flight(self, opener: Opener) -> None:
        store = await opener(total_bound=100)
        writers = [await store.create(NewStream(id=id)) for id in ("a", "b", "c")]
        for writer in writers:
            writer.append(b"x" * 50)
        await writers[2].wait_for_room()
        assert sum(writer.accepted - writer.durable for writer in writers) < 100
        await store.close()

    async def test_room_is_released_by_deleted_streams(self, opener: Opener) -> None:
        store = await opener(writer_bound=100, total_bound=300)
        for number in range(10):
            writer = await store.create(NewStream(id=f"s{number}"))
            deleted = asyncio.ensure_future(store.delete(writer.key))
            await asyncio.sleep(0)
            try:
                writer.append(b"x" * 400)
            except StreamGone:
                pass
            await deleted
        writer = await store.create(NewStream(id="last"))
        await writer.wait_for_room()
        await store.close()

    @pytest.mark.parametrize("ask", ["wait_for_room", "wait_durable"])
    async def test_waiting_writer_is_notified_that_its_stream_was_deleted(
        self, opener: Opener, ask: str
    ) -> None:
        store = await opener(writer_bound=100)
        writer = await store.create(NewStream(id="a"))
        deleted = asyncio.ensure_future(store.delete(writer.key))
        waiting = asyncio.ensure_future(
            writer.wait_durable(1) if ask == "wait_durable" else wait_for_room(writer)
        )
        with pytest.raises(StreamGone):
            await waiting
        await deleted
        await store.close()

    @pytest.mark.parametrize("patch", NOT_LIVE, ids=lambda patch: patch.state)
    async def test_close_stores_accepted_bytes_and_then_the_state(
        self, store: Store, clock: ManualClock, patch: Patch
    ) -> None:
        writer = await stream(store, "a", b"some ")
        before = await store.info("a")
        writer.append(b"more ")
        writer.append(b"bytes")
        clock.time += 10
        info = await writer.close(patch)
        assert (info.state, info.reason, info.deadline) == (patch.state, patch.reason, patch.deadline)
        assert info.ended == (clock.time if patch.state in (State.COMPLETE, State.ABORTED) else None)
        assert (info.size, info.epoch, info.created) == (15, before.epoch, before.created)
        assert info.version > before.version
        assert await store.info("a") == info
        assert await stored(store, "a") == b"some more bytes"
        assert (writer.accepted, writer.durable) == (15, 15)

    async def test_close_can_change_the_metadata_too(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a", metadata='"before"'))
        info = await writer.close(Patch(state=State.COMPLETE, metadata='"after"'))
        assert info.metadata == '"after"'
        assert await store.info("a") == info

    async def test_bytes_are_shown_before_the_end(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        reader = await follow(store, writer.key)
        writer.append(b"last words")
        await writer.close(COMPLETE)
        assert (await reader.wait_state(State.COMPLETE)).size == 10
        assert reader.data == b"last words"
        assert reader.events[-1] == await store.info("a")

    async def test_closed_writer_appends_no_more(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        writer.append(b"x")
        closing = asyncio.ensure_future(writer.close(INTERRUPTED))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            writer.append(b"y")
        await closing
        with pytest.raises(RuntimeError):
            writer.append(b"y")
        with pytest.raises(RuntimeError):
            await writer.close(COMPLETE)
        assert await stored(store, "a") == b"x"

    @pytest.mark.parametrize("patch", [Patch(), Patch(state=State.LIVE), Patch(metadata="1")])
    async def test_writer_cannot_close_without_leaving_live(self, store: Store, patch: Patch) -> None:
        writer = await store.create(NewStream(id="a"))
        before = await store.info("a")
        with pytest.raises(ValueError):
            await writer.close(patch)
        assert await store.info("a") == before

    async def test_writer_that_was_closed_is_never_lost(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        lost = losses(writer)
        await writer.close(OPEN)
        (await store.resume(writer.key, 0)).append(b"x")
        await store.create(NewStream(id="a"), replace=True)
        await wait_settled(store)
        assert lost.events == []

    async def test_writer_is_lost_once_and_a_late_callback_runs_at_once(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        early = [losses(writer), losses(writer)]
        await store.delete(writer.key)
        await early[0].wait_count(1)
        late = losses(writer)
        await wait_settled(store)
        assert [[type(error) for error in each.events] for each in (*early, late)] == [[StreamGone]] * 3

    async def test_no_byte_is_shown_before_the_writer_counts_it_as_durable(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        ahead: list[int] = []

        class Checking(Reader):
            def on_bytes(self, offset: int, data: bytes) -> None:
                super().on_bytes(offset, data)
                if writer.durable < offset + len(data):
                    ahead.append(offset)

        reader = await follow(store, writer.key, Checking())
        for number in range(100):
            writer.append(b"x" * number)
            await writer.wait_durable(max(0, writer.accepted - 500))
        await writer.close(ABORTED)
        await reader.wait_state(State.ABORTED)
        assert len(reader.data) == writer.durable
        assert ahead == []

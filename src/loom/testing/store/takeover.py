"""Takeover: a producer is fenced, its bytes are stored, then the offset is compared."""

import asyncio

import pytest

from loom.errors import (
    EpochMismatch,
    Fenced,
    LoomError,
    OffsetMismatch,
    StreamFinal,
    StreamNotFound,
    WriterLost,
)
from loom.model import NewStream, Patch, State
from loom.store.base import Store, Writer
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    OPEN,
    follow,
    losses,
    outcomes,
    stored,
    stream,
    wait_settled,
)


async def append_until_lost(writer: Writer) -> int:
    """Append the offset repeatedly until the writer is lost; return the last one accepted."""
    accepted = writer.accepted
    while True:
        try:
            for _ in range(10):
                writer.append(b"%09d;" % writer.accepted)
                accepted = writer.accepted
        except WriterLost:
            return accepted
        for _ in range(3):  # pauses, in which a takeover finds the right offset
            await asyncio.sleep(0)


class TakeoverTests:
    @pytest.mark.parametrize("patch", [INTERRUPTED, OPEN], ids=lambda patch: patch.state)
    async def test_stream_is_resumed_at_its_end(self, store: Store, patch: Patch) -> None:
        old = await stream(store, "a", b"one ", patch)
        before = await store.info("a")
        writer = await store.resume(old.key, 4)
        info = await store.info("a")
        assert (writer.key, writer.epoch, writer.accepted, writer.durable) == (old.key, info.epoch, 4, 4)
        assert (info.state, info.reason, info.deadline, info.size) == (State.LIVE, "", None, 4)
        assert info.epoch > before.epoch
        assert info.version > before.version
        assert not writer.replaced
        writer.append(b"two")
        await writer.close(COMPLETE)
        assert await stored(store, "a") == b"one two"

    async def test_takeover_announces_a_length_once(self, store: Store) -> None:
        old = await stream(store, "a", b"one ", OPEN)
        writer = await store.resume(old.key, 4, length=7)
        assert (writer.info.length, (await store.info("a")).length) == (7, 7)
        for length in (None, 9):
            writer = await store.resume(old.key, 4, length=length)
            assert (writer.info.length, (await store.info("a")).length) == (7, 7)

    async def test_takeover_of_a_live_stream_fences_its_writer(self, store: Store) -> None:
        old = await stream(store, "a", b"one ")
        lost = losses(old)
        writer = await store.resume(old.key, 4)
        assert writer.epoch > old.epoch
        with pytest.raises(Fenced):
            old.append(b"x")
        with pytest.raises(Fenced):
            await old.wait_for_room()
        with pytest.raises(Fenced):
            await old.wait_durable(5)
        with pytest.raises(Fenced):
            await old.close(COMPLETE)
        writer.append(b"two")
        await writer.wait_durable(7)
        assert await stored(store, "a") == b"one two"
        await wait_settled(store)
        assert [type(error) for error in lost.events] == [Fenced]

    async def test_takeover_waits_for_accepted_bytes(self, store: Store) -> None:
        old = await store.create(NewStream(id="a"))
        for _ in range(100):
            old.append(b"accepted ")
        writer = await store.resume(old.key, 900)
        assert (writer.accepted, writer.durable) == (900, 900)
        assert await stored(store, "a") == b"accepted " * 100

    @pytest.mark.parametrize("offset", [0, 3, 4, 6, 1 << 60])
    async def test_takeover_at_another_offset_fences_no_producer(self, store: Store, offset: int) -> None:
        old = await stream(store, "a", b"123")
        reader = await follow(store, old.key)
        old.append(b"45")
        with pytest.raises(OffsetMismatch) as error:
            await store.resume(old.key, offset)
        assert (error.value.offset, error.value.provided) == (5, offset)
        info = await store.info("a")
        assert (info.state, info.epoch, info.size) == (State.LIVE, old.epoch, 5)
        old.append(b"6")
        assert (await old.close(COMPLETE)).size == 6
        assert (await reader.wait_state(State.COMPLETE)).size == 6
        assert reader.states == [State.COMPLETE]
        assert await stored(store, "a") == b"123456"

    async def test_takeovers_at_the_right_offset_and_at_others_meet(self, store: Store) -> None:
        old = await stream(store, "a", b"12345")
        writers, errors = await outcomes(*(store.resume(old.key, offset) for offset in (4, 5, 6, 0, 7)))
        assert [type(error) for error in errors] == [OffsetMismatch] * 4
        writers[0].append(b"6")
        await writers[0].wait_durable(6)

    @pytest.mark.parametrize("patch", [INTERRUPTED, OPEN], ids=lambda patch: patch.state)
    @pytest.mark.parametrize("offset", [0, 4, 6, 1 << 60])
    async def test_takeover_at_another_offset_returns_the_right_one(
        self, store: Store, patch: Patch, offset: int
    ) -> None:
        old = await stream(store, "a", b"12345", patch)
        with pytest.raises(OffsetMismatch) as error:
            await store.resume(old.key, offset)
        assert error.value.offset == 5
        info = await store.info("a")
        assert info.state is not State.LIVE
        assert info.deadline is not None
        (await store.resume(old.key, 5)).append(b"6")

    async def test_takeover_from_another_epoch_fences_no_producer(self, store: Store) -> None:
        first = await store.create(NewStream(id="a"))
        writer = await store.resume(first.key, 0, epoch=first.epoch)
        before = await store.info("a")
        for epoch in (first.epoch, writer.epoch + 1):
            for offset in (0, 3):
                with pytest.raises(EpochMismatch):
                    await store.resume(first.key, offset, epoch=epoch)
        assert await store.info("a") == before
        writer.append(b"12345")
        await writer.wait_durable(5)
        again = await store.resume(first.key, 5, epoch=writer.epoch)
        assert again.epoch > writer.epoch

    async def test_of_takeovers_from_one_epoch_one_wins(self, store: Store) -> None:
        first = await store.create(NewStream(id="a"))
        done, errors = await outcomes(*(store.resume(first.key, 0, epoch=first.epoch) for _ in range(10)))
        assert len(done) == 1
        assert {type(error) for error in errors} == {EpochMismatch}
        done[0].append(b"1")
        await done[0].wait_durable(1)

    @pytest.mark.parametrize("patch", [COMPLETE, ABORTED], ids=lambda patch: patch.state)
    async def test_final_stream_cannot_be_resumed(self, store: Store, patch: Patch) -> None:
        old = await stream(store, "a", b"bytes", patch)
        before = await store.info("a")
        for offset in (5, 3):
            with pytest.raises(StreamFinal):
                await store.resume(old.key, offset)
        assert await store.info("a") == before
        assert await stored(store, "a") == b"bytes"

    @pytest.mark.parametrize("key", ["", "unknown", "1", "../1", "\x00", "é"])
    async def test_unknown_key_is_not_found(self, store: Store, key: str) -> None:
        await stream(store, "a")
        with pytest.raises(StreamNotFound):
            await store.resume(key, 0)

    async def test_of_many_takeovers_at_once_the_last_one_writes(self, store: Store) -> None:
        first = await stream(store, "a", b"12345")
        writers, errors = await outcomes(*(store.resume(first.key, 5) for _ in range(10)))
        assert not errors
        epochs = [first.epoch, *sorted(writer.epoch for writer in writers)]
        assert len(set(epochs)) == 11
        info = await store.info("a")
        assert info.epoch == epochs[-1]
        for writer in writers:
            if writer.epoch == info.epoch:
                writer.append(b"6")
            else:
                with pytest.raises(Fenced):
                    writer.append(b"x")
        await asyncio.gather(*(writer.wait_durable(6) for writer in writers if writer.epoch == info.epoch))
        assert await stored(store, "a") == b"123456"

    async def test_fenced_writer_never_adds_a_byte(self, store: Store) -> None:
        """However a takeover and appends meet, what was accepted is stored in order, and nothing after it."""
        writer = await store.create(NewStream(id="a"))
        for turn in range(40):
            appending = asyncio.create_task(append_until_lost(writer))
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            taken = None
            while taken is None:
                try:
                    taken = await store.resume(writer.key, writer.accepted)
                except OffsetMismatch:  # it appended meanwhile, and still may
                    assert writer.accepted >= (await store.info("a")).size
            assert await appending == taken.accepted
            writer = taken
        data = await stored(store, "a")
        assert len(data) == writer.accepted
        assert data == b"".join(b"%09d;" % number for number in range(0, len(data), 10))

    @pytest.mark.parametrize("first", ["close", "resume"])
    async def test_of_a_close_and_a_takeover_at_once_one_wins(self, store: Store, first: str) -> None:
        for number in range(10):
            writer = await store.create(NewStream(id=f"s{number}"))
            writer.append(b"bytes")
            asked = [writer.close(COMPLETE), store.resume(writer.key, 5)]
            done, errors = await outcomes(*(asked if first == "close" else asked[::-1]))
            assert len(done) == len(errors) == 1
            state = (await store.info(f"s{number}")).state
            expected: dict[State, type[LoomError]] = {State.COMPLETE: StreamFinal, State.LIVE: Fenced}
            assert type(errors[0]) is expected[state]
            assert await stored(store, f"s{number}") == b"bytes"

    async def test_earlier_close_is_not_lost_to_a_takeover(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        closing = asyncio.create_task(writer.close(COMPLETE))
        await asyncio.sleep(0)
        with pytest.raises(StreamFinal):
            await store.resume(writer.key, 0)
        assert (await closing).state is State.COMPLETE

    @pytest.mark.parametrize("turns", range(5))
    async def test_takeover_whose_caller_is_cancelled_leaves_no_live_stream(
        self, store: Store, turns: int
    ) -> None:
        writer = await stream(store, "a", b"12345", INTERRUPTED)
        reader = await follow(store, writer.key)
        task = asyncio.create_task(store.resume(writer.key, 5))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            return
        await wait_settled(store)
        if State.LIVE in reader.states:
            await reader.wait_state(State.INTERRUPTED)
        info = await store.info("a")
        assert (info.state, info.reason) == (
            State.INTERRUPTED,
            "its producer went away" if State.LIVE in reader.states else "lost",
        )

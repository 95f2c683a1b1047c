"""Creation and replacement."""

import asyncio

import pytest

from loom.errors import StreamExists, StreamGone, StreamNotFound
from loom.ids import check_id
from loom.model import Info, NewStream, Patch, State
from loom.store.base import Store
from loom.testing.tools import (
    COMPLETE,
    NOT_LIVE,
    ManualClock,
    collect,
    follow,
    found,
    ids,
    losses,
    outcomes,
    stored,
    stream,
)

ODD_IDS = [
    "team/build/42",
    "ünïcödé/日本語/🙂",
    "x" * 255,
    "🙂" * 255,
    "..x",
    "x..",
    "a b",
    " ",
    "*",
    ";",
    "%2F",
    "%",
    "'; DROP TABLE streams; --",
    '"',
    "\\",
    "\u2028",
    "-rf",
    "~",
    "\ufeff",
    "con.txt:stream",
]


class CreateTests:
    async def test_created_stream_is_live_empty_and_as_requested(
        self, store: Store, clock: ManualClock
    ) -> None:
        new = NewStream(
            id="a",
            metadata='{"b": 1}',
            content_type="text/plain",
            resume_window=7.5,
            idempotency_key="k",
            length=1 << 40,
        )
        writer = await store.create(new)
        info = await store.info("a")
        assert info == Info(
            key=writer.key,
            id="a",
            epoch=writer.epoch,
            state=State.LIVE,
            metadata='{"b": 1}',
            content_type="text/plain",
            created=clock.time,
            resume_window=7.5,
            idempotency_key="k",
            length=1 << 40,
            version=info.version,
        )
        assert (writer.accepted, writer.durable, writer.replaced) == (0, 0, False)
        assert await found(store) == [info]

    async def test_unknown_id_is_not_found(self, store: Store) -> None:
        await stream(store, "a/b")
        for id in ("a", "a/", "a/b/c", "A/B", ""):
            with pytest.raises(StreamNotFound) as error:
                await store.info(id)
            assert str(error.value) == f"The stream with ID {id} does not exist"

    async def test_create_of_a_taken_id_raises_in_every_state(self, store: Store) -> None:
        for number, patch in enumerate([None, *NOT_LIVE]):
            await stream(store, f"s{number}", b"bytes", patch)
            before = await store.info(f"s{number}")
            with pytest.raises(StreamExists):
                await store.create(NewStream(id=f"s{number}"))
            assert await store.info(f"s{number}") == before

    async def test_creation_that_is_repeated_replaces_nothing(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a", idempotency_key="k"), replace=True)
        for new in (NewStream(id="a", idempotency_key="k"), NewStream(id="a", idempotency_key="k", length=3)):
            with pytest.raises(StreamExists):
                await store.create(new, replace=True)
        assert (await store.info("a")).key == writer.key
        for key in ("", "other", ""):
            before = (await store.info("a")).key
            writer = await store.create(NewStream(id="a", idempotency_key=key), replace=True)
            assert writer.replaced
            assert (await store.info("a")).key == writer.key != before

    async def test_of_many_simultaneous_creates_exactly_one_wins(self, store: Store) -> None:
        writers, errors = await outcomes(*(store.create(NewStream(id="a")) for _ in range(20)))
        assert [type(error) for error in errors] == [StreamExists] * 19
        (winner,) = writers
        winner.append(b"mine")
        await winner.wait_durable(4)
        assert (await store.info("a")).key == winner.key
        assert await stored(store, "a") == b"mine"
        assert await ids(store) == ["a"]

    async def test_a_creation_refused_because_the_id_is_taken_finds_the_stream(self, store: Store) -> None:
        async def create() -> None:
            with pytest.raises(StreamExists):
                await store.create(NewStream(id="a"))
            assert (await store.info("a")).state is State.LIVE

        first = asyncio.create_task(store.create(NewStream(id="a")))
        await asyncio.sleep(0)
        await asyncio.gather(first, *(create() for _ in range(5)))

    async def test_one_of_many_simultaneous_replacements_remains(self, store: Store) -> None:
        await stream(store, "a")
        writers, _ = await outcomes(*(store.create(NewStream(id="a"), replace=True) for _ in range(10)))
        assert len({writer.key for writer in writers}) == 10
        assert all(writer.replaced for writer in writers)
        info = await store.info("a")
        for writer in writers:
            if writer.key == info.key:
                writer.append(b"the last")
            else:
                with pytest.raises(StreamGone):
                    writer.append(b"too late")
        assert await ids(store) == ["a"]

    async def test_replacing_nothing_is_creating(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"), replace=True)
        assert not writer.replaced
        assert (await store.info("a")).key == writer.key

    @pytest.mark.parametrize("patch", [None, *NOT_LIVE], ids=lambda patch: patch.state if patch else "live")
    async def test_replacement_has_another_key_and_none_of_the_old_bytes(
        self, store: Store, patch: Patch | None
    ) -> None:
        old = await stream(store, "a", b"old", patch)
        new = await store.create(NewStream(id="a", metadata="1"), replace=True)
        assert new.replaced
        assert new.key != old.key
        info = await store.info("a")
        assert (info.key, info.size, info.state, info.metadata) == (new.key, 0, State.LIVE, "1")
        new.append(b"new")
        await new.close(COMPLETE)
        assert await stored(store, "a") == b"new"

    async def test_replacement_ends_the_old_writer_and_its_followers(self, store: Store) -> None:
        old = await stream(store, "a", b"old")
        reader = await follow(store, old.key)
        lost = losses(old)
        new = await store.create(NewStream(id="a"), replace=True)
        new.append(b"new")
        await new.wait_durable(3)
        assert isinstance(await reader.wait_error(), StreamGone)
        assert reader.data == b""
        (error,) = await lost.wait_count(1)
        assert isinstance(error, StreamGone)
        with pytest.raises(StreamGone):
            old.append(b"more")

    async def test_replaced_bytes_stay_readable_for_contents_opened_before(self, store: Store) -> None:
        old = await stream(store, "a", b"old")
        async with await store.open(old.key) as content:
            new = await store.create(NewStream(id="a"), replace=True)
            new.append(b"new bytes")
            await new.wait_durable(9)
            assert await collect(content, 0, 3) == b"old"

    async def test_replaced_key_is_never_found_again(self, store: Store) -> None:
        old = await stream(store, "a", b"old")
        await store.create(NewStream(id="a"), replace=True)
        for ask in (store.resume(old.key, 3), store.open(old.key), store.delete(old.key)):
            with pytest.raises(StreamNotFound):
                await ask

    async def test_any_id_may_name_a_stream(self, store: Store) -> None:
        for id in ODD_IDS:
            writer = await stream(store, check_id(id), id.encode(), COMPLETE)
            info = await store.info(id)
            assert (info.id, info.key) == (id, writer.key)
            assert await stored(store, id) == id.encode()
        assert await ids(store) == ODD_IDS[::-1]

    async def test_ids_that_look_alike_name_different_streams(self, store: Store) -> None:
        alike = ["a", "A", "\u00e9", "e\u0301", "a ", " a", "a/b", "a%2Fb", "a/b.", "K", "\u212a"]
        for id in alike:
            await stream(store, id, id.encode(), COMPLETE)
        assert await ids(store) == alike[::-1]
        for id in alike:
            assert await stored(store, id) == id.encode()

    @pytest.mark.parametrize("turns", range(4))
    async def test_create_whose_caller_is_cancelled_leaves_no_live_stream(
        self, store: Store, turns: int
    ) -> None:
        task = asyncio.create_task(store.create(NewStream(id="a")))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        await asyncio.wait([task])
        if not cancelled or not task.cancelled():
            return
        try:
            await store.create(NewStream(id="a"))
        except StreamExists:
            reader = await follow(store, (await store.info("a")).key)
            if reader.following.info.state is State.LIVE:
                await reader.wait_state(State.INTERRUPTED)
            info = await store.info("a")
            assert info.deadline is not None
            assert info.reason == "its producer went away"

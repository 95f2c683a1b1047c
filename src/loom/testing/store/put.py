"""Creation without a producer: content, ledger and state in one change."""

import asyncio

import pytest

from loom.errors import Conflict, StorageFull, StreamExists, StreamFinal, StreamNotFound
from loom.model import ChangeKind, Framing, Info, NewStream, Patch, State
from loom.store.base import Store
from loom.store.holdings import cost
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    ManualClock,
    entries_of,
    found,
    ids,
    outcomes,
    shared,
    stored,
    stream,
    watch,
)

SIZES = [0, 1, 100, 300_000, 5 << 20]


class PutTests:
    @pytest.mark.parametrize("state", [State.OPEN, State.COMPLETE])
    @pytest.mark.parametrize("framing", list(Framing))
    async def test_stream_is_created_without_a_producer(
        self, store: Store, clock: ManualClock, framing: Framing, state: State
    ) -> None:
        watcher = watch(store)
        new = NewStream(
            id="a", metadata='{"b": 1}', owner="me", framing=framing, state=state, content=[b"one"]
        )
        info = await store.put(new)
        assert (info.id, info.state, info.size, info.framing) == ("a", state, 3, framing)
        assert (info.metadata, info.owner, info.created, info.deadline) == (
            '{"b": 1}',
            "me",
            clock.time,
            None,
        )
        assert info.ended == (clock.time if state.final else None)
        assert await store.info("a") == info
        assert await found(store) == [info]
        assert await stored(store, "a") == b"one"
        assert watcher.story == [(ChangeKind.CREATED, "a")] + [(ChangeKind.CLOSED, "a")] * state.final
        assert {change.info for change in watcher.events} == {info}
        assert store.holdings.open == (state is State.OPEN and not framing)
        assert (await store.usage()).streams[state] == 1

    @pytest.mark.parametrize("size", SIZES)
    async def test_content_of_any_size_is_stored_with_the_stream(self, store: Store, size: int) -> None:
        pieces = [bytes([index]) * (size // 3) for index in range(3)] + [b"", b"x" * (size % 3)]
        info = await store.put(NewStream(id="a", state=State.COMPLETE, content=pieces))
        assert (info.size, store.size) == (size, size)
        assert await stored(store, "a") == b"".join(pieces)

    async def test_entries_belong_to_the_stream_and_count_for_it(self, store: Store) -> None:
        info = await shared(store, "a", entries={"p": "1", "q": "2"})
        other = await shared(store, "b")
        assert await entries_of(store, info.key, "q", "p", "r") == {"p": "1", "q": "2"}
        assert await entries_of(store, other.key, "p") == {}
        assert (info.ledger > 0, other.ledger) == (True, 0)
        assert store.holdings.overhead == cost("{}", info.ledger) + cost("{}")
        await store.delete(info.key)
        assert store.holdings.overhead == cost("{}")

    async def test_taken_id_is_refused_and_nothing_is_changed(self, store: Store) -> None:
        writer = await stream(store, "a", b"old", COMPLETE)
        with pytest.raises(StreamExists):
            await store.put(NewStream(id="a", state=State.OPEN, content=[b"new"]))
        assert await stored(store, "a") == b"old"
        assert (store.holdings.streams, store.size) == (1, 3)
        assert (await store.info("a")).key == writer.key

    async def test_of_many_creations_of_one_id_exactly_one_succeeds(self, store: Store) -> None:
        news = [NewStream(id="a", state=State.OPEN, content=[b"x" * (index * 100_000)]) for index in range(6)]
        done, errors = await outcomes(*(store.put(new) for new in news))
        assert [type(error) for error in errors] == [StreamExists] * 5
        assert await found(store) == done

    async def test_refused_admission_creates_nothing(self, store: Store) -> None:
        seen: list[Info | None] = []

        def admit(old: Info | None) -> None:
            seen.append(old)
            raise StorageFull("enough")

        with pytest.raises(StorageFull):
            await store.put(NewStream(id="a", state=State.OPEN, content=[b"x"]), admit=admit)
        assert seen == [None]
        assert (await ids(store), store.size, store.holdings.streams) == ([], 0, 0)

    async def test_cancelled_creation_is_there_as_a_whole_or_not_at_all(self, store: Store) -> None:
        for turns in range(8):
            new = NewStream(id=f"{turns}", state=State.COMPLETE, content=[b"x" * 400_000])
            putting = asyncio.ensure_future(store.put(new))
            for _ in range(turns):
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
        await shared(store, "last", content=[b"x" * 400_000])
        for info in await found(store):
            assert info.size == len(await stored(store, info.id)) == 400_000

    async def test_put_stream_can_be_replaced_deleted_and_changed(self, store: Store) -> None:
        info = await store.put(NewStream(id="a", state=State.OPEN, content=[b"some "]))
        info = await store.change(info.key, Patch(metadata="1"), version=info.version)
        writer = await store.resume(info.key, 5)
        writer.append(b"more")
        await writer.close(COMPLETE)
        assert await stored(store, "a") == b"some more"
        await store.create(NewStream(id="a"), replace=True)
        with pytest.raises(StreamNotFound):
            await store.delete(info.key)

    async def test_shared_stream_is_taken_over_by_nobody(self, store: Store) -> None:
        info = await shared(store, "a", content=[b"x"])
        with pytest.raises(Conflict):
            await store.resume(info.key, 1)
        assert await store.info("a") == info
        await store.change(info.key, ABORTED, version=info.version)
        with pytest.raises((Conflict, StreamFinal)):
            await store.resume(info.key, 1)

    @pytest.mark.parametrize(
        "new",
        [
            NewStream(id="a"),
            NewStream(id="a", state=State.INTERRUPTED),
            NewStream(id="a", state=State.ABORTED),
            NewStream(id="a", state=State.OPEN, entries={"p": "x" * 100_000}),
            NewStream(id="a", state=State.OPEN, entries={"p": "\ud800"}),
        ],
    )
    async def test_stream_that_cannot_be_put_is_a_mistake_of_the_caller(
        self, store: Store, new: NewStream
    ) -> None:
        with pytest.raises(ValueError):
            await store.put(new)
        assert await ids(store) == []

    @pytest.mark.parametrize(
        "new",
        [
            NewStream(id="a", state=State.OPEN),
            NewStream(id="a", framing=Framing.BYTES),
            NewStream(id="a", content=[b"x"]),
            NewStream(id="a", entries={"p": "1"}),
        ],
    )
    async def test_stream_with_a_producer_begins_live_and_empty(self, store: Store, new: NewStream) -> None:
        with pytest.raises(ValueError):
            await store.create(new)
        assert await ids(store) == []


class DurablePutTests:
    @pytest.mark.parametrize("size", SIZES)
    async def test_stream_that_was_put_survives_a_restart(
        self, store: Store, reopening: Reopening, size: int
    ) -> None:
        entries = {"p/\u00e9\U0001f600": "1 2", "q": "\n\x00"}
        before = [
            await store.put(
                NewStream(
                    id=str(state), framing=Framing.JSON, state=state, content=[b"x" * size], entries=entries
                )
            )
            for state in (State.OPEN, State.COMPLETE)
        ]
        for _ in range(2):
            store = await reopening.reopen()
            assert await found(store) == before[::-1]
            for info in before:
                assert await stored(store, info.id) == b"x" * size
                assert await entries_of(store, info.key, "p/\u00e9\U0001f600", "q", "r") == entries

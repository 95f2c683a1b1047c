"""Additions to shared streams: bytes, ledger and end of many writers at once."""

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from loom.errors import Conflict, LoomError, StreamFinal, StreamGone, StreamNotFound
from loom.model import Addition, ChangeKind, Framing, Info, NewStream, Patch, State
from loom.store.base import Decide, Store
from loom.store.holdings import cost
from loom.testing.store.fixtures import Opener, Reopening
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    ManualClock,
    add,
    entries_of,
    follow,
    outcomes,
    shared,
    stored,
    stream,
    watch,
)

SIZES = [1, 100, 300_000, 2 << 20]


def once(name: str, number: int, data: bytes, patch: Patch | None = None) -> Decide:
    """Return a `decide` that appends if the entry says that `number` comes next, and nothing for a repeat."""

    def decide(info: Info, entries: Mapping[str, str]) -> Addition:
        last = int(entries.get(name, "-1"))
        if number <= last:
            return Addition()
        if number > last + 1:
            raise Conflict(f"{last + 1} comes next")
        return Addition(data=[data], entries={name: str(number)}, patch=patch)

    return decide


class AppendTests:
    @pytest.mark.parametrize("size", SIZES)
    async def test_addition_is_stored_and_returned_with_the_offset_after_it(
        self, store: Store, size: int
    ) -> None:
        key = (await shared(store, "a", content=[b"first "])).key
        reader = await follow(store, key)
        info = await add(store, key, b"x" * size, {"p": "1"})
        assert info.size == 6 + size
        assert await store.info("a") == info
        assert await stored(store, "a") == b"first " + b"x" * size
        assert await entries_of(store, key, "p") == {"p": "1"}
        assert reader.data == b"x" * size
        assert (info.version, info.epoch, info.state) == (1, 1, State.OPEN)

    async def test_many_writers_append_at_once_and_each_gets_its_own_offset(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        texts = [f"message {number}\n".encode() for number in range(200)]
        infos = await asyncio.gather(*(add(store, key, text) for text in texts))
        data = await stored(store, "a")
        assert data == b"".join(texts)
        for info, text in zip(infos, texts, strict=True):
            assert data[: info.size].endswith(text)

    async def test_pieces_of_one_addition_stay_together(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        pieces = [[bytes([number]) * size for size in (1, 0, 70_000)] for number in range(20)]
        await asyncio.gather(*(store.append(key, (), lambda *_, p=p: Addition(data=p)) for p in pieces))
        assert await stored(store, "a") == b"".join(b"".join(each) for each in pieces)

    @pytest.mark.parametrize("size", SIZES)
    async def test_repeats_at_once_are_stored_exactly_once(self, store: Store, size: int) -> None:
        key = (await shared(store, "a")).key
        for number in range(3):
            asked = [store.append(key, ["p"], once("p", number, bytes([number]) * size)) for _ in range(5)]
            infos = await asyncio.gather(*asked)
            # The answer to a repeat comes once what it repeats is durable.
            assert {info.size for info in infos} == {(number + 1) * size}
        assert await stored(store, "a") == b"".join(bytes([number]) * size for number in range(3))

    async def test_each_writer_decides_on_what_was_accepted_before(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        numbers = range(100)
        done, errors = await outcomes(
            *(store.append(key, ["p"], once("p", number, b"%d," % number)) for number in numbers)
        )
        assert (len(done), errors) == (100, [])
        assert await stored(store, "a") == b"".join(b"%d," % number for number in numbers)
        assert await entries_of(store, key, "p") == {"p": "99"}

    async def test_refusal_changes_nothing(self, store: Store) -> None:
        before = await shared(store, "a", content=[b"x"], entries={"p": "0"})
        with pytest.raises(Conflict, match="1 comes next"):
            await store.append(before.key, ["p"], once("p", 5, b"y"))
        assert await store.info("a") == before
        assert await entries_of(store, before.key, "p") == {"p": "0"}

    async def test_refusal_and_repeat_wait_until_what_was_accepted_before_is_durable(
        self, store: Store
    ) -> None:
        key = (await shared(store, "a")).key
        large = asyncio.ensure_future(add(store, key, b"x" * 400_000, {"p": "0"}))
        await asyncio.sleep(0)
        for number in (0, 5):
            with pytest.raises(Conflict) if number else contextlib.nullcontext():
                await store.append(key, ["p"], once("p", number, b"y"))
            assert (await store.info("a")).size == 400_000
        await large

    async def test_error_of_the_caller_passes_through(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        with pytest.raises(ZeroDivisionError):
            await store.append(key, (), lambda *_: Addition(data=[b"x" * (1 // 0)]))
        assert (await add(store, key, b"next")).size == 4

    @pytest.mark.parametrize(
        "addition",
        [
            Addition(entries={"other": "1"}),
            Addition(entries={"p": "x" * 100_000}),
            Addition(entries={"p": "\udcff"}),
            Addition(patch=Patch(state=State.LIVE)),
            Addition(patch=Patch(state=State.INTERRUPTED)),
        ],
    )
    async def test_addition_that_no_stream_takes_is_a_mistake_of_the_caller(
        self, store: Store, addition: Addition
    ) -> None:
        before = await shared(store, "a")
        with pytest.raises(ValueError):
            await store.append(before.key, ["p"], lambda *_: addition)
        assert await store.info("a") == before

    @pytest.mark.parametrize("size", [0, *SIZES])
    @pytest.mark.parametrize("patch", [COMPLETE, ABORTED], ids=lambda patch: patch.state)
    async def test_last_addition_ends_the_stream(
        self, store: Store, clock: ManualClock, patch: Patch, size: int
    ) -> None:
        key = (await shared(store, "a")).key
        reader, watcher = await follow(store, key), watch(store)
        first = asyncio.ensure_future(add(store, key, b"first "))
        await asyncio.sleep(0)
        info = await add(store, key, b"x" * size, {"p": "1"}, patch)
        assert (info.state, info.reason, info.size) == (patch.state, patch.reason, 6 + size)
        assert (info.ended, info.version) == (clock.time, 2)
        assert await store.info("a") == info
        assert (await reader.wait_state(info.state)).size == 6 + size
        assert reader.data == b"first " + b"x" * size
        assert watcher.story == [(ChangeKind.CLOSED, "a")]
        assert await entries_of(store, key, "p") == {"p": "1"}
        await first

    async def test_nothing_is_accepted_after_the_last_addition(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        asked = [
            add(store, key, b"%d" % number, patch=COMPLETE if number == 3 else None) for number in range(9)
        ]
        done, errors = await outcomes(*asked)
        assert [type(error) for error in errors] == [StreamFinal] * 5
        assert [info.size for info in done] == [1, 2, 3, 4]
        assert await stored(store, "a") == b"0123"

    async def test_repeat_of_the_last_addition_is_answered_after_the_end(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        asked = [store.append(key, ["p"], once("p", 0, b"all", COMPLETE)) for _ in range(3)]
        infos = await asyncio.gather(*asked)
        again = await store.append(key, ["p"], once("p", 0, b"all", COMPLETE))
        assert {(info.state, info.size) for info in [*infos, again]} == {(State.COMPLETE, 3)}
        with pytest.raises(Conflict):
            await store.append(key, ["p"], once("p", 2, b"more"))
        with pytest.raises(StreamFinal):
            await store.append(key, ["p"], once("p", 1, b"more"))

    async def test_cancelled_last_addition_ends_the_stream_or_changes_nothing(self, store: Store) -> None:
        for turns in range(6):
            key = (await shared(store, f"{turns}")).key
            closing = asyncio.ensure_future(add(store, key, b"x" * 300_000, patch=COMPLETE))
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            try:
                await add(store, key, b"y")
                expected = (State.OPEN, b"y")
            except StreamFinal:
                expected = (State.COMPLETE, b"x" * 300_000)
            assert ((await store.info(f"{turns}")).state, await stored(store, f"{turns}")) == expected

    async def test_metadata_changes_with_an_addition_and_beside_it(self, store: Store) -> None:
        before = await shared(store, "a")
        info = await add(store, before.key, b"x", patch=Patch(metadata="1"))
        assert (info.metadata, info.state, info.version) == ("1", State.OPEN, before.version + 1)
        changed, *_ = await asyncio.gather(
            store.change(before.key, Patch(metadata="2"), version=info.version),
            *(add(store, before.key, b"y") for _ in range(20)),
        )
        assert (changed.metadata, changed.version) == ("2", info.version + 1)
        assert await stored(store, "a") == b"x" + b"y" * 20

    async def test_stream_that_another_ends_takes_no_more(self, store: Store) -> None:
        before = await shared(store, "a")
        asked = [add(store, before.key, b"%d" % number) for number in range(20)]
        asked.insert(10, store.change(before.key, ABORTED, version=before.version))
        done, errors = await outcomes(*asked)
        assert {type(error) for error in errors} <= {StreamFinal}
        data = await stored(store, "a")
        assert (await store.info("a")).size == len(data)
        sizes = [info.size for info in done if info.state is State.OPEN]
        assert max(sizes) == len(data)

    async def test_deleted_stream_takes_no_more(self, store: Store) -> None:
        for number in range(10):
            key = (await shared(store, "a")).key
            answers = await asyncio.gather(
                *(add(store, key, b"x" * 1000) for _ in range(number)),
                store.delete(key),
                *(add(store, key, b"x" * 1000, {"p": "1"}) for _ in range(5)),
                return_exceptions=True,
            )
            assert {type(answer) for answer in answers if answer} <= {Info, StreamNotFound, StreamGone}
            assert (store.size, store.holdings.overhead) == (0, 0)
            with pytest.raises(StreamNotFound):
                await add(store, key, b"x")

    async def test_stream_of_one_producer_is_not_shared(self, store: Store) -> None:
        for patch in (None, Patch(state=State.OPEN, deadline=5_000.0), COMPLETE):
            writer = await stream(store, f"{patch}", b"x", patch)
            with pytest.raises(Conflict):
                await add(store, writer.key, b"y")
            assert await stored(store, f"{patch}") == b"x"
        with pytest.raises(StreamNotFound):
            await add(store, "ffff-0", b"y")

    async def test_ledger_of_many_entries_counts_each_once(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        for value in ("1", "22", "1"):
            await asyncio.gather(
                *(add(store, key, b"x", {f"p{number}": value}) for number in range(300)),
            )
        info = await store.info("a")
        assert store.holdings.overhead == cost("{}", info.ledger)
        once_more = await shared(store, "b", entries={f"p{number}": "1" for number in range(50)})
        await add(store, once_more.key, b"", {"p0": "333"})
        assert (await store.info("b")).ledger == once_more.ledger + 2
        assert await entries_of(store, key, "p0", "p299", "p300") == {"p0": "1", "p299": "1"}

    async def test_entries_without_bytes_are_stored_too(self, store: Store) -> None:
        key = (await shared(store, "a")).key
        info = await add(store, key, b"", {"p": "1"})
        assert (info.size, await entries_of(store, key, "p")) == (0, {"p": "1"})
        assert await store.info("a") == info

    async def test_addition_waits_while_too_much_is_in_flight(self, opener: Opener) -> None:
        store = await opener(writer_bound=1000, total_bound=5000)
        keys = [(await shared(store, id)).key for id in ("a", "b")]
        most = 0

        def decide(info: Info, entries: Mapping[str, str]) -> Addition:
            nonlocal most
            most = max(most, store.size)
            return Addition(data=[b"x" * 900])

        await asyncio.gather(*(store.append(key, (), decide) for key in keys * 50))
        assert [(await store.info(id)).size for id in ("a", "b")] == [45_000] * 2
        await store.close()


class DurableAppendTests:
    async def test_what_was_appended_survives_a_restart(self, store: Store, reopening: Reopening) -> None:
        infos = []
        for framing in (Framing.BYTES, Framing.JSON):
            for size in SIZES:
                for patch in (None, COMPLETE, Patch(metadata='"m"')):
                    new = NewStream(id=f"{framing} {size} {patch}", framing=framing, state=State.OPEN)
                    key = (await store.put(new)).key
                    await add(store, key, b"one", {"p": "1", "q": "1"})
                    infos.append(await add(store, key, b"x" * size, {"p": "2"}, patch))
        for _ in range(2):
            store = await reopening.reopen()
            for info in infos:
                assert await store.info(info.id) == info
                assert await entries_of(store, info.key, "p", "q") == {"p": "2", "q": "1"}
                assert (await stored(store, info.id))[3:].strip(b"x") == b""
            assert store.holdings.overhead == sum(cost(info.metadata, info.ledger) for info in infos)
        first = await add(store, infos[0].key, b"more", {"p": "3"})
        assert first.size == infos[0].size + 4
        for info in infos:
            await store.delete(info.key)
        store = await reopening.reopen()
        assert store.holdings.overhead == 0

    async def test_store_that_was_closed_has_stored_what_it_accepted(
        self, store: Store, reopening: Reopening
    ) -> None:
        key = (await shared(store, "a")).key
        asked = [asyncio.ensure_future(add(store, key, b"x" * 1000)) for _ in range(50)]
        await asyncio.sleep(0)
        store = await reopening.reopen()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, Info | LoomError) for answer in answers)
        assert (await store.info("a")).size >= 1000 * sum(isinstance(answer, Info) for answer in answers)

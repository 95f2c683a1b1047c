"""What survives the end of the process."""

import pytest

from loom.errors import StreamExists, StreamFinal, StreamNotFound
from loom.model import NewStream, Patch, State
from loom.store.base import Store
from loom.testing.store.fixtures import Reopening
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    NOT_LIVE,
    OPEN,
    ManualClock,
    collect,
    found,
    ids,
    stored,
    stream,
)

SIZES = [0, 1, 100, 65_536, 300_000, 1 << 20]


class ReopenTests:
    async def test_streams_without_a_producer_are_unchanged_after_a_restart(
        self, store: Store, reopening: Reopening
    ) -> None:
        for patch in NOT_LIVE:
            for size in SIZES:
                await stream(store, f"{patch.state}/{size}", bytes([size % 251]) * size, patch)
        before = await found(store)
        assert len(before) == 24
        store = await reopening.reopen()
        assert await found(store) == before
        for info in before:
            size = int(info.id.split("/")[1])
            assert await store.info(info.id) == info
            assert await stored(store, info.id) == bytes([size % 251]) * size

    async def test_every_field_of_a_row_survives_a_restart(self, store: Store, reopening: Reopening) -> None:
        for number, key in enumerate(["", "k", "\u00e9" * 255]):
            new = NewStream(
                id=str(number), idempotency_key=key, length=None if number else 0, resume_window=86400.0
            )
            writer = await store.create(new)
            info = await writer.close(COMPLETE)
            info = await store.change(writer.key, Patch(metadata="[1]"), version=info.version)
            await store.change(writer.key, Patch(digest=f"digest {number}"), version=info.version)
        before = await found(store)
        for _ in range(2):
            store = await reopening.reopen()
            assert await found(store) == before
            for info in before:
                assert (info.amended, info.metadata, info.digest) == (True, "[1]", f"digest {info.id}")
                with pytest.raises(StreamFinal):
                    await store.change(info.key, Patch(metadata="2"), version=info.version)
            with pytest.raises(StreamExists):
                await store.create(NewStream(id="1", idempotency_key="k"), replace=True)

    async def test_streams_that_were_live_are_interrupted_with_a_fresh_window(
        self, store: Store, reopening: Reopening, clock: ManualClock
    ) -> None:
        writer = await store.create(
            NewStream(id="a", metadata='{"b": 1}', content_type="x/y", resume_window=7.0)
        )
        writer.append(b"accepted")
        before = await store.info("a")
        clock.time += 100
        store = await reopening.reopen()
        info = await store.info("a")
        assert (info.state, info.deadline, info.size) == (State.INTERRUPTED, clock.time + 7.0, 8)
        assert info.reason == "the server stopped"
        assert (info.key, info.metadata, info.content_type) == (
            before.key,
            before.metadata,
            before.content_type,
        )
        assert (info.created, info.epoch) == (before.created, before.epoch)
        assert await store.due(clock.time + 7.0) == [info]
        writer = await store.resume(info.key, 8)
        writer.append(b" and more")
        await writer.close(COMPLETE)
        assert await stored(store, "a") == b"accepted and more"

    async def test_versions_and_epochs_keep_rising(self, store: Store, reopening: Reopening) -> None:
        writer = await stream(store, "a")
        pairs = []
        for _ in range(3):
            writer = await store.resume(writer.key, 0)
            info = await store.info("a")
            pairs.append((info.epoch, info.version))
            store = await reopening.reopen()
            info = await store.info("a")
            assert info.epoch >= pairs[-1][0]
            assert info.version > pairs[-1][1]
            info = await store.change(writer.key, Patch(metadata="1"), version=info.version)
            pairs.append((info.epoch, info.version))
        versions = [version for _, version in pairs]
        epochs = [epoch for epoch, _ in pairs[::2]]
        assert versions == sorted(set(versions))
        assert epochs == sorted(set(epochs))

    async def test_changes_survive_a_restart(self, store: Store, reopening: Reopening) -> None:
        writer = await stream(store, "a", b"bytes", INTERRUPTED)
        version = (await store.info("a")).version
        info = await store.change(writer.key, Patch(metadata='"new"'), version=version)
        store = await reopening.reopen()
        assert await store.info("a") == info
        info = await store.change(writer.key, ABORTED, version=info.version)
        store = await reopening.reopen()
        assert await store.info("a") == info
        with pytest.raises(StreamFinal):
            await store.resume(writer.key, 5)
        assert await store.due(1e12) == []

    async def test_deleted_stream_does_not_come_back(self, store: Store, reopening: Reopening) -> None:
        for patch in [None, *NOT_LIVE]:
            writer = await stream(store, "a", b"bytes" * 100_000, patch)
            await store.delete(writer.key)
            for _ in range(2):
                store = await reopening.reopen()
                with pytest.raises(StreamNotFound):
                    await store.info("a")
                for ask in (store.open(writer.key), store.resume(writer.key, 5), store.delete(writer.key)):
                    with pytest.raises(StreamNotFound):
                        await ask
                assert await ids(store) == []

    async def test_replaced_stream_shows_the_new_bytes(self, store: Store, reopening: Reopening) -> None:
        old = await stream(store, "a", b"old" * 100_000, COMPLETE)
        new = await store.create(NewStream(id="a"), replace=True)
        new.append(b"new")
        await new.close(COMPLETE)
        store = await reopening.reopen()
        assert (await store.info("a")).key == new.key
        assert await stored(store, "a") == b"new"
        assert await ids(store) == ["a"]
        with pytest.raises(StreamNotFound):
            await store.open(old.key)

    async def test_content_still_open_at_the_deletion_leaves_nothing_after_a_restart(
        self, store: Store, reopening: Reopening
    ) -> None:
        writer = await stream(store, "a", b"bytes", COMPLETE)
        async with await store.open(writer.key) as content:
            await store.delete(writer.key)
            assert await collect(content, 0, 5) == b"bytes"
        store = await reopening.reopen()
        assert await ids(store) == []

    async def test_keys_are_never_used_again(self, store: Store, reopening: Reopening) -> None:
        keys = set()
        for _ in range(4):
            for id in ("a", "b"):
                writer = await store.create(NewStream(id=id), replace=True)
                keys.add(writer.key)
            last = await stream(store, "last")
            keys.add(last.key)
            await store.delete(last.key)
            store = await reopening.reopen()
        assert len(keys) == 12

    async def test_ids_stay_taken(self, store: Store, reopening: Reopening) -> None:
        await stream(store, "a", b"", OPEN)
        store = await reopening.reopen()
        with pytest.raises(StreamExists):
            await store.create(NewStream(id="a"))

    async def test_streams_are_found_in_the_same_order(self, store: Store, reopening: Reopening) -> None:
        names = [f"{number % 7}/{number}" for number in range(300)]
        for number, name in enumerate(names):
            await stream(store, name, b"", COMPLETE if number % 3 else INTERRUPTED)
        store = await reopening.reopen()
        await stream(store, "3/new")
        names.append("3/new")
        assert await ids(store) == names[::-1]
        assert await ids(store, prefix="3/") == [name for name in reversed(names) if name.startswith("3/")]
        interrupted = [name for number, name in enumerate(names) if number % 3 == 0 and number < 300]
        assert await ids(store, states=frozenset({State.INTERRUPTED})) == interrupted[::-1]

    async def test_empty_store_opens_again(self, store: Store, reopening: Reopening) -> None:
        store = await reopening.reopen()
        assert await ids(store) == []
        await stream(store, "a", b"bytes", COMPLETE)
        for _ in range(3):
            store = await reopening.reopen()
        assert await stored(store, "a") == b"bytes"

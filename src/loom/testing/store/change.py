"""Compare-and-set changes of state, metadata and digest."""

from dataclasses import replace

import pytest

from loom.errors import Conflict, StreamFinal, StreamNotFound, VersionMismatch, WriterLost
from loom.model import AMEND_WINDOW, TRANSITIONS, NewStream, Patch, State
from loom.store.base import Store
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    INTERRUPTED,
    NOT_LIVE,
    ManualClock,
    follow,
    ids,
    losses,
    outcomes,
    stored,
    stream,
    wait_settled,
    watch,
)

INTO = {patch.state: patch for patch in [*NOT_LIVE, Patch(state=State.LIVE)]}


class ChangeTests:
    async def test_metadata_changes_under_the_producer(self, store: Store) -> None:
        writer = await stream(store, "a", b"one ")
        before = await store.info("a")
        writer.append(b"two")
        info = await store.change(writer.key, Patch(metadata='"new"'), version=before.version)
        assert (info.metadata, info.state, info.epoch) == ('"new"', State.LIVE, before.epoch)
        assert info.version > before.version
        assert (await store.info("a")).version == info.version
        await writer.close(COMPLETE)
        assert await stored(store, "a") == b"one two"

    async def test_fields_that_a_patch_does_not_set_are_kept(self, store: Store) -> None:
        writer = await stream(store, "a", b"x", INTERRUPTED)
        before = await store.info("a")
        info = await store.change(writer.key, Patch(metadata="2"), version=before.version)
        assert (info.state, info.reason, info.deadline) == (State.INTERRUPTED, "lost", 2_000.0)
        info = await store.change(writer.key, ABORTED, version=info.version)
        assert (info.metadata, info.reason, info.deadline) == ("2", "given up", None)

    async def test_stream_without_a_producer_is_aborted(self, store: Store, clock: ManualClock) -> None:
        writer = await stream(store, "a", b"bytes", INTERRUPTED)
        reader = await follow(store, writer.key)
        version = (await store.info("a")).version
        clock.time += 50
        info = await store.change(writer.key, ABORTED, version=version)
        assert (info.state, info.reason, info.ended, info.size) == (State.ABORTED, "given up", clock.time, 5)
        assert await store.info("a") == info
        assert await reader.wait_state(State.ABORTED) == info
        assert await stored(store, "a") == b"bytes"

    async def test_change_of_another_version_is_refused_and_changes_nothing(self, store: Store) -> None:
        writer = await stream(store, "a", b"", INTERRUPTED)
        before = await store.info("a")
        for version in (before.version - 1, before.version + 1, 0):
            with pytest.raises(VersionMismatch):
                await store.change(writer.key, ABORTED, version=version)
        assert await store.info("a") == before

    async def test_of_many_changes_of_one_version_exactly_one_wins(self, store: Store) -> None:
        writer = await stream(store, "a", b"", INTERRUPTED)
        version = (await store.info("a")).version
        patches = [Patch(metadata=str(number)) for number in range(10)]
        done, errors = await outcomes(
            *(store.change(writer.key, patch, version=version) for patch in patches)
        )
        assert [type(error) for error in errors] == [VersionMismatch] * 9
        assert await store.info("a") == done[0]

    async def test_of_a_resume_and_a_deadline_at_once_one_wins(self, store: Store) -> None:
        for number in range(10):
            old = await stream(store, f"s{number}", b"12345", INTERRUPTED)
            version = (await store.info(f"s{number}")).version
            asked = [store.change(old.key, ABORTED, version=version), store.resume(old.key, 5)]
            done, errors = await outcomes(*asked[:: 1 if number % 2 else -1])
            assert len(done) == len(errors) == 1
            state = (await store.info(f"s{number}")).state
            assert type(errors[0]) is (StreamFinal if state is State.ABORTED else VersionMismatch)

    async def test_version_rises_with_every_change_but_growth(self, store: Store) -> None:
        writer = await store.create(NewStream(id="a"))
        versions = [(await store.info("a")).version]
        writer.append(b"x" * 1000)
        await writer.wait_durable(1000)
        assert (await store.info("a")).version == versions[0]
        versions.append((await writer.close(INTERRUPTED)).version)
        writer = await store.resume(writer.key, 1000)
        versions.append((await store.info("a")).version)
        await store.resume(writer.key, 1000)
        versions.append((await store.info("a")).version)
        versions.append((await store.change(writer.key, Patch(metadata="1"), version=versions[-1])).version)
        versions.append((await store.change(writer.key, ABORTED, version=versions[-1])).version)
        assert versions == sorted(set(versions))

    @pytest.mark.parametrize("before", State)
    @pytest.mark.parametrize("after", State)
    async def test_states_change_according_to_the_table(
        self, store: Store, before: State, after: State
    ) -> None:
        writer = await stream(store, "a", b"x", None if before is State.LIVE else INTO[before])
        info = await store.info("a")
        if before.final:
            with pytest.raises(StreamFinal):
                await store.change(writer.key, INTO[after], version=info.version)
        elif after is State.LIVE or after not in TRANSITIONS[before]:
            with pytest.raises(Conflict):
                await store.change(writer.key, INTO[after], version=info.version)
        else:
            info = await store.change(writer.key, INTO[after], version=info.version)
            assert info.state is after
        assert await store.info("a") == info

    @pytest.mark.parametrize("end", [COMPLETE, ABORTED], ids=lambda patch: patch.state)
    async def test_metadata_changes_once_more_soon_after_the_end(
        self, store: Store, clock: ManualClock, end: Patch
    ) -> None:
        writer = await stream(store, "a", b"x", end)
        before = await store.info("a")
        watcher = watch(store)
        clock.time += AMEND_WINDOW
        for version in (before.version - 1, before.version + 1):
            with pytest.raises(VersionMismatch):
                await store.change(writer.key, Patch(metadata="1"), version=version)
        info = await store.change(writer.key, Patch(metadata='{"exit":1}'), version=before.version)
        assert info == replace(before, metadata='{"exit":1}', amended=True, version=before.version + 1)
        assert await store.info("a") == info
        with pytest.raises(StreamFinal):
            await store.change(writer.key, Patch(metadata="2"), version=info.version)
        assert await store.info("a") == info
        await wait_settled(store)
        assert ("closed", "a") not in watcher.story
        assert await stored(store, "a") == b"x"

    async def test_metadata_of_a_final_stream_cannot_change_after_the_window(
        self, store: Store, clock: ManualClock
    ) -> None:
        writer = await stream(store, "a", b"x", COMPLETE)
        before = await store.info("a")
        clock.time += AMEND_WINDOW + 1
        with pytest.raises(StreamFinal):
            await store.change(writer.key, Patch(metadata="1"), version=before.version)
        assert await store.info("a") == before

    async def test_the_digest_of_a_complete_stream_is_stored_once_and_changes_nothing_else(
        self, store: Store, clock: ManualClock
    ) -> None:
        writer = await stream(store, "a", b"x", COMPLETE)
        before = await store.info("a")
        assert await ids(store, undigested=True) == ["a"]
        watcher = watch(store)
        clock.time += AMEND_WINDOW + 1
        info = await store.change(writer.key, Patch(digest="d1"), version=before.version)
        assert info == replace(before, digest="d1", version=before.version + 1)
        for patch in (Patch(digest="d2"), Patch(metadata="2", digest="d2"), replace(COMPLETE, digest="d2")):
            with pytest.raises(StreamFinal):
                await store.change(writer.key, patch, version=info.version)
        await wait_settled(store)
        assert ("closed", "a") not in watcher.story
        assert await store.info("a") == info
        assert await ids(store, undigested=True) == []

    async def test_a_digest_leaves_metadata_to_be_changed_once_more(self, store: Store) -> None:
        writer = await stream(store, "a", b"x", replace(COMPLETE, digest="d"))
        info = await store.info("a")
        info = await store.change(writer.key, Patch(metadata="1"), version=info.version)
        assert (info.digest, info.metadata, info.amended) == ("d", "1", True)
        with pytest.raises(StreamFinal):
            await store.change(writer.key, Patch(metadata="2"), version=info.version)
        writer = await stream(store, "b", b"x", COMPLETE)
        info = await store.change(writer.key, Patch(digest="d"), version=(await store.info("b")).version)
        assert not info.amended

    async def test_an_aborted_stream_takes_no_digest(self, store: Store) -> None:
        writer = await stream(store, "a", b"x", ABORTED)
        with pytest.raises(StreamFinal):
            await store.change(writer.key, Patch(digest="d"), version=(await store.info("a")).version)

    @pytest.mark.parametrize("patch", NOT_LIVE, ids=lambda patch: patch.state)
    async def test_producer_whose_stream_leaves_live_is_lost(self, store: Store, patch: Patch) -> None:
        writer = await store.create(NewStream(id="a"))
        lost = losses(writer)
        writer.append(b"accepted")
        info = await store.change(writer.key, patch, version=(await store.info("a")).version)
        with pytest.raises(WriterLost):
            writer.append(b"x")
        with pytest.raises(WriterLost):
            await writer.close(COMPLETE)
        await wait_settled(store)
        assert len(lost.events) == 1
        assert isinstance(lost.events[0], WriterLost)
        assert info.size == 8
        assert await stored(store, "a") == b"accepted"

    async def test_change_of_an_unknown_key_is_not_found(self, store: Store) -> None:
        writer = await stream(store, "a")
        await store.delete(writer.key)
        for key in (writer.key, "unknown"):
            with pytest.raises(StreamNotFound):
                await store.change(key, ABORTED, version=1)

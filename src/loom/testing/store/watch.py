"""Subscriptions to the creation, end and deletion of all streams, and to their metadata."""

from loom.model import Change, ChangeKind, NewStream, Patch
from loom.store.base import Store
from loom.testing.tools import ABORTED, COMPLETE, INTERRUPTED, Watcher, stream, wait_settled, watch

CREATED, CHANGED = ChangeKind.CREATED, ChangeKind.CHANGED
CLOSED, DELETED = ChangeKind.CLOSED, ChangeKind.DELETED


class WatchTests:
    async def test_creation_end_and_deletion_are_announced(self, store: Store) -> None:
        watcher = watch(store)
        writer = await store.create(NewStream(id="a"))
        created = await store.info("a")
        writer.append(b"bytes")
        closed = await writer.close(COMPLETE)
        await store.delete(writer.key)
        assert await watcher.wait_count(3) == [
            Change(CREATED, created),
            Change(CLOSED, closed),
            Change(DELETED, closed),
        ]

    async def test_bytes_and_passing_states_are_not_announced(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes")
        watcher = watch(store)
        writer.append(b"more")
        await writer.close(INTERRUPTED)
        writer = await store.resume(writer.key, 9)
        info = await store.info("a")
        await store.change(writer.key, INTERRUPTED, version=info.version)
        assert watcher.events == []
        info = await store.change(writer.key, ABORTED, version=(await store.info("a")).version)
        assert await watcher.wait_count(1) == [Change(CLOSED, info)]

    async def test_new_metadata_is_announced_before_and_after_the_end(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes")
        watcher = watch(store)
        info = await store.info("a")
        early = await store.change(writer.key, Patch(metadata="1"), version=info.version)
        closed = await writer.close(COMPLETE)
        late = await store.change(writer.key, Patch(metadata="2"), version=closed.version)
        same = await store.change(writer.key, Patch(digest="d"), version=late.version)
        assert same.digest == "d"
        await wait_settled(store)
        assert [change for change in watcher.events if change.info.id == "a"] == [
            Change(CHANGED, early),
            Change(CLOSED, closed),
            Change(CHANGED, late),
        ]

    async def test_replaced_stream_is_deleted_and_then_created(self, store: Store) -> None:
        old = await stream(store, "a", b"bytes")
        before = await store.info("a")
        watcher = watch(store)
        new = await store.create(NewStream(id="a"), replace=True)
        assert await watcher.wait_count(2) == [
            Change(DELETED, before),
            Change(CREATED, await store.info("a")),
        ]
        assert (watcher.events[0].info.key, watcher.events[1].info.key) == (old.key, new.key)

    async def test_refused_changes_are_not_announced(self, store: Store) -> None:
        writer = await stream(store, "a", b"bytes", COMPLETE)
        watcher = watch(store)
        for ask in (store.create(NewStream(id="a")), store.delete("unknown"), store.resume(writer.key, 5)):
            try:
                await ask
            except Exception:
                continue
            raise AssertionError("nothing was refused")
        await wait_settled(store)
        assert watcher.story == [(CREATED, "settled"), (CLOSED, "settled"), (DELETED, "settled")]

    async def test_all_watchers_are_notified_in_the_same_order(self, store: Store) -> None:
        watchers = [watch(store) for _ in range(3)]
        for id in ("a", "b", "a"):
            writer = await store.create(NewStream(id=id), replace=True)
            await writer.close(COMPLETE)
        story = [(CREATED, "a"), (CLOSED, "a"), (CREATED, "b"), (CLOSED, "b"), (DELETED, "a"), (CREATED, "a")]
        for watcher in watchers:
            await watcher.wait_count(7)
            assert watcher.story == [*story, (CLOSED, "a")]

    async def test_closed_watch_is_not_notified(self, store: Store) -> None:
        watcher, other = watch(store), watch(store)
        await stream(store, "a")
        await watcher.wait_count(1)
        watcher.subscription.close()
        watcher.subscription.close()
        await stream(store, "b")
        await other.wait_count(2)
        assert watcher.story == [(CREATED, "a")]

    async def test_watch_can_be_closed_while_watchers_are_notified(self, store: Store) -> None:
        class Closing(Watcher):
            closes: Watcher | None = None

            def add(self, event: Change) -> None:
                super().add(event)
                if self.closes:
                    self.closes.subscription.close()

        watchers = [Closing() for _ in range(4)]
        for watcher in watchers:
            watcher.subscription = store.watch(watcher.add)
        watchers[0].closes, watchers[1].closes = watchers[0], watchers[2]
        await stream(store, "a")
        await stream(store, "b")
        await watchers[3].wait_count(2)
        assert [len(watcher.events) for watcher in watchers] == [1, 2, 0, 2]

"""Listings and deadlines."""

import asyncio
import json

import pytest

from loom.ids import number_of
from loom.model import FAILURES, NewStream, Outcome, Patch, Query, State
from loom.store.base import Store
from loom.testing.tools import ABORTED, COMPLETE, INTERRUPTED, NOT_LIVE, ManualClock, found, ids, stream

LAST = "\U0010ffff"

NAMES = [f"{team}/{number}" for number in range(700) for team in ("red", "green", "blue")]


def names_of(states: set[State]) -> str:
    """Name a set of states alike in every process: the order of a set is not."""
    return ",".join(sorted(states))


class FindTests:
    async def test_nothing_is_found_in_an_empty_store(self, store: Store) -> None:
        assert await ids(store) == []
        assert await store.due(1e12) == []

    async def test_streams_are_found_newest_first_with_all_fields(self, store: Store) -> None:
        for id in ("c", "a", "b"):
            await stream(store, id, id.encode() * 10, COMPLETE if id == "a" else None)
        assert await ids(store) == ["b", "a", "c"]
        assert await found(store) == [await store.info(id) for id in ("b", "a", "c")]

    async def test_replacement_is_newer_than_earlier_streams(self, store: Store) -> None:
        for id in ("a", "b", "c"):
            await stream(store, id, b"", COMPLETE)
        await store.create(NewStream(id="a"), replace=True)
        assert await ids(store) == ["a", "c", "b"]

    @pytest.mark.parametrize(
        "states", [{state} for state in State] + [{State.LIVE, State.COMPLETE}], ids=names_of
    )
    async def test_streams_are_found_by_state(self, store: Store, states: set[State]) -> None:
        for patch in [None, *NOT_LIVE]:
            name = patch.state if patch and patch.state else State.LIVE
            for number in range(2):
                await stream(store, f"{name}/{number}", b"", patch)
        everything = await ids(store)
        assert len(everything) == 10
        expected = [id for id in everything if id.split("/")[0] in states]
        assert await ids(store, states=frozenset(states)) == expected

    async def test_streams_are_found_by_the_beginning_of_their_id(self, store: Store) -> None:
        names = [
            "a",
            "ab",
            "a%",
            "a%b",
            "a_",
            "a*",
            "a[b]",
            "A",
            "ä",
            "a/b",
            "a/c/d",
            "\U0010ffff",
            "\U0010ffffx",
        ]
        for name in names:
            await stream(store, name, b"", COMPLETE)
        for prefix in ["", *names, "a[", "a/", "b", "%", "_", LAST + LAST]:
            expected = [name for name in reversed(names) if name.startswith(prefix)]
            assert await ids(store, prefix=prefix) == expected

    async def test_thousands_of_streams_are_found_whole_and_in_order(self, store: Store) -> None:
        writers = await asyncio.gather(*(store.create(NewStream(id=name)) for name in NAMES))
        await asyncio.gather(*(writer.close(COMPLETE) for writer in writers[: len(writers) // 2]))
        assert await ids(store) == NAMES[::-1]
        assert await ids(store, prefix="green/") == [
            name for name in reversed(NAMES) if name.startswith("green/")
        ]
        finished = NAMES[: len(NAMES) // 2]
        assert await ids(store, states=frozenset({State.COMPLETE})) == finished[::-1]
        blue = [name for name in finished[::-1] if name.startswith("blue/1")]
        assert await ids(store, states=frozenset({State.COMPLETE}), prefix="blue/1") == blue

    async def test_streams_that_stay_are_found_once_while_others_are_created_and_deleted(
        self, store: Store
    ) -> None:
        writers = [await stream(store, f"s{number}", b"", COMPLETE) for number in range(100)]
        seen = []
        async for info in store.find(Query()):
            seen.append(info.id)
            number = len(seen) - 1
            if number < 100 and number % 2:
                await store.delete(writers[number].key)
                await stream(store, f"new{number}")
        stays = [f"s{number}" for number in reversed(range(0, 100, 2))]
        assert [id for id in seen if id in set(stays)] == stays
        assert len(seen) == len(set(seen))

    async def test_streams_are_found_by_when_they_were_created(
        self, store: Store, clock: ManualClock
    ) -> None:
        for id in ("a", "b", "c"):
            await stream(store, id, b"", COMPLETE if id == "b" else None)
            clock.time += 10
        for after, expected in [(999.9, "cba"), (1000.0, "cb"), (1010.0, "c"), (1020.0, "")]:
            assert await ids(store, created_after=after) == [*expected]
        assert await ids(store, created_after=1000.0, states=frozenset({State.COMPLETE})) == ["b"]

    async def test_a_listing_resumes_after_a_stream_even_if_that_was_deleted(self, store: Store) -> None:
        writers = [await stream(store, id, b"", None if id in "be" else COMPLETE) for id in "abcdef"]
        numbers = [number_of(writer.key) for writer in writers]
        assert numbers == sorted(set(numbers))
        await store.delete(writers[3].key)
        await stream(store, "new")
        assert await ids(store, below=numbers[3]) == ["c", "b", "a"]
        assert await ids(store, below=numbers[4], prefix="a") == ["a"]
        assert await ids(store, below=numbers[4], states=frozenset({State.LIVE})) == ["b"]
        assert await ids(store, below=1 << 60) == ["new", "f", "e", "c", "b", "a"]
        assert await ids(store, below=1) == await ids(store, below=0) == []

    async def test_streams_are_found_by_metadata(self, store: Store) -> None:
        texts = {
            "none": "{}",
            "list": '["os", "linux"]',
            "text": '{"os": "linux", "n": "1"}',
            "number": '{"n": 1, "deep": {"os": "linux"}}',
            "escaped": '{"\\u006fs": "lin\\u0075x", "caf\\u00e9": "\\u00fc\\"%_"}',
            "other": '{"os": "linux2", "n": 1.0, "none": null, "yes": true}',
        }
        for id, metadata in texts.items():
            writer = await store.create(NewStream(id=id, metadata=metadata))
            if id != "text":
                await writer.close(COMPLETE)
        for wanted, expected in [
            ({"os": "linux"}, ["escaped", "text"]),
            ({"os": "linux2"}, ["other"]),
            ({"os": ""}, []),
            ({"n": "1"}, ["number", "text"]),
            ({"n": "1.0"}, ["other"]),
            ({"café": 'ü"%_'}, ["escaped"]),
            ({"deep": '{"os":"linux"}'}, ["number"]),
            ({"none": "null", "yes": "true"}, ["other"]),
            ({"os": "linux", "n": "1"}, ["text"]),
            ({"%": "linux"}, []),
        ]:
            assert await ids(store, metadata=tuple(wanted.items())) == expected

    async def test_streams_are_found_by_the_metadata_that_they_have_now(self, store: Store) -> None:
        """Also by one member of many, and by a member of no stream."""
        many = json.dumps({f"key {number}": number for number in range(1000)})
        for id, metadata in [
            ("changed", '{"a": "old", "b": 1}'),
            ("many", many),
            ("deleted", '{"a": "old"}'),
        ]:
            await (await store.create(NewStream(id=id, metadata=metadata))).close(COMPLETE)
        changed = await store.info("changed")
        patch = Patch(metadata='{"a": "new", "b": 1}')
        await store.change(changed.key, patch, version=changed.version)
        await store.delete((await store.info("deleted")).key)
        for wanted, expected in [
            ([("a", "new")], ["changed"]),
            ([("a", "old")], []),
            ([("b", "1")], ["changed"]),
            ([("a", "new"), ("b", "2")], []),
            ([("a", "new"), ("a", "old")], []),
            ([("key 999", "999")], ["many"]),
            ([("key 999", "998")], []),
            ([(f"key {number}", str(number)) for number in range(16)], ["many"]),
        ]:
            assert await ids(store, metadata=tuple(wanted)) == expected
        assert await ids(store, metadata=(("b", "1"),), prefix="ch", states=frozenset({State.COMPLETE})) == [
            "changed"
        ]

    async def test_streams_are_found_by_their_outcome(self, store: Store) -> None:
        """Only complete streams have one, and it follows the metadata."""
        many = json.dumps(dict.fromkeys(map(str, range(1000)), 1) | {"exit_code": 7})
        for id, metadata, end in [
            ("ok", '{"exit_code": 0}', COMPLETE),
            ("bad", '{"exit_code": 1}', COMPLETE),
            ("many", many, COMPLETE),
            ("said", '{"exit_code": 1, "outcome": "skipped"}', COMPLETE),
            ("none", '{"exit_code": "?"}', COMPLETE),
            ("aborted", '{"exit_code": 1}', ABORTED),
            ("interrupted", '{"exit_code": 1}', INTERRUPTED),
            ("live", '{"exit_code": 1}', None),
        ]:
            writer = await store.create(NewStream(id=id, metadata=metadata))
            if end:
                await writer.close(end)
        success, failure, skipped = ({Outcome(each)} for each in ("success", "failure", "skipped"))
        assert await ids(store, outcomes=frozenset(failure)) == ["many", "bad"]
        assert await ids(store, outcomes=frozenset(success | skipped)) == ["said", "ok"]
        assert await ids(store, outcomes=frozenset(failure), prefix="b") == ["bad"]
        assert await ids(store, outcomes=frozenset(failure), metadata=(("5", "1"),)) == ["many"]
        assert await ids(store, outcomes=frozenset(Outcome), states=frozenset({State.ABORTED})) == []
        bad = await store.info("bad")
        await store.change(bad.key, Patch(metadata='{"exit_code": 0}'), version=bad.version)
        await store.delete((await store.info("ok")).key)
        assert await ids(store, outcomes=frozenset(failure)) == ["many"]
        assert await ids(store, outcomes=frozenset(success)) == ["bad"]

    async def test_streams_are_found_by_a_part_of_their_id(self, store: Store) -> None:
        for id in ("build/42/log", "build/142", "a%b_c", "A%B"):
            await stream(store, id, b"", None if id.endswith("2") else COMPLETE)
        for part, expected in [
            ("42", ["build/142", "build/42/log"]),
            ("42/", ["build/42/log"]),
            ("%b", ["a%b_c"]),
            ("_", ["a%b_c"]),
            ("none", []),
        ]:
            assert await ids(store, contains=part) == expected
        assert await ids(store, contains="42", prefix="build/1") == ["build/142"]

    async def test_folders_have_their_counts_and_their_newest_streams(self, store: Store) -> None:
        for id in ("a/1/x", "a/1/y", "top", "b/1", "a/2", "b/2", "a/1/z", "ab/1"):
            await stream(store, id, b"", None if id == "b/2" else COMPLETE)
        for prefix, total, expected in [
            ("", 8, [("ab/", 1, "ab/1"), ("a/", 4, "a/1/z"), ("b/", 2, "b/2")]),
            ("a/", 4, [("a/1/", 3, "a/1/z")]),
            ("a", 5, [("ab/", 1, "ab/1"), ("a/", 4, "a/1/z")]),
            ("a/1/", 3, []),
            ("none", 0, []),
            ("b/1", 1, []),
        ]:
            count, folders = await store.folders(prefix)
            assert count == total
            assert [(each.prefix, each.count, each.newest.id) for each in folders] == expected
            assert all([each.newest == await store.info(each.newest.id) for each in folders])
        # A replaced stream is the newest one, and deleted streams are not counted.
        await (await store.create(NewStream(id="a/2"), replace=True)).close(COMPLETE)
        await store.delete((await store.info("ab/1")).key)
        await store.delete((await store.info("a/1/z")).key)
        count, folders = await store.folders("")
        assert [(each.prefix, each.count, each.newest.id) for each in folders] == [
            ("a/", 3, "a/2"), ("b/", 2, "b/2"),
        ]  # fmt: skip
        assert count == 6

    async def test_the_failures_of_a_folder_are_counted_unless_it_is_large(self, store: Store) -> None:
        async def add(id: str, code: int, end: Patch = COMPLETE) -> None:
            await (await store.create(NewStream(id=id, metadata=f'{{"exit_code": {code}}}'))).close(end)

        for number in range(3):
            await add(f"a/{number}", number)
        await add("a/aborted", 1, ABORTED)
        for number in range(FAILURES):
            await add(f"b/{number}", number % 2)
        counts = {each.prefix: each.failures for each in (await store.folders(""))[1]}
        assert counts == {"a/": 2, "b/": FAILURES // 2}
        await add("b/more", 1)
        assert [each.failures for each in (await store.folders(""))[1]] == [None, 2]

    async def test_finding_can_be_left_early(self, store: Store) -> None:
        for number in range(5):
            await stream(store, f"s{number}")
        async for info in store.find(Query()):
            assert info.id == "s4"
            break
        assert len(await ids(store)) == 5

    async def test_due_returns_streams_past_their_deadline_earliest_first(
        self, store: Store, clock: ManualClock
    ) -> None:
        for deadline in (30.0, 10.0, 20.0, 40.0):
            interrupted = Patch(state=State.INTERRUPTED, deadline=clock.time + deadline)
            await stream(store, f"in {deadline}", b"", interrupted)
        await stream(store, "open", b"", Patch(state=State.OPEN, deadline=clock.time + 15.0))
        await stream(store, "open for good", b"", Patch(state=State.OPEN))
        for patch in (None, COMPLETE, ABORTED):
            await stream(store, f"no deadline {patch}", b"", patch)
        for later, expected in [
            (9.9, []),
            (10.0, ["in 10.0"]),
            (30.0, ["in 10.0", "open", "in 20.0", "in 30.0"]),
            (1e9, ["in 10.0", "open", "in 20.0", "in 30.0", "in 40.0"]),
        ]:
            due = await store.due(clock.time + later)
            assert [info.id for info in due] == expected
            assert due == [await store.info(info.id) for info in due]

    async def test_stream_that_is_resumed_or_ended_is_no_longer_due(self, store: Store) -> None:
        resumed, aborted, deleted = [await stream(store, id, b"", INTERRUPTED) for id in ("a", "b", "c")]
        assert len(await store.due(1e9)) == 3
        await store.resume(resumed.key, 0)
        await store.change(aborted.key, ABORTED, version=(await store.info("b")).version)
        await store.delete(deleted.key)
        assert await store.due(1e9) == []

    async def test_due_returns_some_hundreds_at_a_time(self, store: Store) -> None:
        writers = await asyncio.gather(*(store.create(NewStream(id=str(number))) for number in range(1200)))
        patches = [Patch(state=State.INTERRUPTED, deadline=2_000.0 - number) for number in range(1200)]
        closes = [writer.close(patch) for writer, patch in zip(writers, patches, strict=True)]
        await asyncio.gather(*closes)
        due = await store.due(1e9)
        assert 100 <= len(due) < 1000
        assert [info.id for info in due] == [str(number) for number in range(1199, 1199 - len(due), -1)]

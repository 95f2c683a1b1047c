import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.stores import TestStore, created, fed, settled

from loom.errors import Busy, LoomError, StoreStopped
from loom.model import Info, NewStream, Patch, Query, State
from loom.store.base import Writer
from loom.streams.hub import Hub
from loom.streams.spy import Spy, TextOutput
from loom.testing.tools import ManualClock
from loom.wire.text import unfinished


@pytest.fixture
async def store() -> TestStore:
    return TestStore(ManualClock(1_000_000.0))


@pytest.fixture
async def hub(store: TestStore) -> AsyncIterator[Hub]:
    hub = Hub(store)
    yield hub
    await settled()
    assert store.idle, "spies that left hold nothing"
    assert hub.statistics().tails == 0
    assert not hub.listeners
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Spying:
    """A spy that reads continuously, or only on request."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self.pieces = pieces
        self.seen = b""
        self.error: LoomError | None = None
        self.longest = 0
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> "Spying":
        self._add(await anext(self.pieces))
        return self

    def read_on(self) -> "Spying":
        self._task = asyncio.create_task(self._run())
        return self

    async def leave(self) -> bytes:
        """Read all that is available without waiting, then leave."""
        if self._task is None:
            self.read_on()
        assert self._task is not None
        await settled()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.pieces.aclose()
        return self.seen

    async def _run(self) -> None:
        try:
            async for piece in self.pieces:
                self._add(piece)
        except LoomError as error:
            self.error = error

    def _add(self, piece: bytes) -> None:
        self.seen += piece
        self.longest = max(self.longest, len(piece))


async def joined(store: TestStore, hub: Hub, *, color: bool = False, pending: int = 100) -> Spying:
    return await Spying(Spy(store, hub, pending=pending).interleave(TextOutput(color))).join()


async def ended(writer: Writer, state: State = State.COMPLETE) -> None:
    await writer.close(Patch(state=state))


async def test_life_of_one_stream(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    writer = await created(store, "build/1")
    await fed(writer, b"one\n", b"two\n")
    await settled()
    await ended(writer)
    assert await spy.leave() == b"START: build/1\nbuild/1:\none\ntwo\nEND: build/1\n"


async def test_streams_take_turns_and_each_run_has_its_line(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    a, b = await created(store, "a"), await created(store, "b")
    await settled()
    for writer, chunk in [(a, b"1\n"), (a, b"2\n"), (b, b"3\n"), (a, b"4\n")]:
        await fed(writer, chunk)
        await settled()
    await ended(b)
    await settled()
    await fed(a, b"5\n")
    assert await spy.leave() == b"START: a\nSTART: b\na:\n1\n2\nb:\n3\na:\n4\nEND: b\na:\n5\n"


async def test_start_and_end_begin_on_a_new_line(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    a, b = await created(store, "a"), await created(store, "b")
    await settled()
    for writer, chunk in [(a, b"half "), (b, b"x"), (a, b"line")]:
        await fed(writer, chunk)
        await settled()
    await ended(a)
    assert await spy.leave() == b"START: a\nSTART: b\na:\nhalf \nb:\nx\na:\nline\nEND: a\n"


async def test_live_stream_is_shown_from_now_on_and_new_one_from_its_start(store: TestStore, hub: Hub):
    old = await created(store, "old", b"before\n")
    lost = await created(store, "lost", b"before\n")
    await ended(lost, State.INTERRUPTED)
    await ended(await created(store, "over", b"before\n"))
    spy = await joined(store, hub)
    assert spy.seen == b"START: lost\nSTART: old\n", "newest first, and no stream that has ended"
    new = await created(store, "new", b"first\n")
    await fed(old, b"now\n")
    await fed(await store.resume(lost.key, 7), b"back\n")
    spy.read_on()
    await settled()
    await ended(new)
    seen = await spy.leave()
    assert b"before" not in seen
    assert seen.split(b"START: new\n")[1] == b"new:\nfirst\nold:\nnow\nlost:\nback\nEND: new\n"


async def test_a_spy_that_pauses_is_shown_the_rest_later(store: TestStore, hub: Hub):
    spy = await joined(store, hub)
    for id in ("one", "two"):
        writer = await created(store, id, id.encode() + b"\n")
        await ended(writer)
    assert len(store.followings) == 2, "for a spy that does not read, once for all spies"
    seen = await spy.leave()
    assert seen == b"START: one\none:\none\nEND: one\nSTART: two\ntwo:\ntwo\nEND: two\n"


async def test_slow_spy_loses_no_byte_and_holds_none(store: TestStore):
    hub = Hub(store, tail_limit=1_000)
    spy = await joined(store, hub)
    contents = {id: os.urandom(500_000).replace(b"\n", b"") for id in "ab"}
    for id, content in contents.items():
        writer = await created(store, id)
        await fed(writer, *[content[at : at + 50_000] for at in range(0, len(content), 50_000)])
        await ended(writer)
        assert hub.statistics().held <= 1_000
    seen = await spy.leave()
    runs = dict.fromkeys("ab", b"")
    for id, run in re.findall(rb"(?:^|\n)([ab]):\n([^\n]*)", seen):
        runs[id.decode()] += run
    assert runs == contents
    assert seen.count(b"START: ") == seen.count(b"END: ") == 2
    assert spy.longest < 200_000
    assert not store.contents


async def test_a_fast_stream_does_not_delay_another(store: TestStore, hub: Hub):
    spy = await joined(store, hub)
    await created(store, "big", b"x" * 10_000_000)
    await created(store, "small", b"here I am\n")
    while b"here I am" not in spy.seen:
        spy._add(await anext(spy.pieces))
    assert len(spy.seen) < 1_000_000
    await spy.leave()


@pytest.mark.parametrize("replaced", [True, False])
async def test_deleted_stream_ends_after_the_bytes_in_the_ring(store: TestStore, hub: Hub, replaced: bool):
    spy = (await joined(store, hub)).read_on()
    writer = await created(store, "a")
    await settled()
    writer.append(b"last words\n")
    if replaced:
        await store.create(NewStream(id="a"), replace=True)
    else:
        await store.delete(writer.key)
    again = b"START: a\n" if replaced else b""
    assert await spy.leave() == b"START: a\na:\nlast words\nEND: a\n" + again


async def test_stream_deleted_while_the_spy_pauses_just_ends(store: TestStore):
    hub = Hub(store, tail_limit=1_000)
    behind = await created(store, "behind")
    spy = await joined(store, hub)
    await fed(behind, b"x" * 100_000, b"y")
    never_seen = await created(store, "never", b"z")
    await store.delete(behind.key)
    await store.delete(never_seen.key)
    seen = await spy.leave()
    assert seen == b"START: behind\nEND: behind\nSTART: never\nnever:\nz\nEND: never\n"


async def test_split_character_stays_whole(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    a, b = await created(store, "a"), await created(store, "b")
    await settled()
    euro = "€".encode()
    await fed(a, b"1" + euro[:1])
    await settled()
    await fed(b, b"between\n")
    await settled()
    await fed(a, euro[1:2])
    await settled()
    await fed(a, euro[2:] + b"2\n")
    await settled()
    assert await spy.leave() == "START: a\nSTART: b\na:\n1\nb:\nbetween\na:\n€2\n".encode()


async def test_character_that_is_never_finished_is_shown_at_the_end(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    writer = await created(store, "a", b"x\n\xe2\x82")
    await settled()
    assert spy.seen.endswith(b"x\n")
    await ended(writer)
    assert await spy.leave() == b"START: a\na:\nx\n\xe2\x82\nEND: a\n"


@given(st.lists(st.one_of(st.binary(max_size=5), st.text(max_size=3).map(str.encode)), max_size=20))
async def test_binary_passes_unchanged_in_any_pieces(chunks: list[bytes]):
    store = TestStore(ManualClock(1_000_000.0))
    spy = (await joined(store, Hub(store))).read_on()
    writer = await created(store, "a")
    for chunk in chunks:
        await fed(writer, chunk)
        await settled()
    await ended(writer)
    seen = await spy.leave()
    content = b"".join(chunks)
    line = b"" if content.endswith(b"\n") or not content else b"\n"
    assert seen == b"START: a\n" + (b"a:\n" if content else b"") + content + line + b"END: a\n"


@given(st.text(max_size=4), st.integers(0, 3))
def test_unfinished_counts_the_bytes_of_a_cut_character(text: str, cut: int):
    data = text.encode()
    part = data[: len(data) - cut]
    whole = part.decode("utf-8", "ignore").encode()
    assert unfinished(part) == len(part) - len(whole)


def test_unfinished_takes_no_binary_for_a_character():
    for data in (b"", b"a", b"\x80\x80\x80\x80", b"\xff", b"\xc0", b"\xf5\x80", b"a\xe2b"):
        assert unfinished(data) == 0


async def test_color_marks_each_stream_and_leaks_into_no_other_line(store: TestStore, hub: Hub):
    spy = (await joined(store, hub, color=True)).read_on()
    a, b = await created(store, "a"), await created(store, "b")
    await settled()
    for writer, chunk in [(a, b"one"), (b, b"two\n"), (a, b"three\n")]:
        await fed(writer, chunk)
        await settled()
    await ended(a)
    seen = (await spy.leave()).decode()
    found = re.fullmatch(
        r"START: \x1b\[1;(\d+)ma\x1b\[0m\n"
        r"START: \x1b\[1;(\d+)mb\x1b\[0m\n"
        r"\x1b\[1;\1ma\x1b\[0m:\n\x1b\[\1mone\x1b\[0m\n"
        r"\x1b\[1;\2mb\x1b\[0m:\n\x1b\[\2mtwo\n\x1b\[0m"
        r"\x1b\[1;\1ma\x1b\[0m:\n\x1b\[\1mthree\n\x1b\[0m"
        r"END: \x1b\[1;\1ma\x1b\[0m\n",
        seen,
    )
    assert found, seen
    assert found[1] != found[2]


async def test_ids_in_any_script(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    await created(store, "сборка/№ 1")
    assert await spy.leave() == "START: сборка/№ 1\n".encode()


async def test_spy_that_lags_too_far_is_cut_and_releases_everything(store: TestStore, hub: Hub):
    live = [await created(store, f"live{number}") for number in range(5)]
    spy = await joined(store, hub, pending=3)
    for writer in live:
        await fed(writer, b"x")
    for number in range(3):
        await created(store, f"new{number}")
    assert len(store.followings) == 8, "live streams do not count"
    await ended(live[0])
    assert store.idle
    spy.read_on()
    await settled()
    assert isinstance(spy.error, Busy)
    await spy.leave()


async def test_spies_share_what_they_follow_and_get_the_same_bytes(store: TestStore, hub: Hub):
    writer = await created(store, "a", b"before\n")
    spies = Spy(store, hub)
    reading = [(await Spying(spies.interleave()).join()).read_on() for _ in range(3)]
    paused = await Spying(spies.interleave()).join()
    hidden = await Spying(spies.interleave(shown=lambda id: id != "a")).join()
    await fed(writer, b"one\n")
    await settled()
    late = await Spying(spies.interleave()).join()
    await fed(writer, b"two\n")
    assert len(store.followings) == hub.statistics().followers == 1
    await ended(writer)
    for spy in (*reading, paused):
        assert await spy.leave() == b"START: a\na:\none\ntwo\nEND: a\n"
    assert await late.leave() == b"START: a\na:\ntwo\nEND: a\n"
    assert await hidden.leave() == b""


async def test_spies_follow_a_bounded_number_of_streams_together(store: TestStore, hub: Hub):
    for number in range(4):
        await created(store, f"live{number}")
    spies = Spy(store, hub, followed=9)
    everything = (await Spying(spies.interleave()).join()).read_on()
    live = (await Spying(spies.interleave(prefix="live")).join()).read_on()
    with pytest.raises(Busy):
        await Spying(spies.interleave(prefix="li")).join()
    await created(store, "one more")  # the spy with the most streams has to end, and there is room again
    await settled()
    assert isinstance(everything.error, Busy)
    for number in range(3):
        await created(store, f"live{number} again")
        await settled()
    assert live.error is None
    assert b"START: live2 again" in await live.leave()


async def test_a_spy_that_lags_makes_room_for_those_that_do_not(store: TestStore, hub: Hub):
    writers = [await created(store, f"live{number}") for number in range(4)]
    spies = Spy(store, hub, followed=8)
    reading = (await Spying(spies.interleave()).join()).read_on()
    stuck = await Spying(spies.interleave()).join()
    for writer in writers:
        await fed(writer, b"x\n")
        await settled()
    stuck.read_on()
    await settled()
    assert isinstance(stuck.error, Busy)
    assert reading.error is None
    assert (await reading.leave()).count(b"x\n") == 4


async def test_spy_cut_while_it_attaches_leaves_nothing(store: TestStore, hub: Hub):
    spy = await joined(store, hub, pending=2)
    spy.read_on()
    store.gate.clear()
    store.entered.clear()
    await created(store, "slow")
    await store.entered.wait()
    for number in range(3):
        await created(store, f"new{number}")
    store.gate.set()
    await settled()
    assert isinstance(spy.error, Busy)
    assert store.idle
    await spy.leave()


async def test_stream_created_while_the_spy_joins_is_shown_once_from_its_start(hub: Hub):
    class Busily(TestStore):
        """Creates a stream before its listing begins."""

        async def find(self, query: Query) -> AsyncIterator[Info]:
            await created(self, "new", b"first\n")
            async for info in super().find(query):
                yield info

    store = Busily(ManualClock(1_000_000.0))
    spy = await joined(store, Hub(store))
    assert await spy.leave() == b"START: new\nnew:\nfirst\n"


async def test_a_spy_is_cut_if_no_descriptor_is_left(store: TestStore):
    hub = Hub(store, tail_limit=10)
    spy = await joined(store, hub)
    await created(store, "a", b"x" * 100)
    store.failure = Busy("Too many open files.")
    spy.read_on()
    await settled()
    assert isinstance(spy.error, Busy)
    assert store.idle
    await spy.leave()


@pytest.mark.parametrize("streams", [0, 2])
async def test_spy_is_cut_when_the_server_drains(store: TestStore, hub: Hub, streams: int):
    spy = (await joined(store, hub)).read_on()
    for number in range(streams):
        await created(store, f"{number}")
    await settled()
    hub.close(StoreStopped("The server is stopping."))
    await settled()
    assert isinstance(spy.error, StoreStopped)
    assert b"END" not in await spy.leave()


async def test_store_that_fails_cuts_the_spy_and_ends_no_stream(store: TestStore, hub: Hub):
    spy = (await joined(store, hub)).read_on()
    await created(store, "a", b"x")
    await settled()
    store.fail("the disk is gone")
    await settled()
    assert isinstance(spy.error, StoreStopped)
    assert b"END" not in await spy.leave()


async def test_leaving_while_joining_leaves_nothing(store: TestStore, hub: Hub):
    await created(store, "a")
    store.gate.clear()
    pieces = Spy(store, hub).interleave()
    joining = asyncio.create_task(anext(pieces))
    await settled()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    store.gate.set()

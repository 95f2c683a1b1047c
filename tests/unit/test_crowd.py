"""Groups of followers: what they share, how they form, and how their turns leave time for others."""

import asyncio
import gc
from collections.abc import Callable
from itertools import pairwise

from tests.unit.stores import TestStore, created, fed

from loom.model import Patch, State
from loom.store.base import Writer
from loom.streams.crowd import LEAVING, SHORT, AsStored, Beat, Form, Member, Standing
from loom.streams.hub import Hub, Tail
from loom.testing.tools import ManualClock


class Follower:
    """A member with a transport that keeps what is written."""

    def __init__(self, tail: Tail, form: Form | None = None, beat: Beat | None = None) -> None:
        self.member = Member(form or AsStored(), beat).invite(tail.crowd, tail.end)
        self.frames: list[bytes] = []
        self.left = 0
        self._tail = tail
        self._written = asyncio.Event()

    def join(self, frame: Callable[[bytes], bytes] = bytes) -> bool:
        return self.member.join(self.on_write, frame, self.on_left)

    def rejoin(self) -> bool:
        self.member.invite(self._tail.crowd, self._tail.end)
        return self.join()

    def on_write(self, frame: bytes) -> None:
        self.frames.append(frame)
        self._written.set()

    async def wait_frames(self, count: int) -> None:
        while len(self.frames) < count:
            self._written.clear()
            await self._written.wait()

    def on_left(self, error: Exception | None) -> None:
        assert error is None
        self.left += 1

    @property
    def got(self) -> bytes:
        return b"".join(self.frames)


class Setup:
    """A stream, its tail, and followers of it."""

    def __init__(self, hub: Hub, writer: Writer, tail: Tail) -> None:
        self.hub, self.writer, self.tail = hub, writer, tail

    def followers(self, count: int) -> list[Follower]:
        made = [Follower(self.tail) for _ in range(count)]
        assert all(follower.join() for follower in made)
        return made

    async def feed(self, *lines: bytes) -> None:
        await fed(self.writer, *lines)
        await turn()


async def turn() -> None:
    """Let what is queued now run."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def setup_with(at_once: int = 100) -> Setup:
    store = TestStore(ManualClock(1_000_000.0))
    hub = Hub(store, at_once=at_once)
    writer = await created(store)
    return Setup(hub, writer, await hub.attach(writer.key))


async def test_bytes_are_framed_once_for_all_members_of_a_group():
    setup = await setup_with()
    framed: list[bytes] = []

    def frame(data: bytes) -> bytes:
        framed.append(data)
        return b"[%b]" % data

    followers = [Follower(setup.tail) for _ in range(50)]
    assert all(follower.join(frame) for follower in followers)
    await setup.feed(b"one")
    await setup.feed(b"two")
    assert framed == [b"one", b"two"]
    assert len({id(follower.frames[0]) for follower in followers}) == 1
    assert all(follower.got == b"[one][two]" for follower in followers)
    assert [follower.member.sent for follower in followers] == [6] * 50, "without framing"


async def test_members_that_frame_differently_get_their_own_framing():
    setup = await setup_with()
    plain, framed = Follower(setup.tail), Follower(setup.tail)
    plain.join()
    framed.join(lambda data: b"[%b]" % data)
    await setup.feed(b"one")
    assert (plain.got, framed.got) == (b"one", b"[one]")


async def test_one_turn_delivers_to_a_bounded_number_of_members_and_then_others_run():
    setup = await setup_with(at_once=10)
    followers = setup.followers(95)
    await fed(setup.writer, b"x")
    delivered: list[int] = []
    while not delivered or delivered[-1] < 95:
        delivered.append(sum(len(follower.frames) for follower in followers))
        await asyncio.sleep(0)
    steps = [after - before for before, after in pairwise(delivered)]
    assert max(steps) <= 10
    assert all(follower.got == b"x" for follower in followers)


async def test_bytes_that_arrive_during_the_turns_of_a_crowd_reach_all_in_order():
    setup = await setup_with(at_once=2)
    followers = setup.followers(9)
    for number in range(20):
        await fed(setup.writer, b"%02d" % number)
    for _ in range(60):
        await asyncio.sleep(0)
    assert all(follower.got == b"".join(b"%02d" % number for number in range(20)) for follower in followers)


async def test_member_that_leaves_knows_its_offset_and_gets_nothing_more():
    setup = await setup_with()
    one, two = setup.followers(2)
    await setup.feed(b"first")
    one.member.leave()
    one.member.leave()
    await setup.feed(b"second")
    assert (one.left, one.got, one.member.offset, one.member.sent) == (1, b"first", 5, 5)
    assert (two.left, two.got, two.member.offset) == (0, b"firstsecond", 11)
    assert one.rejoin()
    await setup.feed(b"third")
    assert (one.got, one.member.offset, one.member.sent) == (b"firstthird", 16, 10)


async def test_member_is_refused_if_bytes_came_since_it_was_invited_or_the_stream_ended():
    setup = await setup_with()
    late = Follower(setup.tail)
    await setup.feed(b"x")
    assert not late.join()
    await setup.writer.close(Patch(state=State.COMPLETE))
    assert not late.rejoin()
    assert late.left == 0


async def test_end_of_the_stream_lets_all_leave_after_the_last_byte():
    setup = await setup_with(at_once=2)
    followers = setup.followers(5)
    await fed(setup.writer, b"last")
    await setup.writer.close(Patch(state=State.COMPLETE))
    for _ in range(20):
        await asyncio.sleep(0)
    assert all((each.got, each.left, each.member.offset) == (b"last", 1, 4) for each in followers)


async def test_members_leave_an_ended_stream_in_turns():
    setup = await setup_with(at_once=256)
    followers = setup.followers(200) + setup.followers(30)
    closing = asyncio.create_task(setup.writer.close(Patch(state=State.COMPLETE)))
    left = [0]
    while left[-1] < len(followers):
        await asyncio.sleep(0)
        left.append(sum(follower.left for follower in followers))
    await closing
    assert max(after - before for before, after in pairwise(left)) <= LEAVING


async def test_a_long_piece_is_left_to_each_follower():
    setup = await setup_with()
    (follower,) = setup.followers(1)
    await setup.feed(bytes(SHORT + 1))
    assert (follower.got, follower.left, follower.member.offset) == (b"", 1, 0)


async def test_members_that_joined_at_different_times_become_one_group_with_the_next_bytes():
    setup = await setup_with()
    framed: list[bytes] = []

    def frame(data: bytes) -> bytes:
        framed.append(data)
        return data

    early = Follower(setup.tail)
    assert early.join(frame)
    await fed(setup.writer, b"x")  # `early` has yet to get this byte
    late = Follower(setup.tail)
    assert late.join(frame)
    await turn()
    assert (early.got, late.got) == (b"x", b"")
    await setup.feed(b"y")
    assert (early.got, late.got) == (b"xy", b"y")
    assert framed == [b"x", b"y"]
    assert (early.member.sent, late.member.sent) == (2, 1)
    late.member.leave()
    assert late.member.sent == 1


async def test_a_long_life_of_a_crowd_leaves_nothing_in_memory():
    setup = await setup_with(at_once=3)

    def standings() -> int:
        gc.collect()
        return sum(isinstance(each, Standing) for each in gc.get_objects())

    before = standings()
    followers = setup.followers(10)
    for number in range(100):
        await setup.feed(b"x")
        followers[number % 10].member.leave()
        followers[number % 10].rejoin()
    assert standings() - before < 20
    for follower in followers:
        follower.member.leave()
    for _ in range(10):
        await asyncio.sleep(0)
    assert standings() == before


async def test_silence_is_filled_with_beats_and_bytes_postpone_them():
    setup = await setup_with()
    follower, other = Follower(setup.tail, beat=Beat(0.02, b"beat")), Follower(setup.tail)
    follower.join()
    other.join()
    await follower.wait_frames(3)
    await setup.feed(b"x")
    assert follower.frames == [b"beat", b"beat", b"beat", b"x"]
    assert other.frames == [b"x"]
    assert (follower.member.offset, follower.member.sent) == (1, 13)
    loop = asyncio.get_running_loop()
    silent_since = loop.time()
    await follower.wait_frames(5)
    assert loop.time() - silent_since >= 0.018
    follower.member.leave()
    frames = list(follower.frames)
    await asyncio.sleep(0.05)  # time itself is tested
    assert follower.frames == frames

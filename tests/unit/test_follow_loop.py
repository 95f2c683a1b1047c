"""Readers at any pace beside a producer, alone and in crowds, in any order of events."""

import asyncio
import os
import random
from contextlib import ExitStack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.stores import TestStore, created, service_on, settled

from loom.errors import LoomError, StreamAborted, StreamGone
from loom.model import NewStream, Patch, State
from loom.store.base import Writer
from loom.streams.crowd import AsStored, Member
from loom.streams.hub import Hub
from loom.streams.ranges import FromOffset, LastBytes
from loom.streams.reading import FileSlice, Reading
from loom.testing.tools import ManualClock

BYTES = random.Random(0).randbytes(40 * 300_000)
"""The bytes of the stream. Bytes from a wrong offset are recognized."""
SIZES = st.sampled_from([1, 7, 100, 5_000, 70_000, 300_000])
FEED = st.tuples(st.just("feed"), SIZES)
READ = st.tuples(st.just("read"), st.integers(0, 5))
PAUSE = st.tuples(st.sampled_from(["fill", "fail", "pause"]), st.integers(0, 5))
SELECTORS = st.builds(FromOffset, st.sampled_from([0, 0, 1, 5_000, 300_001, 2_000_000])) | st.builds(
    LastBytes, st.sampled_from([0, 1, 70_001])
)
JOIN = st.tuples(st.just("join"), st.tuples(SELECTORS, st.booleans(), st.booleans()))
RARE = st.tuples(st.sampled_from(["hold", "commit", "press", "resume"]), st.none())
STEPS = st.tuples(st.one_of(FEED, FEED, READ, READ, JOIN, PAUSE, RARE), st.integers(0, 4))
"""An event, and how many iterations of the event loop follow it."""
ENDS = st.sampled_from(["complete", "abort", "replace", "delete"])


class Full(Exception):
    """A transport failed."""


class Reader:
    """Takes one piece for each step, or what its crowd writes, and compares each byte with its offset."""

    def __init__(self, world: "World", reading: Reading, slices: bool, crowded: bool) -> None:
        self.start = self.offset = reading.part.start
        self.error: LoomError | Full | None = None
        self.reading = reading
        self._world = world
        self._steps = asyncio.Semaphore(0)
        self.hurry = False
        self._slices = slices
        self.member = Member(AsStored()) if crowded else None
        self.at_next_write = ""
        self.task = asyncio.create_task(self._run())

    def step(self) -> None:
        self._steps.release()

    def run_on(self) -> None:
        self.hurry = True
        self._steps.release()

    def on_write(self, data: bytes) -> None:
        """Take what the crowd delivers, as a transport that becomes full or fails where the test says so."""
        if self.at_next_write == "fail":
            self.offset += len(data)
            raise Full
        self.compare(data)
        if self.at_next_write == "fill":
            assert self.member is not None
            self.at_next_write = ""
            self.member.leave()
            assert self.member.offset == self.offset

    def compare(self, data: bytes) -> None:
        assert data
        assert data == BYTES[self.offset : self.offset + len(data)], "a gap or a repeat"
        self.offset += len(data)
        assert self.offset <= self._world.writer.durable, "shown before it is durable"

    async def _stay(self, member: Member) -> None:
        """Stay in the crowd until the member leaves, as a server does."""
        left = asyncio.get_running_loop().create_future()

        def on_left(error: Exception | None) -> None:
            left.set_result(None) if error is None else left.set_exception(error)

        for _ in range(self.offset % 3):  # a server may first wait for the transport
            await asyncio.sleep(0)
        if member.join(self.on_write, bytes, on_left):
            assert not self.reading.available
            await left
        assert member.offset == self.offset == self.reading.offset

    async def _run(self) -> None:
        async with self.reading:
            try:
                async for piece in self.reading.pieces(slices=self._slices, member=self.member):
                    if isinstance(piece, Member):
                        await self._stay(piece)
                        continue
                    if isinstance(piece, FileSlice):
                        assert piece.start == self.offset
                        piece = os.pread(piece.fileno, piece.stop - piece.start, piece.start)
                    self.compare(piece)
                    if not self.hurry:
                        await self._steps.acquire()
            except (LoomError, Full) as error:
                self.error = error


class World:
    """One stream with its readers, and another stream that uses up the hub's budget."""

    def __init__(self, tail_limit: int, budget: int, filed: int, at_once: int) -> None:
        self.clock = ManualClock(1_000_000.0)
        self.store = TestStore(self.clock)
        self.store.filed = filed
        self.hub = Hub(self.store, budget, tail_limit=tail_limit, at_once=at_once)
        self.service = service_on(self.store, self.hub, self.clock)
        self.readers: list[Reader] = []
        self.holds = ExitStack()
        self.writer: Writer
        self.other: Writer

    async def begin(self) -> None:
        self.writer = await created(self.store)
        self.other = await created(self.store, "other")
        await self.hub.attach(self.other.key)

    async def do(self, what: str, argument: Any) -> None:
        if what == "feed":
            offset = self.writer.accepted
            self.writer.append(BYTES[offset : offset + argument])
        elif what == "read" and self.readers:
            self.readers[argument % len(self.readers)].step()
        elif what == "join":
            selector, slices, crowded = argument
            reading = await self.service.read("a", lambda info: selector.select(info, True))
            self.readers.append(Reader(self, reading, slices, crowded))
        elif what in ("fill", "fail") and self.readers:
            self.readers[argument % len(self.readers)].at_next_write = what
        elif what == "pause" and self.readers:
            if (member := self.readers[argument % len(self.readers)].member) is not None:
                member.leave()
        elif what == "hold":
            self.holds.enter_context(self.store.held())
        elif what == "commit":
            self.holds.close()
            await self.writer.wait_durable(self.writer.accepted)
        elif what == "press":
            self.other.append(bytes(100_000))
        elif what == "resume":
            self.holds.close()
            await self.writer.close(Patch(state=State.INTERRUPTED))
            self.writer = await self.store.resume(self.writer.key, self.writer.durable)

    async def end(self, how: str) -> None:
        self.holds.close()
        if how == "complete":
            await self.writer.close(Patch(state=State.COMPLETE))
        elif how == "abort":
            await self.writer.close(Patch(state=State.ABORTED))
        elif how == "replace":
            successor = await self.store.create(NewStream(id="a"), replace=True)
            successor.append(b"\xff" * 1_000)
            await successor.wait_durable(1_000)
        else:
            await self.store.delete(self.writer.key)
        for reader in self.readers:
            reader.run_on()
        await asyncio.gather(*(reader.task for reader in self.readers))


@settings(max_examples=200)
@given(
    steps=st.lists(STEPS, min_size=10, max_size=40),
    end=ENDS,
    tail_limit=st.sampled_from([100, 2_000, 400_000]),
    budget=st.sampled_from([1_000, 300_000]),
    filed=st.sampled_from([0, 200_000]),
    at_once=st.sampled_from([1, 2, 100]),
)
async def test_followers_get_every_byte_once_and_the_true_end(
    steps: list[tuple[tuple[str, Any], int]], end: str, tail_limit: int, budget: int, filed: int, at_once: int
):
    world = World(tail_limit, budget, filed, at_once)
    await world.begin()
    for step, turns in steps:
        await world.do(*step)
        for _ in range(turns):
            await asyncio.sleep(0)
    await world.end(end)
    for reader in world.readers:
        if isinstance(reader.error, Full):
            continue  # the others still get all
        if end in ("complete", "abort"):
            assert reader.offset == max(reader.start, world.writer.durable)
        cut_with = {"complete": type(None), "abort": StreamAborted}.get(end, StreamGone)
        assert isinstance(reader.error, cut_with)
    assert not world.store.contents
    assert world.hub.statistics().followers == 1
    assert world.hub.statistics().held <= budget
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}

"""Repeated kill -9 under load on one data directory.

Each round records what was sent and what was reported to clients: 201s, ends, 409s, states, bytes. After the
restart all of it must still be true. The choices are seeded; the exact time of the kill depends on the
machine.
"""

import asyncio
import random
from asyncio import IncompleteReadError, TaskGroup
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import Content, ask, bytes_of, connect, follow, is_cut, soon
from tests.support.server import Server, tell
from tests.support.wire import Cut, Head

ROUNDS = 20
STREAMS = 30
SEED = 2
WINDOW = 4.0
LOST = Cut, ConnectionError, IncompleteReadError
SIZES = [1, 100, 100, 3_000, 60_000, 400_000]
"""Sizes of pieces: single bytes, lines, and pieces too large for the commit log."""


@dataclass(eq=False)
class Take:
    """One attempt to create a stream: what was sent for it, and what was reported of it."""

    number: int
    force: bool = False
    sent: int = 0
    ended: bool = False
    """Its last chunk was sent."""
    exists: bool = False
    complete: bool = False
    shown: int = 0

    @property
    def content(self) -> Content:
        return Content(self.number)


@dataclass(eq=False)
class Stream:
    """One id, and the attempts to create a stream with it."""

    target: str
    taken: bool = False
    """A producer received 409."""
    takes: dict[int, Take] = field(default_factory=dict)

    def add(self, number: int, *, force: bool = False) -> Take:
        self.takes[number] = Take(number, force)
        return self.takes[number]

    def take(self, head: Head) -> Take:
        """Return the attempt whose bytes a response has."""
        return self.takes[int(head["x-stream-metadata"])]


async def live(server: Server, stream: Stream, number: int, seed: int) -> None:
    """Run two producers of the same id, and perhaps one that replaces it, until the server is gone."""
    rng = random.Random(seed)
    await asyncio.sleep(rng.uniform(0, 0.3))
    async with TaskGroup() as group:
        for rival in (number, number + 1):
            group.create_task(send(server, stream, stream.add(rival), rng, group))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0.02, 0.5))
            group.create_task(send(server, stream, stream.add(number + 2, force=True), rng, group))


async def send(server: Server, stream: Stream, take: Take, rng: random.Random, group: TaskGroup) -> None:
    """Send pieces at some pace; end the stream, reset the connection, or lose the server."""
    pace, pieces = rng.choice([0, 0.002, 0.02]), rng.choice([3, 30, 10_000])
    with suppress(*LOST):
        async with connect(server) as wire:
            await wire.post(stream.target + "?force=true" * take.force, x_stream_metadata=take.number)
            if (await wire.answer()).status == 409:
                stream.taken = True
                return
            take.exists = True
            for _ in range(2):
                group.create_task(watch(server, stream, rng))
            for _ in range(pieces):
                data = take.content.at(take.sent, rng.choice(SIZES))
                take.sent += len(data)
                await wire.chunk(data)
                await asyncio.sleep(pace)
            if rng.random() < 0.3:
                wire.reset()
                return
            take.ended = True
            await wire.chunk(b"")
            assert await wire.body() == b""
            take.complete = True


async def watch(server: Server, stream: Stream, rng: random.Random) -> None:
    """Follow the stream from its start until the stream or the server ends."""
    with suppress(*LOST):
        async with follow(server, stream.target) as wire:
            take = stream.take(wire.head)
            take.exists = True
            size = 0
            async for data in bytes_of(wire):
                assert take.content.holds(size, data)
                size += len(data)
                take.shown = max(take.shown, size)
                await asyncio.sleep(rng.choice([0, 0, 0.01]))
            if "content-length" not in wire.head:
                assert size == take.sent
                assert take.ended
                take.complete = True


async def check(server: Server, stream: Stream, unfinished: set[str]) -> str:
    """Compare the stored stream with what was reported of it; return its state, or `none`."""
    known = [take for take in stream.takes.values() if take.exists]
    assert sum(not take.force for take in known) <= 1, "two producers won"
    head, body = await ask(server, "GET", f"{stream.target}?notail")
    if head.status == 404:
        assert not known
        assert not stream.taken
        return "none"
    take, state = stream.take(head), head["x-stream-state"]
    assert not known or take.force or take is known[-1], "a replaced stream came back"
    assert take.content.holds(0, body)
    assert take.shown <= len(body) <= take.sent
    if state == "complete":
        assert take.ended
        assert len(body) == take.sent
    else:
        assert not take.complete
        assert state in unfinished
    async with connect(server) as rival:
        await rival.post(stream.target)
        assert (await rival.answer()).status == 409
    return state


async def all_states(server: Server, streams: list[Stream], unfinished: set[str]) -> Counter[str]:
    return Counter(await asyncio.gather(*(check(server, stream, unfinished) for stream in streams)))


@pytest.mark.timeout(180)
async def test_everything_reported_to_clients_is_true_after_kill_9(serve: Serve):
    rng = random.Random(SEED)
    rounds: list[list[Stream]] = []
    counts: Counter[str] = Counter()
    server = await serve(resume_window=WINDOW)
    for round in range(ROUNDS):
        streams = [Stream(f"/stream/kill/{round}/{place}") for place in range(STREAMS)]
        rounds.append(streams)
        living = [
            asyncio.create_task(live(server, stream, 3 * (round * STREAMS + place), rng.getrandbits(32)))
            for place, stream in enumerate(streams)
        ]
        await asyncio.sleep(rng.uniform(0.02, 1.2))
        await server.kill()
        await soon(asyncio.gather(*living))
        server = await serve(resume_window=WINDOW)
        counts += await all_states(server, streams, {"interrupted", "aborted"})
    takes = [take for streams in rounds for stream in streams for take in stream.takes.values()]
    shown = sum(take.shown for take in takes) >> 20
    tell(f"{dict(counts)}; {sum(take.shown > 0 for take in takes)} shown, {shown} MiB")
    assert min(counts["interrupted"], counts["complete"]) > ROUNDS

    # Followers wait for the producers that were lost; after the window their responses are cut.
    async with AsyncExitStack() as stack:
        followers = [
            await stack.enter_async_context(follow(server, stream.target))
            for stream in rounds[-1]
            if any(take.exists and not take.ended for take in stream.takes.values())
        ]
        waiting = [wire for wire in followers if wire.head["x-stream-state"] == "interrupted"]
        assert waiting
        assert all(await soon(asyncio.gather(*map(is_cut, waiting))))
    await all_states(server, [stream for streams in rounds for stream in streams], {"aborted"})

"""All operations at once: 100 producers with 10 followers each, at any speed, that end, vanish, are replaced.
No follower may read a wrong byte or a wrong end, and the server may leave nothing open.
"""

import asyncio
import os
import random
from asyncio import TaskGroup
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import Content, bytes_of, connect, follow, is_cut
from tests.support.server import MIB, TRACED, Server, tell, until
from tests.support.wire import Cut, Head, Wire

PRODUCERS = 100
FOLLOWERS = 10
WARM_UP = 5.0
SECONDS = float(os.environ.get("ROUNDS", "20"))
WINDOW = 1.0
SETTLING = 4
SEED = 3
TRACED_SLACK = 2 * MIB
"""Tables of the interpreter double at times; a leak of a kilobyte a follower would be tens of these."""
OBJECTS_SLACK = 400
"""A module that is first imported during the load has hundreds of containers. A leak has at least one a
follower, and there are ten followers for each stream."""
RESIDENT = 150 * MIB
CATALOG = 13
"""Files of the catalog that may be open: the store has two connections, and up to four threads read at once,
each with the catalog and its log open, and all with one shared memory. While a connection has a lock SQLite
keeps the files of closed ones, to use them again. Whether threads ever read at once is a matter of chance."""


@dataclass(eq=False)
class Take:
    """One creation of a stream. How it ends is set before the server can know."""

    number: int
    sent: int = 0
    ended: bool = False
    lost: bool = False
    replaced: bool = False
    created: asyncio.Event = field(default_factory=asyncio.Event)
    leave_off: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a producer that stays has to stop sending."""

    @property
    def content(self) -> Content:
        return Content(self.number)


class Soak:
    """The load, and how often each outcome was seen."""

    def __init__(self, server: Server) -> None:
        self.takes: dict[int, Take] = {}
        self.seen: Counter[str] = Counter()
        self.shown = 0
        self._server = server
        self._numbers = count()

    async def run(self, seconds: float, rng: random.Random) -> None:
        """Produce and follow for so many seconds, then wait for every end."""
        stop = asyncio.get_running_loop().time() + seconds
        async with TaskGroup() as group:
            for place in range(PRODUCERS):
                group.create_task(self._stream(f"/stream/soak/{place}", random.Random(rng.random()), stop))

    async def _stream(self, target: str, rng: random.Random, stop: float) -> None:
        """Create one id again and again, replacing the stream before."""
        loop = asyncio.get_running_loop()
        take = None
        async with TaskGroup() as group:
            while loop.time() < stop:
                if take is not None:
                    take.replaced = True
                take = Take(next(self._numbers))
                self.takes[take.number] = take
                end = rng.choice(["completes", "vanishes", "stays"])
                life = rng.uniform(0.2, 4)
                producing = group.create_task(self._produce(target, take, end, life, rng))
                await take.created.wait()
                following = [group.create_task(self._follow(target, rng, life)) for _ in range(FOLLOWERS)]
                if end == "stays":
                    await asyncio.sleep(life)
                else:
                    await producing
                    if rng.random() < 0.5:
                        await asyncio.wait(following)
                        await self._follow(target, rng, 0)
            assert take is not None
            take.leave_off.set()

    async def _produce(self, target: str, take: Take, end: str, life: float, rng: random.Random) -> None:
        loop = asyncio.get_running_loop()
        async with connect(self._server) as wire:
            await wire.post(f"{target}?force=true", x_stream_metadata=take.number)
            assert (await wire.answer()).status == 201
            take.created.set()
            stop = loop.time() + life
            try:
                while not (take.leave_off.is_set() if end == "stays" else loop.time() > stop):
                    await self._send(wire, take, rng)
                    await asyncio.sleep(rng.expovariate(8))
            except ConnectionError:
                assert take.replaced
            if take.replaced:
                assert await is_cut(wire)
                self.seen["producer replaced"] += 1
            elif end == "vanishes":
                take.lost = True
                wire.reset()
            else:
                take.ended = True
                await wire.chunk(b"")
                assert await wire.body() == b""
                self.seen["producer confirmed"] += 1

    async def _send(self, wire: Wire, take: Take, rng: random.Random) -> None:
        kind = rng.random()
        size = int(rng.uniform(1, 200) if kind < 0.7 else rng.uniform(200, 8_000) if kind < 0.98 else 300_000)
        data = take.content.at(take.sent, size)
        take.sent += size
        await wire.chunk(data)

    async def _follow(self, target: str, rng: random.Random, life: float) -> None:
        """Read at an individual speed, after a delay, to the end or until this follower disconnects."""
        await asyncio.sleep(rng.uniform(0, life))
        pause = rng.choice([0, 0, 0.02, 0.1])
        stuck, leaves = rng.random() < 0.1, rng.random() < 0.1
        async with follow(self._server, target, buffer=32768 if pause or stuck else 0) as wire:
            if stuck:
                await asyncio.sleep(3)
            take, size = self.takes[int(wire.head["x-stream-metadata"])], 0
            try:
                async for data in bytes_of(wire):
                    assert take.content.holds(size, data), "a wrong byte"
                    size += len(data)
                    self.shown += len(data)
                    if pause:
                        await asyncio.sleep(rng.uniform(0, pause))
                    if leaves and rng.random() < 0.1:
                        self.seen["follower left"] += 1
                        return
            except Cut:
                assert take.lost or take.replaced, "cut without a reason"
                assert "content-length" not in wire.head, "a stored stream was cut"
                # A late reader of an aborted stream gets all of it, and is cut at its end too.
                late = wire.head["x-stream-state"] == "aborted"
                self.seen["read aborted" if late else "follower cut"] += 1
                return
        self._check_end(take, size, wire.head)

    def _check_end(self, take: Take, size: int, head: Head) -> None:
        """Check that the response ended as the stream did."""
        if "content-length" not in head:
            assert (take.ended, size) == (True, take.sent)
            self.seen["followed to the end"] += 1
        else:
            assert head["x-stream-state"] == "complete"
            assert (take.ended, size) == (True, take.sent)
            self.seen["read complete"] += 1


@pytest.mark.timeout(SECONDS + 120)
async def test_all_operations_at_once_leak_nothing(serve: Serve):
    server = await serve(program=TRACED, resume_window=WINDOW, log_level="warning")
    rng = random.Random(SEED)
    listening = server.descriptors["socket"]
    await Soak(server).run(WARM_UP, rng)
    before = await at_rest(server, listening)
    soak = Soak(server)
    await soak.run(SECONDS, rng)
    after = await at_rest(server, listening)
    tell(
        f"{len(soak.takes)} streams, {soak.shown / MIB:.0f} MiB shown; {dict(soak.seen)}\n"
        f"before: {before}\nafter: {after}"
    )
    assert len(soak.seen) == 7
    assert min(soak.seen.values()) > PRODUCERS / 4
    assert after.objects - before.objects < max(len(soak.takes) / 2, OBJECTS_SLACK)
    assert after.traced - before.traced < TRACED_SLACK
    assert after.content <= PRODUCERS
    assert after.catalog <= CATALOG
    assert after.others <= before.others
    assert after.resident < RESIDENT


@dataclass(frozen=True)
class Rest:
    """What a server holds without a client. Of descriptors `others` are those of no stream and no catalog.

    `resident` is the most memory it ever had, tracing not counted.
    """

    traced: int
    objects: int
    content: int
    catalog: int
    others: Counter[str]
    resident: int


async def at_rest(server: Server, sockets: int) -> Rest:
    """Wait until every stream has ended and `sockets` are open; return what the server still holds."""
    for place in range(PRODUCERS):
        async with follow(server, f"/stream/soak/{place}") as wire:
            await is_cut(wire)
    await until("connections are still open", lambda: server.descriptors["socket"] <= sockets)
    readings = []
    for _ in range(SETTLING):
        readings.append(await server.traced())
        await asyncio.sleep(1)
    traced, objects, cost = map(min, zip(*readings, strict=True))
    others, content, catalog = server.descriptors, 0, 0
    for name in list(others):
        if "/content/" in name and not name.endswith(" (deleted)"):
            content += others.pop(name)
        elif "/catalog.sqlite" in name:
            catalog += others.pop(name)
    return Rest(traced, objects, content, catalog, others, server.most_resident - cost)

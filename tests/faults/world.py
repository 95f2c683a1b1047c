"""The load of one server, and what must be true after every restart."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import count
from typing import TypeVar
from urllib.parse import urlencode

from tests.faults.ledger import NOTHING, Name
from tests.faults.load import Gone, Producer
from tests.faults.readers import Reader
from tests.support.peers import ask, connect
from tests.support.server import Server
from tests.support.wire import Cut

T = TypeVar("T")
PRODUCERS = 16
AT_ONCE = 16
PREFIX = "faults/"


class World:
    """Producers and readers with one memory; the same seed makes the same choices.

    `fleeting` is the share of streams that may be aborted at any time.
    """

    def __init__(self, seed: int, *, fleeting: float = 0.1) -> None:
        self.names: list[Name] = []
        self.readers: list[Reader] = []
        self.seen: Counter[str] = Counter()
        """How often each outcome was seen."""
        self._seed = seed
        self._lives = count()
        numbers: Callable[[], int] = count(NOTHING + 1).__next__
        self._producers = [
            Producer(self._name_it, numbers, self.seen, fleeting=fleeting) for _ in range(PRODUCERS)
        ]

    def _name_it(self) -> Name:
        name = Name(f"/stream/{PREFIX}{len(self.names)}")
        self.names.append(name)
        self.readers.append(Reader(name))
        return name

    async def live(self, server: Server) -> None:
        """Run the whole load until the server has ended. Raises if a report was not true."""
        life = next(self._lives)
        tasks = [
            asyncio.create_task(until_gone(work(server, random.Random(f"{self._seed} {life} {place}"))))
            for place, work in enumerate(
                [*(producer.work for producer in self._producers), *(each.read for each in self._attached())]
            )
        ]
        await all_of(tasks)

    def _attached(self) -> list[Reader]:
        """Return the readers of the names that producers still work on."""
        worked = {id(producer.name) for producer in self._producers}
        return [reader for name, reader in zip(self.names, self.readers, strict=True) if id(name) in worked]

    async def check(self, server: Server) -> None:
        """Compare the state after a restart with everything that was reported."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(name: Name) -> bool:
            async with turns:
                return await look(server, name)

        there = await all_of([asyncio.create_task(one(name)) for name in self.names])
        listed = await listing(server)
        assert listed == {name.target for name, found in zip(self.names, there, strict=True) if found}, (
            "the listing differs from the streams"
        )
        self.seen["restarts"] += 1

    def __str__(self) -> str:
        resumed = sum(reader.resumed for reader in self.readers)
        shown = sum(take.reported for name in self.names for take in name.takes.values()) >> 20
        return f"{dict(self.seen)}; {len(self.names)} names, {shown} MiB, readers resumed {resumed} times"


async def all_of(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """Await all and return the results; the first failure cancels the others."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_gone(work: Coroutine[None, None, None]) -> None:
    with suppress(Gone):
        await work


async def look(server: Server, name: Name) -> bool:
    """Read one stream to its end; return True if it exists."""
    try:
        head, body = await ask(server, "GET", f"{name.target}?notail")
    except Cut:
        raise AssertionError(f"{name.target} cannot be read to its end") from None
    if head.status == 404:
        name.found(NOTHING)
        return False
    assert head.status == 200, f"{name.target} cannot be read: {head} {body!r}"
    metadata = json.loads(head["x-stream-metadata"])
    name.found(metadata["take"])
    take = name.takes[metadata["take"]]
    take.found(head["x-stream-state"], len(body), metadata["note"])
    assert take.content.holds(0, body), f"{take} has a wrong byte"
    async with connect(server) as rival:
        await rival.post(name.target)
        refused = await rival.answer()
        assert refused.status == 409, f"{name.target} is created once more: {refused}"
    return True


async def listing(server: Server) -> set[str]:
    """Return what GET /streams shows of our streams."""
    targets: set[str] = set()
    query = {"prefix": PREFIX, "limit": 1000}
    while True:
        head, body = await ask(server, "GET", f"/streams?{urlencode(query)}")
        assert head.status == 200
        page = json.loads(body)
        targets |= {f"/stream/{row['id']}" for row in page["streams"]}
        if not page.get("cursor"):
            return targets
        query["cursor"] = page["cursor"]

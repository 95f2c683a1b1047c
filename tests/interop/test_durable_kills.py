"""Producers of Durable Streams that repeat an append until it is answered, through kill -9 of the server.

Each append is stored once: nothing is lost and nothing is doubled. KILLS sets the number of kills.
"""

import asyncio
import json
import os
import random
from asyncio import IncompleteReadError
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.interop.test_durable import HERE
from tests.support.peers import ask, connect
from tests.support.program import free_port
from tests.support.server import Server
from tests.support.wire import Cut

KILLS = int(os.environ.get("KILLS", "5"))
PATH = "/v1/stream/s"
LOST = Cut, ConnectionError, IncompleteReadError
SIZES = [100, 100, 100, 400_000]
"""Bytes of an append of each producer: some that travel in the log, some that are written to a file."""

Start = Callable[[], Awaitable[Server]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a server on this test's data and port, which it keeps."""
    servers: list[Server] = []
    port = free_port()

    async def run() -> Server:
        servers.append(await Server.start(tmp_path / "data", tmp_path / "server.log", port=port))
        return servers[-1]

    yield run
    for server in servers:
        await server.kill()


def filling(number: int, size: int) -> bytes:
    """Return the bytes of a message after its head."""
    return b"%c" % (number % 251) * size


class Idempotent:
    """A producer with one append in flight, which it repeats until it is answered."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.answered = 0
        self.repeats = 0
        self._epoch = 0
        self._first = 0

    def message(self, number: int) -> bytes:
        head = f"{self.name} {number} {self.size}\n".encode()
        return head + filling(number, self.size - len(head))

    async def work(self, server: Server) -> None:
        """Append until the server is gone."""
        try:
            async with connect(server) as wire:
                while True:
                    await wire.request(
                        *("POST", PATH, self.message(self.answered)),
                        content_type="text/plain",
                        producer_id=self.name,
                        producer_epoch=self._epoch,
                        producer_seq=self.answered - self._first,
                    )
                    status = (await wire.answer()).status
                    await wire.body()
                    assert status in (200, 204)
                    self.repeats += status == 204
                    self.answered += 1
        except LOST:
            return

    def restart(self) -> None:
        """Begin a new epoch, as a program that knows which of its appends are stored."""
        self._epoch, self._first = self._epoch + 1, self.answered


async def stored(server: Server) -> dict[str, list[int]]:
    """Return the numbers of the messages of each producer, in the order in which they are stored."""
    head, body = await ask(server, "GET", "/stream/s?notail")
    assert head.status == 200
    found: dict[str, list[int]] = {}
    at = 0
    while at < len(body):
        end = body.index(b"\n", at)
        name, number, size = body[at:end].split()
        assert body[end + 1 : at + int(size)] == filling(int(number), int(size) - (end + 1 - at))
        found.setdefault(name.decode(), []).append(int(number))
        at += int(size)
    return found


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_each_append_is_stored_once_through_kills(start: Start):
    producers = [Idempotent(f"p{each}", size) for each, size in enumerate(SIZES)]
    chance = random.Random(1)
    server = await start()
    head, _ = await ask(server, "PUT", PATH, content_type="text/plain")
    assert head.status == 201
    for _ in range(KILLS):
        working = [asyncio.create_task(each.work(server)) for each in producers]
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        await server.kill()
        await asyncio.gather(*working)
        server = await start()
        found = await stored(server)
        for each in producers:
            numbers = found.get(each.name, [])
            # The last append may be stored without an answer; it is repeated next.
            assert numbers in (list(range(each.answered)), list(range(each.answered + 1)))
        if len(found[producers[0].name]) == producers[0].answered:
            producers[0].restart()
    assert min(each.answered for each in producers) > 0


@pytest.mark.timeout(120)
async def test_the_client_for_javascript_loses_and_doubles_nothing_through_kills(start: Start, tool, package):
    package("@durable-streams/client")
    server = await start()
    process = await asyncio.create_subprocess_exec(
        *(tool("node"), str(HERE / "client.mjs"), "produce", f"{server.url}{PATH}", "5000"),
        stdout=asyncio.subprocess.PIPE,
        cwd=HERE,
    )
    try:
        assert process.stdout is not None
        for sent in (1000, 2000, 4000):
            while int(await process.stdout.readline()) < sent:
                pass
            await server.kill()
            server = await start()
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert json.loads(out.splitlines()[-1]) == {"errors": []}
    head, body = await ask(server, "GET", PATH)
    assert [each["number"] for each in json.loads(body)] == list(range(5000))
    assert head["stream-closed"] == "true"

"""Producers over HTTP: each changes one name after the other, at random from its own seed, until the server
is gone. Requests and responses are recorded in the ledger.
"""

import asyncio
import json
import random
from asyncio import IncompleteReadError
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.ledger import FINAL, NOTHING, Name, Take
from tests.support.peers import connect, send
from tests.support.server import Server
from tests.support.wire import Cut, Head, Wire

LOST = Cut, ConnectionError, IncompleteReadError


class Gone(Exception):
    """The server has ended."""


SIZES = [1, 100, 100, 100, 3_000, 60_000, 300_000, 700_000]
"""Sizes of pieces: single bytes, lines, and large writes that bypass the commit log."""
PIECES = [0, 1, 5, 30, 150]
PACES = [0, 0, 0.001, 0.01]
WINDOW = 3600


@contextmanager
def again() -> Iterator[None]:
    """Accept a lost connection while the server accepts others; raise Gone once it does not."""
    try:
        yield
    except ConnectionRefusedError as error:
        raise Gone from error
    except LOST:
        pass


def note_head(name: Name, head: Head, since: int) -> Take | None:
    """Record what the headers of a response report; return their take. Raises Cut without headers."""
    if head.status >= 500:
        raise Cut
    if head.status == 404:
        name.reported(NOTHING, since)
        return None
    metadata = json.loads(head["x-stream-metadata"])
    name.reported(metadata["take"], since)
    take = name.takes[metadata["take"]]
    take.noticed(metadata["note"])
    if head["x-stream-state"] in FINAL:
        take.was(head["x-stream-state"])
    return take


class Producer:
    """Works on a name until it leaves the name permanently; `name_it` gives the next one, `number` the next
    take's.
    """

    def __init__(
        self, name_it: Callable[[], Name], number: Callable[[], int], seen: Counter[str], *, fleeting: float
    ) -> None:
        self._fleeting = fleeting
        self.name = name_it()
        self._name_it = name_it
        self._number = number
        self._seen = seen

    async def work(self, server: Server, rng: random.Random) -> None:
        """Make one change after the other."""
        while self.name.certain:
            with again():
                await self._turn(server, rng)
            await asyncio.sleep(0)

    async def _turn(self, server: Server, rng: random.Random) -> None:
        take = self.name.now
        if take is None:
            await rng.choice([self._create, self._create, self._race, self._leave_open])(server, rng)
        elif not take.states <= FINAL:
            await rng.choice([*[self._resume] * 6, self._note, self._create, self._delete])(server, rng)
        elif rng.random() < 0.4:
            self.name = self._name_it()
        else:
            await rng.choice([self._note, self._create, self._delete])(server, rng)

    def _new(self, rng: random.Random) -> tuple[Take, dict[str, Any]]:
        take = self.name.take(self._number(), fleeting=rng.random() < self._fleeting)
        headers: dict[str, Any] = {
            "x_stream_metadata": json.dumps({"take": take.number, "note": 0}),
            "stream_resume_window": 0 if take.fleeting and rng.random() < 0.3 else WINDOW,
        }
        return take, headers

    async def _create(self, server: Server, rng: random.Random) -> None:
        """Create a stream, replacing the one that exists, if any."""
        replaces = self.name.now is not None
        take, headers = self._new(rng)
        self.name.asks(take.number)
        async with connect(server) as wire:
            await wire.post(self.name.target + "?force=true" * replaces, **headers)
            if self._is_done(await wire.answer(), "replaced" if replaces else "created"):
                await self._send(server, wire, take, rng)

    async def _race(self, server: Server, rng: random.Random) -> None:
        """Let two producers create the same id: one succeeds."""
        both = [self._new(rng) for _ in range(2)]
        self.name.asks(*(take.number for take, _ in both))
        async with connect(server) as one, connect(server) as other:
            statuses = await asyncio.gather(
                *(self._try(wire, *each) for wire, each in zip((one, other), both, strict=True))
            )
            assert sorted(statuses) == [201, 409]
            winner = statuses.index(201)
            await self._send(server, (one, other)[winner], both[winner][0], rng)

    async def _try(self, wire: Wire, take: Take, headers: dict[str, Any]) -> int:
        since = self.name.reached
        await wire.post(self.name.target, **headers)
        head = await wire.answer()
        if head.status == 201:
            self.name.reported(take.number, since)
        elif head.status == 409:
            self._seen["refused"] += 1
            self.name.done()
        else:
            raise Cut
        return head.status

    async def _leave_open(self, server: Server, rng: random.Random) -> None:
        take, headers = self._new(rng)
        take.asks("open")
        self.name.asks(take.number)
        async with connect(server) as wire:
            await wire.request("POST", self.name.target, b"", upload_complete="?0", **headers)
            if self._is_done(await wire.answer(), "created"):
                take.was("open")

    async def _resume(self, server: Server, rng: random.Random) -> None:
        """Resume at the end, while another producer may do the same."""
        take = self.name.now
        assert take is not None
        since = self.name.reached
        async with connect(server) as wire:
            await wire.request("HEAD", self.name.target)
            assert note_head(self.name, await wire.answer(), since) is take
            offset = int(wire.head["upload-offset"])
            take.acknowledged(offset)
        if take.states <= FINAL:
            return
        ends, progress = rng.random() < 0.7, rng.random() < 0.5
        headers: dict[str, Any] = {"accept": "application/x-ndjson"} if progress else {}
        take.asks("interrupted")
        async with connect(server) as wire:
            await wire.request(
                "PATCH", self.name.target, transfer_encoding="chunked", upload_offset=offset,
                content_type="application/partial-upload", upload_complete=f"?{ends:d}", **headers,
            )  # fmt: skip
            if progress:
                head = await wire.answer()
                if head.status != 200:
                    self._mismatch(take, head)
                    return
            await self._send(
                server, wire, take, rng, offset, "complete" if ends else "open", progress=progress
            )

    def _mismatch(self, take: Take, head: Head) -> None:
        if head.status != 409:
            raise Cut
        self._seen["mismatch"] += 1
        take.acknowledged(int(head["upload-offset"]))

    async def _send(
        self, server: Server, wire: Wire, take: Take, rng: random.Random, offset: int | None = None,
        state: str = "complete", *, progress: bool = False,
    ) -> None:  # fmt: skip
        """Send bytes; end it, vanish, or be taken over. `offset` is where a PATCH begins."""
        resumes, offset = offset is not None, offset or 0
        telling = asyncio.create_task(self._follow_progress(wire, take)) if progress else None
        try:
            for _ in range(rng.choice(PIECES)):
                size = rng.choice(SIZES)
                take.sent = max(take.sent, offset + size)
                await send(wire, take.content, offset, size)
                offset += size
                await asyncio.sleep(rng.choice(PACES))
            ending = rng.random()
            if ending < 0.15:
                self._seen["vanished"] += 1
                wire.reset()
                return
            if ending < 0.3:
                self._seen["taken over"] += 1
                await self._resume(server, rng)
                return
            take.asks(state, offset)
            await wire.chunk(b"")
            if telling is not None:
                assert await telling == state
            elif resumes:
                head = await wire.answer()
                if head.status != 204:
                    self._mismatch(take, head)
                    return
                assert int(head["upload-offset"]) == offset
            else:
                await wire.body()
            take.acknowledged(offset)
            take.was(state)
            self._seen[state] += 1
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _follow_progress(self, wire: Wire, take: Take) -> str:
        """Record each progress line; return the state in the last one."""
        last: dict[str, object] = {}
        while line := await wire.read_chunk():
            last = json.loads(line)
            take.acknowledged(int(str(last["offset"])))
        return str(last.get("state"))

    async def _note(self, server: Server, rng: random.Random) -> None:
        """Change the metadata; after the end only once."""
        take = self.name.now
        assert take is not None
        take.asked += 1
        patch = json.dumps({"note": take.asked}).encode()
        async with connect(server) as wire:
            await wire.request("PATCH", self.name.target, patch, content_type="application/merge-patch+json")
            status = (await wire.answer()).status
        if status == 204:
            take.noticed(take.asked)
            self._seen["noted"] += 1
        elif status == 409:
            take.asked -= 1
        else:
            raise Cut

    async def _delete(self, server: Server, rng: random.Random) -> None:
        self.name.asks(NOTHING)
        async with connect(server) as wire:
            await wire.request("DELETE", self.name.target)
            self._is_done(await wire.answer(), "deleted")

    def _is_done(self, head: Head, what: str) -> bool:
        """Record the response to a change; return True if the change was made."""
        if head.status >= 500:
            raise Cut
        assert head.status < 300, head
        self.name.done()
        self._seen[what] += 1
        return True

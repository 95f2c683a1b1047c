"""Readers over HTTP that resume after a disconnect: by offset, by range, by event id, or from the start.

Every received byte is compared with the ledger: no byte may change and no offset be used twice, however often
the server is killed in between.
"""

import asyncio
import json
import random
from base64 import b64decode
from typing import Any

from tests.faults.ledger import FINAL, Name, Take
from tests.faults.load import again, note_head
from tests.support.peers import bytes_of, connect
from tests.support.server import Server
from tests.support.wire import Wire

from loom.wire.sse import Decoder, Event

FOR_EVER = 10**11
"""A last byte position that follows (RFC 8673)."""


class Reader:
    """Follows one name; `key` and `offset` are its position."""

    def __init__(self, name: Name) -> None:
        self._name = name
        self._take: Take | None = None
        self._key = ""
        self._offset = 0
        self.resumed = 0
        """How often it resumed."""

    async def read(self, server: Server, rng: random.Random) -> None:
        """Follow until the server has ended."""
        ways = [self._from_start, self._by_offset, self._by_range, self._by_event, self._by_event]
        while True:
            with again():
                await rng.choice(ways)(server, rng)
            await asyncio.sleep(rng.choice([0.01, 0.05, 0.1]))

    async def _from_start(self, server: Server, rng: random.Random) -> None:
        async with connect(server) as wire:
            await self._ask(wire, "", rng)

    async def _by_offset(self, server: Server, rng: random.Random) -> None:
        async with connect(server) as wire:
            await self._ask(wire, f"?offset={self._offset}", rng)

    async def _by_range(self, server: Server, rng: random.Random) -> None:
        async with connect(server) as wire:
            await self._ask(wire, "", rng, range=f"bytes={self._offset}-{FOR_EVER}")

    async def _ask(self, wire: Wire, query: str, rng: random.Random, **headers: Any) -> None:
        since = self._name.reached
        await wire.request("GET", self._name.target + query, **headers)
        head = await wire.answer()
        if head.status == 416:
            self._start_over(None)  # the stream is shorter than the one before it, or has ended
            return
        take = note_head(self._name, head, since)
        if take is None:
            self._start_over(None)
            return
        start = int(head["x-stream-offset"])
        if take is self._take and start == self._offset > 0:
            self.resumed += 1
        if take is not self._take or start != self._offset:
            self._start_over(take, start)
        async for data in bytes_of(wire):
            self._shown(data)
            await asyncio.sleep(rng.choice([0, 0, 0, 0.005]))
        if head.headers.get("transfer-encoding") == "chunked" and head["x-stream-state"] not in FINAL:
            take.was("complete")
            assert self._offset == max(start, take.end or 0), "a follower was ended before the end"

    async def _by_event(self, server: Server, rng: random.Random) -> None:
        last: dict[str, Any] = {"last_event_id": f"{self._key}:{self._offset}"} if self._key else {}
        since = self._name.reached
        async with connect(server) as wire:
            await wire.request("GET", self._name.target, accept="text/event-stream", **last)
            head = await wire.answer()
            if head.status in (204, 412):  # at the end, or another stream
                self._start_over(None)
                return
            assert head.status != 400, "the offset it was shown is not there any more"
            take = note_head(self._name, head, since)
            if take is None:
                self._start_over(None)
                return
            if last:
                assert take is self._take, "a key stands for another stream"
                self.resumed += 1
            else:
                self._start_over(take)
            decoder = Decoder()
            async for data in bytes_of(wire):
                for event in decoder.feed(data):
                    self._event(take, event)

    def _event(self, take: Take, event: Event) -> None:
        said = json.loads(event.data)
        if event.name == "message":
            assert said["offset"] == self._offset, "events left bytes out, or repeated some"
            self._shown(said["text"].encode() if "text" in said else b64decode(said["base64"]))
            self._key, _, offset = event.id.rpartition(":")
            assert int(offset) == self._offset
        elif event.name == "end":
            take.acknowledged(said["size"])
            take.was(said["state"])
            assert said["size"] == self._offset

    def _shown(self, data: bytes) -> None:
        assert self._take is not None
        self._take.shown(self._offset, data)
        self._offset += len(data)

    def _start_over(self, take: Take | None, offset: int = 0) -> None:
        self._take, self._key, self._offset = take, "", offset

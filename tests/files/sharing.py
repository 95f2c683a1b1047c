"""Shared streams under crashes: writers that retry, and what has to hold afterwards.

Each message names its writer and its number, so the content shows what was stored, and how often. The ledger
of a stream has the last number of each writer. So the oracle is that both agree, after any crash: a writer
that sends everything after that number again stores every message exactly once.
"""

import asyncio
import random
import sqlite3
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from loom.errors import Conflict, StreamFinal, StreamNotFound
from loom.model import Addition, Framing, Info, NewStream, State
from loom.store import rules
from loom.store.base import Decide
from loom.store.files import FilesStore
from loom.testing.tools import COMPLETE, entries_of

HEAD = struct.Struct("<4sBIH")
MARK = b"\xffmsg"
CREATOR = 0
ENDED = "ended"


def message(writer: int, number: int, size: int) -> bytes:
    return HEAD.pack(MARK, writer, number, size) + random.Random(f"{writer} {number}").randbytes(size)


def messages(content: bytes) -> dict[int, list[int]]:
    """Return the numbers of each writer's messages, in order. Fails unless every message is whole."""
    found: dict[int, list[int]] = {}
    at = 0
    while at < len(content):
        mark, writer, number, size = HEAD.unpack_from(content, at)
        whole = message(writer, number, size)
        assert (mark, content[at : at + len(whole)]) == (MARK, whole), "a message is torn"
        found.setdefault(writer, []).append(number)
        at += len(whole)
    return found


@dataclass
class Log:
    """One shared stream: the last acknowledged number of each writer, and what else is promised."""

    acknowledged: dict[int, int] = field(default_factory=dict)
    ended: bool = False
    may_be_gone: bool = False
    gone: bool = False


class Sharing:
    """Every shared stream by its key."""

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}

    def promises(self) -> dict[str, Log]:
        return {
            key: replace(log, acknowledged=dict(log.acknowledged)) for key, log in list(self.logs.items())
        }

    def recovered(self, rows: Mapping[str, Info]) -> None:
        """Go on from a crash. Much was acknowledged after it; writers ask the ledgers what is stored."""
        self.logs = {key: Log() for key in self.logs if key in rows}

    async def live(self, store: FilesStore, chance: random.Random, *, steps: int) -> None:
        """Append to streams of an earlier life, then to new ones."""
        for key, log in [*self.logs.items()]:
            await self._share(store, key, log, chance)
        for _ in range(steps):
            ended = chance.random() < 0.2
            size = chance.choice([1, 2000, 15_000])
            entries = {f"{CREATOR}": "0"} | ({ENDED: "1"} if ended else {})
            info = await store.put(
                NewStream(
                    id=f"shared {chance.random()}",
                    framing=Framing.BYTES,
                    state=State.COMPLETE if ended else State.OPEN,
                    content=[message(CREATOR, 0, size)],
                    entries=entries,
                )
            )
            log = self.logs[info.key] = Log({CREATOR: 0}, ended)
            await self._share(store, info.key, log, chance)

    async def _share(self, store: FilesStore, key: str, log: Log, chance: random.Random) -> None:
        writers = [random.Random(chance.random()) for _ in range(3)]
        await asyncio.gather(
            *(self._write(store, key, log, index, each) for index, each in enumerate(writers, 1))
        )
        if chance.random() < 0.2:
            log.may_be_gone = True
            await store.delete(key)
            log.gone = True

    async def _write(self, store: FilesStore, key: str, log: Log, writer: int, chance: random.Random) -> None:
        """Send some messages from the last that is stored, each maybe twice at once."""
        try:
            known = await entries_of(store, key, f"{writer}")
        except StreamNotFound:
            return
        first = int(known.get(f"{writer}", "0"))
        for number in range(first, first + chance.randrange(6)):
            size = chance.choice([1, 10, 100, 2000, 15_000])
            last = chance.random() < 0.05
            decide = once(writer, number, size, last=last)
            asked = [store.append(key, [f"{writer}", ENDED], decide) for _ in range(chance.choice([1, 1, 2]))]
            try:
                infos = await asyncio.gather(*asked)
            except (StreamFinal, StreamNotFound, Conflict):
                return
            log.acknowledged[writer] = number
            log.ended |= any(info.state.final for info in infos)


def once(writer: int, number: int, size: int, *, last: bool) -> Decide:
    """Return a `decide` that appends a message unless the ledger has it."""

    def decide(info: Info, entries: Mapping[str, str]) -> Addition:
        if int(entries.get(f"{writer}", "-1")) >= number:
            return Addition()
        added = {f"{writer}": f"{number}"} | ({ENDED: "1"} if last else {})
        data = message(writer, number, size)
        return Addition(data=[data[:7], data[7:]], entries=added, patch=COMPLETE if last else None)

    return decide


def check_shared(
    db: sqlite3.Connection, number: int, info: Info, content: bytes, promised: Log | None
) -> None:
    """Check one recovered stream: its content and its ledger agree, and have what was acknowledged."""
    entries = dict(db.execute("SELECT name, value FROM ledger WHERE number = ?", (number,)))
    assert info.ledger == rules.growth({}, entries), "the size of the ledger is wrong"
    assert (info.state is State.COMPLETE) == (ENDED in entries), "the end and its entry are apart"
    entries.pop(ENDED, None)
    numbers = messages(content)
    last = {int(name): int(text) for name, text in entries.items()}
    stored = {writer: list(range(each + 1)) for writer, each in last.items()}
    assert numbers == stored, "bytes and ledger are apart: a retry would lose or double a message"
    for writer, each in (promised or Log()).acknowledged.items():
        assert last.get(writer, -1) >= each, "an acknowledged message is lost"
    assert not promised or not promised.ended or info.state is State.COMPLETE, "an end is lost"
    assert CREATOR in numbers, "a stream was created without its content"

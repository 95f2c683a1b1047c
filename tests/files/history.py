"""What was sent, promised and shown: the oracle of the crash tests, and the random life that it records."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from loom.errors import Conflict, LoomError, StreamNotFound, WriterLost
from loom.model import Info, NewStream, Patch, State
from loom.store.base import Following
from loom.store.files import FilesStore
from loom.store.files.content import content_name
from loom.store.files.parts import Parts
from loom.store.files.writer import FilesWriter

IDS = [f"stream {index}" for index in range(9)]
CLOSINGS = [State.COMPLETE, State.COMPLETE, State.ABORTED, State.OPEN, State.INTERRUPTED]


@dataclass
class Told:
    """One key: all bytes ever sent, and what somebody has been told of it."""

    id: str
    sent: bytearray = field(default_factory=bytearray)
    durable: int = 0
    final: State | None = None
    may_be_final: bool = False
    may_be_gone: bool = False
    gone: bool = False
    metadata: str = "{}"
    may_be_metadata: str = "{}"


class History:
    """Keys and what is known of them; a sink of every stream, so that what is shown is known too."""

    def __init__(self) -> None:
        self.keys: dict[str, Told] = {}
        self.replacing: Counter[str] = Counter()
        """Creations under way that may replace whatever is there."""

    def promises(self) -> dict[str, Told]:
        """As of now; the bytes stay shared."""
        return {key: replace(told) for key, told in list(self.keys.items())}

    def recovered(self, rows: dict[str, Info]) -> None:
        """The store goes on from here."""
        for key, info in rows.items():
            told = self.keys.setdefault(key, Told(info.id))
            del told.sent[info.size :]
            told.durable, told.metadata = info.size, info.metadata
            told.may_be_metadata = info.metadata
            told.final = info.state if info.state.final else None
            told.may_be_final = info.state.final
            told.may_be_gone = False
        for key, told in self.keys.items():
            told.gone = told.may_be_gone = key not in rows


class Shown:
    """A follower."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.following: Following

    def on_bytes(self, offset: int, data: bytes) -> None:
        assert self.told.sent[offset : offset + len(data)] == data
        self.told.durable = max(self.told.durable, offset + len(data))

    def on_change(self, info: Info) -> None:
        assert not info.state.final or self.told.may_be_final
        if info.state.final:
            self.told.final = info.state

    def on_gone(self, error: LoomError) -> None:
        pass


class Life:
    """Producers at work on a few ids, each at random from its own seed."""

    def __init__(self, store: FilesStore, history: History, seed: int, *, steps: int) -> None:
        self._store = store
        self._history = history
        self._seed = seed
        self._steps = steps

    async def live(self, producers: int = 6) -> None:
        await asyncio.gather(
            *(self._produce(random.Random(f"{self._seed} {index}")) for index in range(producers))
        )

    async def _produce(self, chance: random.Random) -> None:
        for _ in range(self._steps):
            try:
                await self._stream(chance)
            except (WriterLost, Conflict, StreamNotFound):
                pass

    async def _stream(self, chance: random.Random) -> None:
        id = chance.choice(IDS)
        force = chance.random() < 0.6
        others = [told for told in self._history.keys.values() if told.id == id and not told.gone]
        for told in others if force else ():
            told.may_be_gone = True
        replacing = self._history.replacing
        replacing[id] += force
        try:
            writer = await self._store.create(NewStream(id=id), replace=force)
        finally:
            replacing[id] -= force
        for told in others if force else ():
            told.gone = True
        told = self._history.keys[writer.key] = Told(id, may_be_gone=replacing[id] > 0)
        shown = Shown(told)
        shown.following = await self._store.follow(writer.key, shown)
        for _ in range(chance.randrange(1, 5)):
            await self._write(writer, told, chance)
            if chance.random() < 0.2:
                await self._change(writer, told, chance)
            if chance.random() < 0.2:
                writer = await self._store.resume(writer.key, writer.accepted)
        await self._end(writer, told, chance)

    async def _write(self, writer: FilesWriter, told: Told, chance: random.Random) -> None:
        for _ in range(chance.choice([1, 1, 3, 20])):
            data = chance.randbytes(chance.choice([1, 10, 100, 600, 2000, 2000, 16_000]))
            told.sent += data
            writer.append(data)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        await writer.wait_for_room()
        if chance.random() < 0.7:
            told.durable = max(told.durable, await writer.wait_durable(writer.accepted))

    async def _change(self, writer: FilesWriter, told: Told, chance: random.Random) -> None:
        info = await self._store.info(told.id)
        if info.key == writer.key:
            told.may_be_metadata = str(chance.random())
            patch = Patch(metadata=told.may_be_metadata)
            info = await self._store.change(writer.key, patch, version=info.version)
            told.metadata = info.metadata

    async def _end(self, writer: FilesWriter, told: Told, chance: random.Random) -> None:
        state = chance.choice(CLOSINGS)
        if chance.random() < 0.8:
            told.may_be_final = state.final
            info = await writer.close(Patch(state=state, reason="", deadline=None if state.final else 1e9))
            assert info.size == len(told.sent)
            told.durable = info.size
            told.final = state if state.final else None
        if chance.random() < 0.3:
            told.may_be_gone = True
            await self._store.delete(writer.key)
            told.gone = True


def check(parts: Parts, root: Path, before: dict[str, Told], after: dict[str, Told]) -> None:
    """What was recovered is what was promised before the crash, and nothing that was not asked for."""
    assert not parts.recovered.damaged
    query = "SELECT number FROM streams"
    rows = parts.catalog.rows(number for (number,) in parts.catalog._db.execute(query))
    keys = {info.key: info for info in rows.values()}
    for key, told in before.items():
        assert key in keys or after[key].may_be_gone, f"{told} is lost"
        assert key not in keys or not told.gone, f"{told} came back"
    for number, info in rows.items():
        path = root / content_name(number)
        content = path.read_bytes() if path.exists() else b""
        assert len(content) == info.size
        if info.key not in before:
            assert info.id in IDS
            if info.key not in after:
                assert info.size == 0
                continue
        now, then = after[info.key], before.get(info.key, Told(info.id))
        assert bytes(now.sent[: info.size]) == content, "a byte is wrong"
        assert info.size >= then.durable, "durable bytes are lost"
        assert not then.final or info.state is then.final, "an end is lost"
        assert not info.state.final or now.may_be_final, "an end was made up"
        assert not then.final or info.size == then.durable
        assert info.state is not State.LIVE
        assert info.metadata in {then.metadata, now.may_be_metadata, now.metadata}
    named = {content_name(number) for number in rows}
    files = {str(path.relative_to(root)) for path in (root / "content").rglob("*") if path.is_file()}
    assert files <= named, "files of no stream are left"

"""What was sent, promised and shown: the oracle of the crash tests, and the random load that it records."""

import asyncio
import random
from collections import Counter
from collections.abc import Container, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tests.files.sharing import Log, Sharing, check_shared

from loom.errors import Conflict, LoomError, StreamNotFound, WriterLost
from loom.model import Info, NewStream, Patch, State
from loom.store.base import Following
from loom.store.files import FilesStore
from loom.store.files.content import content_name
from loom.store.files.members import codes
from loom.store.files.parts import Parts
from loom.store.files.schema import connect
from loom.store.files.writer import FilesWriter

IDS = [f"stream {index}" for index in range(9)]
CLOSINGS = [State.COMPLETE, State.COMPLETE, State.ABORTED, State.OPEN, State.INTERRUPTED]


@dataclass
class Reported:
    """One key: every byte that was sent, and what was reported of it."""

    id: str
    sent: bytearray = field(default_factory=bytearray)
    durable: int = 0
    final: State | None = None
    may_be_final: bool = False
    may_be_gone: bool = False
    gone: bool = False
    metadata: str = "{}"
    may_be_metadata: str = "{}"


class Promises(NamedTuple):
    """What is promised at a moment, by key: of streams with one producer, and of shared ones."""

    streams: dict[str, Reported]
    shared: dict[str, Log]


class History:
    """Every key. A follower of each stream with one producer records what is shown of it."""

    def __init__(self) -> None:
        self.sharing = Sharing()
        self.keys: dict[str, Reported] = {}
        self.replacing: Counter[str] = Counter()
        """Creations under way that may replace an existing stream."""

    def promises(self) -> Promises:
        """Return what is promised now. The bytes are shared, not copied."""
        streams = {key: replace(reported) for key, reported in list(self.keys.items())}
        return Promises(streams, self.sharing.promises())

    def recovered(self, rows: dict[str, Info]) -> None:
        """Take what a recovered store has as the new state."""
        self.sharing.recovered(rows)
        for key, info in rows.items():
            if info.framing:
                continue
            reported = self.keys.setdefault(key, Reported(info.id))
            del reported.sent[info.size :]
            reported.durable, reported.metadata = info.size, info.metadata
            reported.may_be_metadata = info.metadata
            reported.final = info.state if info.state.final else None
            reported.may_be_final = info.state.final
            reported.may_be_gone = False
        for key, reported in self.keys.items():
            reported.gone = reported.may_be_gone = key not in rows


class Shown:
    """A follower."""

    def __init__(self, reported: Reported) -> None:
        self.reported = reported
        self.following: Following

    def on_bytes(self, offset: int, data: bytes) -> None:
        assert self.reported.sent[offset : offset + len(data)] == data
        self.reported.durable = max(self.reported.durable, offset + len(data))

    def on_change(self, info: Info) -> None:
        assert not info.state.final or self.reported.may_be_final
        if info.state.final:
            self.reported.final = info.state

    def on_gone(self, error: LoomError) -> None:
        pass


class Life:
    """Producers that work on a few ids, each at random from its own seed."""

    def __init__(self, store: FilesStore, history: History, seed: int, *, steps: int) -> None:
        self._store = store
        self._history = history
        self._seed = seed
        self._steps = steps

    async def live(self, producers: int = 6) -> None:
        await asyncio.gather(
            *(self._produce(random.Random(f"{self._seed} {index}")) for index in range(producers)),
            self._history.sharing.live(self._store, random.Random(f"{self._seed}"), steps=self._steps // 4),
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
        others = [each for each in self._history.keys.values() if each.id == id and not each.gone]
        for reported in others if force else ():
            reported.may_be_gone = True
        replacing = self._history.replacing
        replacing[id] += force
        try:
            writer = await self._store.create(NewStream(id=id), replace=force)
        finally:
            replacing[id] -= force
        for reported in others if force else ():
            reported.gone = True
        reported = self._history.keys[writer.key] = Reported(id, may_be_gone=replacing[id] > 0)
        shown = Shown(reported)
        shown.following = await self._store.follow(writer.key, shown)
        for _ in range(chance.randrange(1, 5)):
            await self._write(writer, reported, chance)
            if chance.random() < 0.2:
                await self._change(writer, reported, chance)
            if chance.random() < 0.2:
                writer = await self._store.resume(writer.key, writer.accepted)
        await self._end(writer, reported, chance)

    async def _write(self, writer: FilesWriter, reported: Reported, chance: random.Random) -> None:
        for _ in range(chance.choice([1, 1, 3, 20])):
            data = chance.randbytes(chance.choice([1, 10, 100, 600, 2000, 2000, 16_000]))
            reported.sent += data
            writer.append(data)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        await writer.wait_for_room()
        if chance.random() < 0.7:
            reported.durable = max(reported.durable, await writer.wait_durable(writer.accepted))

    async def _change(self, writer: FilesWriter, reported: Reported, chance: random.Random) -> None:
        info = await self._store.info(reported.id)
        if info.key == writer.key:
            reported.may_be_metadata = f'{{"n": {chance.random()}}}'
            patch = Patch(metadata=reported.may_be_metadata)
            info = await self._store.change(writer.key, patch, version=info.version)
            reported.metadata = info.metadata

    async def _end(self, writer: FilesWriter, reported: Reported, chance: random.Random) -> None:
        state = chance.choice(CLOSINGS)
        if chance.random() < 0.8:
            reported.may_be_final = state.final
            info = await writer.close(Patch(state=state, reason="", deadline=None if state.final else 1e9))
            assert info.size == len(reported.sent)
            reported.durable = info.size
            reported.final = state if state.final else None
        if chance.random() < 0.3:
            reported.may_be_gone = True
            await self._store.delete(writer.key)
            reported.gone = True


def check(parts: Parts, root: Path, before: Promises, after: Promises) -> None:
    """Check that recovery kept what was promised before the crash, and made nothing up."""
    assert not parts.recovered.damaged
    rows = dict(parts.catalog.every())
    keys = {info.key: info for info in rows.values()}
    check_existence(keys, before.streams, after.streams)
    check_existence(keys, before.shared, after.shared)
    for number, info in rows.items():
        path = root / content_name(number)
        content = path.read_bytes() if path.exists() else b""
        if not info.framing:
            assert len(content) == info.size
            check_stream(info, content, before.streams, after.streams)
        else:
            # Recovery does not look at open streams outside the log. What a crash left of an addition that
            # was never recorded lies after the last byte and is never read; the next addition overwrites it.
            assert len(content) >= info.size
            content = content[: info.size]
            with closing(connect(parts.catalog.path, read_only=True)) as db:
                check_shared(db, number, info, content, before.shared.get(info.key))
    check_rest(parts, root, rows)


def check_existence(
    keys: Container[str], before: Mapping[str, Reported | Log], after: Mapping[str, Reported | Log]
) -> None:
    for key, reported in before.items():
        assert key in keys or after[key].may_be_gone, f"{reported} is lost"
        assert key not in keys or not reported.gone, f"{reported} came back"


def check_stream(info: Info, content: bytes, before: dict[str, Reported], after: dict[str, Reported]) -> None:
    if info.key not in before:
        assert info.id in IDS
        if info.key not in after:
            assert info.size == 0
            return
    now, then = after[info.key], before.get(info.key, Reported(info.id))
    assert bytes(now.sent[: info.size]) == content, "a byte is wrong"
    assert info.size >= then.durable, "durable bytes are lost"
    assert not then.final or info.state is then.final, "an end is lost"
    assert not info.state.final or now.may_be_final, "an end was made up"
    assert not then.final or info.size == then.durable
    assert info.state is not State.LIVE
    assert info.metadata in {then.metadata, now.may_be_metadata, now.metadata}


def check_rest(parts: Parts, root: Path, rows: dict[int, Info]) -> None:
    """Check that nothing is left of streams that do not exist."""
    named = {content_name(number) for number in rows}
    files = {str(path.relative_to(root)) for path in (root / "content").rglob("*") if path.is_file()}
    assert files <= named, "files of no stream are left"
    with closing(connect(parts.catalog.path, read_only=True)) as db:
        entries = set(db.execute("SELECT number, code FROM members"))
        ledgers = {number for (number,) in db.execute("SELECT DISTINCT number FROM ledger")}
    assert ledgers <= rows.keys(), "ledgers of no stream are left"
    wanted = {(number, code) for number, info in rows.items() for code in codes(info.state, info.metadata)}
    assert entries == wanted, "the index of metadata is not that of the rows"

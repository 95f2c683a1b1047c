"""Random operations on shared streams, compared after each step with a model of a few lines."""

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from loom.errors import Conflict, StreamExists, StreamFinal
from loom.model import Addition, Framing, Info, NewStream, Patch, State
from loom.store.holdings import cost
from loom.testing.store.fixtures import StoreFixtures
from loom.testing.store.machine import StoreMachine, on_loop, run_machine
from loom.testing.tools import (
    ABORTED,
    COMPLETE,
    Reader,
    add,
    entries_of,
    follow,
    found,
    outcomes,
    stored,
)

IDS = st.sampled_from(["a", "b"])
SIZES = st.sampled_from([0, 0, 1, 7, 70_000, 300_000])
NAMES = ["p", "q\u00e9", "r\0"]
ENTRIES = st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(codec="utf-8"), max_size=9))
PATCHES = st.sampled_from([None, None, None, None, Patch(metadata="1"), COMPLETE, ABORTED])


def data_of(size: int) -> bytes:
    return bytes([97 + size % 26]) * size


@dataclass(eq=False)
class Model:
    """One shared stream as it should be, and a reader from its creation on."""

    info: Info
    data: bytes
    ledger: dict[str, str]
    reader: Reader
    start: int

    def add(self, data: bytes, entries: dict[str, str], patch: Patch | None, info: Info) -> None:
        self.data += data
        self.ledger |= entries
        assert info.size == len(self.data)
        assert info.state is ((patch and patch.state) or State.OPEN)
        assert info.metadata == ((patch and patch.metadata) or self.info.metadata)
        assert info.version == self.info.version + (patch is not None)
        self.info = info


class SharedComparison(StoreMachine):
    """Apply each operation to the store and to `streams`, the existing ones by id."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, Model] = {}

    @rule(
        id=IDS, size=SIZES, entries=ENTRIES, state=st.sampled_from([State.OPEN, State.OPEN, State.COMPLETE])
    )
    @on_loop
    async def put(self, id: str, size: int, entries: dict[str, str], state: State) -> None:
        data = data_of(size)
        new = NewStream(id=id, framing=Framing.BYTES, state=state, content=[data], entries=entries)
        if id in self.streams:
            with pytest.raises(StreamExists):
                await self.store.put(new)
            return
        info = await self.store.put(new)
        assert (info.size, info.state, info.version) == (len(data), state, 1)
        self.streams[id] = Model(info, data, entries, await follow(self.store, info.key), len(data))

    @rule(id=IDS, size=SIZES, entries=ENTRIES, patch=PATCHES)
    @on_loop
    async def append(self, id: str, size: int, entries: dict[str, str], patch: Patch | None) -> None:
        if not (stream := self.streams.get(id)):
            return
        data = data_of(size)
        asked = add(self.store, stream.info.key, data, entries, patch)
        if stream.info.state.final and (data or entries or patch):
            with pytest.raises(StreamFinal):
                await asked
        elif stream.info.state.final:
            assert await asked == stream.info
        else:
            stream.add(data, entries, patch, await asked)

    @rule(id=IDS, pieces=st.lists(st.tuples(SIZES, ENTRIES, PATCHES), max_size=6))
    @on_loop
    async def append_at_once(self, id: str, pieces: list[tuple[int, dict[str, str], Patch | None]]) -> None:
        """Several writers at once; those after the end get an error."""
        if not (stream := self.streams.get(id)) or stream.info.state.final:
            return
        key = stream.info.key
        pieces = [piece for piece in pieces if any(piece)]  # an empty one is answered after the end, too
        done, errors = await outcomes(
            *(add(self.store, key, data_of(size), entries, patch) for size, entries, patch in pieces)
        )
        for (size, entries, patch), info in zip(pieces, done, strict=False):
            stream.add(data_of(size), entries, patch, info)
        assert {type(error) for error in errors} <= {StreamFinal}
        assert not errors or stream.info.state.final

    @rule(id=IDS)
    @on_loop
    async def refuse(self, id: str) -> None:
        if stream := self.streams.get(id):
            seen: list[Info] = []

            def decide(info: Info, _: object) -> Addition:
                seen.append(info)
                raise Conflict("no")

            with pytest.raises(Conflict, match="no"):
                await self.store.append(stream.info.key, NAMES, decide)
            assert seen == [stream.info]

    @rule(id=IDS)
    @on_loop
    async def abort(self, id: str) -> None:
        stream = self.streams.get(id)
        if stream and not stream.info.state.final:
            stream.info = await self.store.change(stream.info.key, ABORTED, version=stream.info.version)

    @rule(id=IDS)
    @on_loop
    async def delete(self, id: str) -> None:
        if stream := self.streams.pop(id, None):
            await self.store.delete(stream.info.key)

    @precondition(lambda self: self.tests.survives_restart)
    @rule()
    @on_loop
    async def reopen(self) -> None:
        await self.close_store()
        self.store = await self.opener()
        for stream in self.streams.values():
            stream.reader = await follow(self.store, stream.info.key)
            stream.start = len(stream.data)

    @invariant()
    @on_loop
    async def store_is_as_the_model_says(self) -> None:
        infos = {info.id: info for info in await found(self.store)}
        assert infos == {id: stream.info for id, stream in self.streams.items()}
        for id, stream in self.streams.items():
            assert await stored(self.store, id) == stream.data
            assert await entries_of(self.store, stream.info.key, *NAMES) == stream.ledger
            assert stream.reader.data == stream.data[stream.start :]
        overhead = sum(cost(info.metadata, info.ledger) for info in infos.values())
        assert self.store.holdings.overhead == overhead
        assert self.store.size == sum(info.size for info in infos.values())


class SharedModelTests(StoreFixtures):
    def test_shared_streams_behave_like_the_model(self) -> None:
        run_machine(SharedComparison, self, self.model_runs // 2)

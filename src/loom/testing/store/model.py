"""Random operations on a store, compared after each step with a model of a few lines."""

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from loom.errors import (
    Conflict,
    LoomError,
    OffsetMismatch,
    StoreStopped,
    StreamExists,
    StreamFinal,
    StreamGone,
    StreamNotFound,
)
from loom.model import TRANSITIONS, NewStream, Patch, State
from loom.store.base import Content, Writer
from loom.testing.store.fixtures import StoreFixtures
from loom.testing.store.machine import StoreMachine, on_loop, run_machine
from loom.testing.tools import NOT_LIVE, Reader, collect, follow, ids

IDS = st.sampled_from(["a", "b", "c/d"])
DATA = st.binary(max_size=20) | st.sampled_from([b"x" * 70_000, b"y" * 300_000])
PATCHES = st.sampled_from(NOT_LIVE)


@dataclass(eq=False)
class Model:
    """One stream as it should be: its producer, its state, every accepted byte, and its readers."""

    writer: Writer
    metadata: str
    state: State = State.LIVE
    data: bytes = b""
    shown: int = 0
    version: int = 0
    amended: bool = False
    readers: list[Reader] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)


class Comparison(StoreMachine):
    """Apply each operation to the store and to `streams`: the existing ones by id, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, Model] = {}
        self.gone: list[Model] = []
        self.lost: list[Writer] = []

    @rule(id=IDS, metadata=st.sampled_from(["{}", '"x"']), replace=st.booleans())
    @on_loop
    async def create(self, id: str, metadata: str, replace: bool) -> None:
        asked = self.store.create(NewStream(id=id, metadata=metadata), replace=replace)
        if id in self.streams and not replace:
            with pytest.raises(StreamExists):
                await asked
            return
        writer = await asked
        assert writer.replaced == (id in self.streams)
        if writer.replaced:
            self.forget(id)
        self.streams[id] = Model(writer, metadata)

    @rule(id=IDS, data=DATA)
    @on_loop
    async def append(self, id: str, data: bytes) -> None:
        if stream := self.streams.get(id):
            if stream.state is State.LIVE:
                stream.writer.append(data)
                stream.data += data
            else:
                with pytest.raises((RuntimeError, LoomError)):
                    stream.writer.append(data)

    @rule(id=IDS)
    @on_loop
    async def flush(self, id: str) -> None:
        if (stream := self.streams.get(id)) and stream.state is State.LIVE:
            assert await stream.writer.wait_durable(len(stream.data)) == len(stream.data)
            assert (await self.store.info(id)).size == len(stream.data)

    @rule(id=IDS, patch=PATCHES)
    @on_loop
    async def close(self, id: str, patch: Patch) -> None:
        if (stream := self.streams.get(id)) and stream.state is State.LIVE:
            info = await stream.writer.close(patch)
            assert info.size == len(stream.data)
            stream.state = info.state

    @rule(id=IDS, short=st.sampled_from([0, 0, 1, -1]))
    @on_loop
    async def resume(self, id: str, short: int) -> None:
        if not (stream := self.streams.get(id)):
            return
        old, size = stream.writer, len(stream.data)
        asked = self.store.resume(old.key, size - short)
        if stream.state.final:
            with pytest.raises(StreamFinal):
                await asked
        elif short:
            with pytest.raises(OffsetMismatch) as error:
                await asked
            assert error.value.offset == size
        else:
            stream.writer = await asked
            stream.state = State.LIVE
            assert (stream.writer.durable, stream.writer.epoch > old.epoch) == (size, True)
            self.lost.append(old)

    @rule(id=IDS, patch=PATCHES | st.just(Patch(metadata='"y"')), stale=st.booleans())
    @on_loop
    async def change(self, id: str, patch: Patch, stale: bool) -> None:
        if not (stream := self.streams.get(id)):
            return
        version = (await self.store.info(id)).version
        asked = self.store.change(stream.writer.key, patch, version=version - stale)
        refused = stream.state.final and stream.amended
        if refused or stale or (patch.state and patch.state not in TRANSITIONS[stream.state]):
            with pytest.raises(Conflict):
                await asked
            return
        assert (await asked).version > version
        stream.amended = stream.state.final
        stream.state = patch.state or stream.state
        stream.metadata = patch.metadata or stream.metadata

    @rule(id=IDS)
    @on_loop
    async def delete(self, id: str) -> None:
        if stream := self.streams.get(id):
            await self.store.delete(stream.writer.key)
            self.forget(id)

    @rule(id=IDS)
    @on_loop
    async def look(self, id: str) -> None:
        """Follow a stream and open its content until the store is closed."""
        if stream := self.streams.get(id):
            stream.readers.append(await follow(self.store, stream.writer.key))
            stream.contents.append(await self.store.open(stream.writer.key))

    @precondition(lambda self: self.tests.survives_restart)
    @rule()
    @on_loop
    async def reopen(self) -> None:
        await self.close_store()
        self.store = await self.opener()
        for stream in self.streams.values():
            stream.readers.clear()
            if stream.state is State.LIVE:
                stream.state = State.INTERRUPTED
        self.gone = [Model(stream.writer, "") for stream in self.gone]

    @invariant()
    @on_loop
    async def store_is_as_the_model_says(self) -> None:
        assert await ids(self.store) == list(self.streams)[::-1]
        for id, stream in self.streams.items():
            info = await self.store.info(id)
            assert (info.id, info.key, info.state) == (id, stream.writer.key, stream.state)
            assert info.metadata == stream.metadata
            assert info.epoch >= stream.writer.epoch
            assert stream.shown <= info.size <= len(stream.data)
            assert stream.version <= info.version
            if stream.state is not State.LIVE:
                assert info.size == len(stream.data)
            stream.shown, stream.version = info.size, info.version
            async with await self.store.open(info.key) as content:
                assert await collect(content, 0, info.size) == stream.data[: info.size]
        for stream in [*self.streams.values(), *self.gone]:
            await self.check_views(stream)
        await self.check_losses()

    async def check_views(self, stream: Model) -> None:
        for content in stream.contents:
            assert await collect(content, 0, stream.shown) == stream.data[: stream.shown]
        for reader in stream.readers:
            fed = stream.data[reader.following.info.size :]
            assert fed.startswith(reader.data)
            if stream in self.gone:
                final = reader.following.info.state.final or any(state.final for state in reader.states)
                assert [type(error) for error in reader.errors] == ([] if final else [StreamGone])

    async def check_losses(self) -> None:
        for stream in self.gone:
            for ask in (self.store.open(stream.writer.key), self.store.resume(stream.writer.key, 0)):
                with pytest.raises(StreamNotFound):
                    await ask
        for writer in [*self.lost, *(stream.writer for stream in self.gone)]:
            with pytest.raises((RuntimeError, LoomError)):
                writer.append(b"slipped in")

    def forget(self, id: str) -> None:
        self.gone.append(self.streams.pop(id))

    async def close_store(self) -> None:
        """Close the store: every follower has every byte, and knows how its stream ended."""
        for stream in [*self.streams.values(), *self.gone]:
            for content in stream.contents:
                content.close()
            stream.contents.clear()
        await self.store.close()
        for stream in self.streams.values():
            for reader in stream.readers:
                assert reader.data == stream.data[reader.following.info.size :]
                if stream.state.final:
                    assert not reader.errors
                    assert reader.following.info.state.final or reader.states[-1] is stream.state
                else:
                    assert [type(error) for error in reader.errors] == [StoreStopped]


class ModelTests(StoreFixtures):
    def test_store_behaves_like_the_model(self) -> None:
        run_machine(Comparison, self, self.model_runs)

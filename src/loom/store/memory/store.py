"""The contract over streams in two dictionaries. Owns ids, keys and what every change does; knows no file."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import replace as updated

from loom.errors import (
    Conflict,
    EpochMismatch,
    Fenced,
    LoomError,
    OffsetMismatch,
    StoreStopped,
    StreamExists,
    StreamFinal,
    StreamGone,
    StreamNotFound,
    VersionMismatch,
    WriterLost,
)
from loom.model import (
    TRANSITIONS,
    Change,
    ChangeKind,
    Clock,
    Info,
    NewStream,
    Patch,
    Query,
    State,
    new_key,
    repeats,
)
from loom.store.base import Content, Following, Health, Sink, Store, Subscription, Usage, Writer
from loom.store.memory.commit import Commits
from loom.store.memory.stream import Follower, Member, MemoryContent, MemoryWriter, Stream, targets
from loom.store.places import LinePlace, offset_of, place_of, sample

FENCED = "Another producer has taken the stream over."
DUE_AT_ONCE = 500


class MemoryStore(Store):
    """Bounds are bytes in flight. `held` and `fail` are for tests of what stands on a store."""

    def __init__(self, clock: Clock, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20) -> None:
        self._clock = clock
        self._number = 0
        self._commits = Commits(writer_bound, total_bound)
        self._streams: dict[str, Stream] = {}  # by key, in the order of creation
        self._ids: dict[str, Stream] = {}
        self._watchers: dict[Member[Callable[[Change], None]], None] = {}
        self._failed = asyncio.Event()

    async def create(self, new: NewStream, *, replace: bool = False) -> Writer:
        return await self._commits.ask(lambda: self._create(new, replace), self._abandon)

    async def resume(self, key: str, offset: int, *, epoch: int | None = None) -> Writer:
        if (stream := self._streams.get(key)) and stream.writer and not stream.writer.closed:
            _check_epoch(stream.info, epoch)
            stream.writer.lose(Fenced(FENCED))
        return await self._commits.ask(lambda: self._resume(key, offset, epoch), self._abandon)

    async def info(self, id: str) -> Info:
        self._commits.check()
        if stream := self._ids.get(id):
            return stream.info
        raise StreamNotFound(id)

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        return await self._commits.ask(lambda: self._change(key, patch, version))

    async def delete(self, key: str) -> None:
        await self._commits.ask(lambda: self._remove(self._stream(key)))

    async def find(self, query: Query) -> AsyncIterator[Info]:
        self._commits.check()
        for stream in reversed(list(self._streams.values())):
            if query.matches(stream.info):
                yield stream.info

    async def due(self, now: float) -> list[Info]:
        self._commits.check()
        infos = [stream.info for stream in self._streams.values()]
        due = [(info.deadline, info) for info in infos if info.deadline is not None and info.deadline <= now]
        due.sort(key=lambda pair: pair[0])
        return [info for _, info in due[:DUE_AT_ONCE]]

    async def expired(self, now: float) -> list[Info]:
        self._commits.check()
        infos = [stream.info for stream in self._streams.values() if stream.info.state.final]
        over = [(info.expires, info) for info in infos if info.expires is not None and info.expires <= now]
        over.sort(key=lambda pair: pair[0])
        return [info for _, info in over[:DUE_AT_ONCE]]

    async def open(self, key: str) -> Content:
        return MemoryContent(self._stream(key))

    async def place(self, key: str, line: int) -> LinePlace:
        return place_of(self._stream(key).places, line)

    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        stream = self._stream(key)
        created = stream.info.created
        return sample(lambda line: place_of(stream.places, line), stream.moments, created, lines, count)

    async def offset_at(self, key: str, when: float) -> int:
        stream = self._stream(key)
        return offset_of(stream.moments, when, stream.info.size)

    async def follow(self, key: str, sink: Sink) -> Following:
        return Follower(self._stream(key), sink)

    def watch(self, callback: Callable[[Change], None]) -> Subscription:
        self._commits.check()
        return Member(self._watchers, callback)

    def health(self) -> Health:
        stop = self._commits.stop
        return Health("memory", "none", ready=stop is None, detail=str(stop or ""))

    @property
    def size(self) -> int:
        return self._commits.stored

    @property
    def full(self) -> bool:
        return False

    async def usage(self) -> Usage:
        self._commits.check()
        infos = [stream.info for stream in self._streams.values()]
        counted = Counter(info.state for info in infos)
        return Usage({state: counted[state] for state in State}, sum(info.size for info in infos))

    async def wait_stopped(self) -> LoomError:
        await self._failed.wait()
        assert self._commits.stop
        return self._commits.stop

    async def close(self) -> None:
        try:
            await self._commits.ask(self._close)
        except StoreStopped:
            pass  # and told already

    def held(self) -> AbstractContextManager[None]:
        """Nothing becomes durable in here; what is asked for waits, in order, until this is left."""
        return self._commits.held()

    def fail(self, reason: str) -> None:
        """Stop as after a failed flush: what is not durable now never is."""
        self._halt(StoreStopped(reason))
        self._failed.set()

    # The changes, each one step of a commit.

    def _create(self, new: NewStream, replace: bool) -> MemoryWriter:
        old = self._ids.get(new.id)
        if old and (not replace or repeats(new, old.info)):
            raise StreamExists(new.id)
        if old:
            self._remove(old)
        self._number += 1
        info = new.born(new_key(self._number), self._clock())
        stream = self._streams[info.key] = self._ids[info.id] = Stream(info, self._clock)
        stream.writer = MemoryWriter(stream, self._commits, self._close_writer, replaced=old is not None)
        self._announce(ChangeKind.CREATED, info)
        return stream.writer

    def _resume(self, key: str, offset: int, epoch: int | None) -> MemoryWriter:
        stream = self._unfinished(key)
        _check_epoch(stream.info, epoch)
        stream.lose_writer(Fenced(FENCED))
        info = stream.info
        if offset != info.size:
            self._interrupt(stream, "its producer was fenced")
            raise OffsetMismatch(info.size, offset)
        stream.info = updated(info, epoch=info.epoch + 1)
        self._apply(stream, Patch(state=State.LIVE))
        stream.writer = MemoryWriter(stream, self._commits, self._close_writer)
        return stream.writer

    def _change(self, key: str, patch: Patch, version: int) -> Info:
        stream = self._stream(key)
        if not stream.info.takes(patch, self._clock()):
            raise final(stream)
        if stream.info.version != version:
            raise VersionMismatch("The stream was changed meanwhile.")
        if patch.state:
            if patch.state is State.LIVE or patch.state not in TRANSITIONS[stream.info.state]:
                raise Conflict(f"A stream that is {stream.info.state} cannot become {patch.state}.")
            stream.lose_writer(Fenced(f"The stream was made {patch.state}."))
        return self._apply(stream, patch)

    async def _close_writer(self, writer: MemoryWriter, patch: Patch) -> Info:
        return await self._commits.ask(lambda: self._end(writer, patch))

    def _end(self, writer: MemoryWriter, patch: Patch) -> Info:
        writer.check()
        writer.stream.writer = None
        return self._apply(writer.stream, patch)

    def _remove(self, stream: Stream) -> None:
        error = StreamGone("The stream was deleted or replaced.")
        stream.lose_writer(error)
        self._commits.stored -= stream.info.size
        del self._streams[stream.info.key], self._ids[stream.info.id]
        stream.gone(error)
        self._announce(ChangeKind.DELETED, stream.info)

    def _close(self) -> None:
        stop = StoreStopped("The store is closed.")
        for stream in self._streams.values():
            stream.lose_writer(stop)
            self._interrupt(stream, "the server stopped")
        self._halt(stop)

    def _abandon(self, writer: MemoryWriter) -> None:
        """Whoever asked for this writer was cancelled."""
        if writer.stream.writer is writer:
            writer.stream.lose_writer(WriterLost("The producer went away."))
            self._interrupt(writer.stream, "its producer went away")

    # What changes are made of.

    def _stream(self, key: str) -> Stream:
        self._commits.check()
        if stream := self._streams.get(key):
            return stream
        raise StreamNotFound(key)

    def _unfinished(self, key: str) -> Stream:
        stream = self._stream(key)
        if stream.info.state.final:
            raise final(stream)
        return stream

    def _interrupt(self, stream: Stream, reason: str) -> None:
        """A stream that was live has lost its producer."""
        if stream.info.state is State.LIVE:
            deadline = self._clock() + stream.info.resume_window
            self._apply(stream, Patch(state=State.INTERRUPTED, reason=reason, deadline=deadline))

    def _apply(self, stream: Stream, patch: Patch) -> Info:
        before = stream.info
        info = before.patched(patch, self._clock())
        stream.turn(info)
        if info.state is not before.state and info.state.final:
            self._announce(ChangeKind.CLOSED, info)
        return info

    def _announce(self, kind: ChangeKind, info: Info) -> None:
        for callback in targets(self._watchers):
            callback(Change(kind, info))

    def _halt(self, stop: StoreStopped) -> None:
        self._commits.halt(stop)
        for stream in self._streams.values():
            if stream.writer:
                stream.writer.lose(stop)
                stream.writer = None
            stream.gone(stop)


def _check_epoch(info: Info, epoch: int | None) -> None:
    if epoch is not None and epoch != info.epoch:
        raise EpochMismatch(info.epoch, epoch)


def final(stream: Stream) -> StreamFinal:
    """Why nothing can be added or changed."""
    return StreamFinal(f"The stream is {stream.info.state}.")

"""The contract over streams in two dictionaries. Owns ids, keys and the order of each change."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from loom.errors import LoomError, StoreStopped, StreamNotFound
from loom.ids import new_key
from loom.model import Change, ChangeKind, Clock, Folder, Info, NewStream, Patch, Query, State
from loom.store import rules
from loom.store.base import (
    Admit,
    Content,
    Decide,
    Following,
    Health,
    Sink,
    Store,
    Subscription,
    Usage,
    Writer,
    admit_all,
)
from loom.store.common import Member, targets
from loom.store.folders import Tallies
from loom.store.holdings import Holdings
from loom.store.memory.commit import Commits
from loom.store.memory.stream import Follower, MemoryContent, MemoryWriter, Stream
from loom.store.places import LinePlace, Moment, arrivals, offset_of, place_of, sample

TURN = 100
"""Streams whose metadata is parsed before other tasks have their turn."""


class MemoryStore(Store):
    """The bounds are bytes in flight. `held` and `fail` serve tests of what is built on a store."""

    def __init__(self, clock: Clock, *, writer_bound: int = 4 << 20, total_bound: int = 64 << 20) -> None:
        self._clock = clock
        self._number = 0
        self._commits = Commits(writer_bound, total_bound)
        self._streams: dict[str, Stream] = {}  # by key, in the order of creation
        self._ids: dict[str, Stream] = {}
        self._watchers: dict[Member[Callable[[Change], None]], None] = {}
        self._holdings = Holdings(find=self._find)
        self._failed = asyncio.Event()

    async def create(self, new: NewStream, *, replace: bool = False, admit: Admit = admit_all) -> Writer:
        rules.check_new(new, live=True)
        return await self._commits.submit(lambda: self._create(new, replace, admit), self._abandon)

    async def put(self, new: NewStream, *, admit: Admit = admit_all) -> Info:
        rules.check_new(new, live=False)
        return await self._commits.submit(lambda: self._put(new, admit))

    async def append(self, key: str, names: Collection[str], decide: Decide) -> Info:
        return await self._commits.submit(lambda: self._append(key, names, decide))

    async def resume(
        self, key: str, offset: int, *, epoch: int | None = None, length: int | None = None
    ) -> Writer:
        if (stream := self._streams.get(key)) and stream.writer and not stream.writer.closed:
            rules.check_takeover(stream.info, epoch)
            if offset == stream.writer.accepted:
                # Fence at once: the old writer's next append fails, although the takeover is not durable yet.
                stream.writer.lose(rules.fenced(stream.info))
        return await self._commits.submit(lambda: self._resume(key, offset, epoch, length), self._abandon)

    async def info(self, id: str) -> Info:
        self._commits.check()
        if stream := self._ids.get(id):
            return stream.info
        raise StreamNotFound(id)

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        return await self._commits.submit(lambda: self._change(key, patch, version))

    async def delete(self, key: str) -> None:
        await self._commits.submit(lambda: self._remove(self._stream(key)))

    async def find(self, query: Query) -> AsyncIterator[Info]:
        self._commits.check()
        for count, stream in enumerate(reversed(list(self._streams.values()))):
            if query.parses and count % TURN == TURN - 1:
                await asyncio.sleep(0)
            if query.matches(stream.info):
                yield stream.info

    async def folders(self, prefix: str) -> tuple[int, list[Folder]]:
        self._commits.check()
        tallies = Tallies(prefix, {})
        for stream in self._streams.values():
            if stream.info.id.startswith(prefix):
                tallies.add(stream.info)
        return tallies.result()

    async def due(self, now: float) -> list[Info]:
        return self._earliest(rules.due_at, now)

    async def expired(self, now: float) -> list[Info]:
        return self._earliest(rules.expires_at, now)

    def _earliest(self, time: Callable[[Info], float], now: float) -> list[Info]:
        self._commits.check()
        infos = [stream.info for stream in self._streams.values() if time(stream.info) <= now]
        return sorted(infos, key=time)[: rules.AT_ONCE]

    async def open(self, key: str) -> Content:
        return MemoryContent(self._stream(key))

    async def place(self, key: str, line: int) -> LinePlace:
        return place_of(self._stream(key).places, line)

    async def places(self, key: str, lines: tuple[int, int], count: int) -> list[LinePlace]:
        stream = self._stream(key)
        return sample(lambda line: place_of(stream.places, line), stream.moments, lines, count)

    async def moments(self, key: str, offset: int) -> list[Moment]:
        stream = self._stream(key)
        return arrivals(stream.moments, stream.info.created, offset)

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
    def holdings(self) -> Holdings:
        return self._holdings

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
            await self._commits.submit(self._close)
        except StoreStopped:
            pass  # everyone has been notified already

    def held(self) -> AbstractContextManager[None]:
        """Make nothing durable inside this context; changes wait, in order, until it is left."""
        return self._commits.held()

    def fail(self, reason: str) -> None:
        """Stop as after a failed flush: what is not durable yet is lost."""
        self._halt(StoreStopped(reason))
        self._failed.set()

    def _find(self, id: str) -> Info | None:
        stream = self._ids.get(id)
        return stream.info if stream else None

    # The changes. Each is one step of a commit.

    def _create(self, new: NewStream, replace: bool, admit: Admit) -> MemoryWriter:
        stream, old = self._begin(new, replace, admit)
        stream.writer = MemoryWriter(stream, self._commits, self._close_writer, replaced=old is not None)
        self._announce(rules.announced(None, stream.info), stream.info)
        return stream.writer

    def _put(self, new: NewStream, admit: Admit) -> Info:
        stream, _ = self._begin(new, False, admit)
        self._add(stream, new.content, new.entries)
        self._announce(rules.announced(None, stream.info), stream.info)
        return stream.info

    def _begin(self, new: NewStream, replace: bool, admit: Admit) -> tuple[Stream, Stream | None]:
        old = self._ids.get(new.id)
        rules.check_creation(new, old.info if old else None, replaces=replace)
        admit(old.info if old else None)
        if old:
            self._remove(old)
        self._number += 1
        info = rules.born(new, new_key(self._number), self._clock())
        self._holdings.add(info)
        stream = self._streams[info.key] = self._ids[info.id] = Stream(info, self._clock)
        return stream, old

    def _append(self, key: str, names: Collection[str], decide: Decide) -> Info:
        stream = self._stream(key)
        rules.check_shared(stream.info)
        known = {name: stream.ledger[name] for name in names if name in stream.ledger}
        addition = decide(stream.info, known)
        rules.check_addition(stream.info, names, addition)
        self._add(stream, addition.data, addition.entries)
        if addition.patch:
            self._change_row(stream, rules.apply(stream.info, addition.patch, self._clock()))
        return stream.info

    def _add(self, stream: Stream, data: Sequence[bytes], entries: Mapping[str, str]) -> None:
        """Make bytes and entries of the ledger durable."""
        growth = rules.growth(stream.ledger, entries)
        stream.ledger |= entries
        stream.info = replace(stream.info, ledger=stream.info.ledger + growth)
        self._holdings.grow(growth)
        self._commits.stored += sum(map(len, data))
        stream.add(b"".join(data))

    def _resume(self, key: str, offset: int, epoch: int | None, length: int | None) -> MemoryWriter:
        stream = self._stream(key)
        rules.check_takeover(stream.info, epoch)
        stream.flush()
        rules.check_offset(stream.info.size, offset)
        stream.lose_writer(rules.fenced(stream.info))
        self._change_row(stream, rules.take_over(stream.info, length, self._clock()))
        stream.writer = MemoryWriter(stream, self._commits, self._close_writer)
        return stream.writer

    def _change(self, key: str, patch: Patch, version: int) -> Info:
        stream = self._stream(key)
        stream.flush()
        row = rules.change(stream.info, patch, version, self._clock())
        if patch.state:
            stream.lose_writer(rules.fenced(row, patch.state))
        return self._change_row(stream, row)

    async def _close_writer(self, writer: MemoryWriter, patch: Patch) -> Info:
        return await self._commits.submit(lambda: self._end(writer, patch))

    def _end(self, writer: MemoryWriter, patch: Patch) -> Info:
        writer.check()
        writer.stream.writer = None
        return self._change_row(writer.stream, rules.apply(writer.stream.info, patch, self._clock()))

    def _remove(self, stream: Stream) -> None:
        error = rules.gone(stream.info)
        stream.lose_writer(error)
        self._commits.stored -= stream.info.size
        self._holdings.remove(stream.info)
        del self._streams[stream.info.key], self._ids[stream.info.id]
        stream.end(error)
        self._announce([ChangeKind.DELETED], stream.info)

    def _close(self) -> None:
        stop = rules.closed()
        for stream in self._streams.values():
            self._interrupt(stream, stop, rules.SERVER_STOPPED)
        self._halt(stop)

    def _abandon(self, writer: MemoryWriter) -> None:
        """Interrupt the stream of a writer that its caller, who was cancelled, never received."""
        if writer.stream.writer is writer:
            self._interrupt(writer.stream, rules.cancelled(writer.info), rules.CANCELLED)

    def _interrupt(self, stream: Stream, error: LoomError, reason: str) -> None:
        stream.lose_writer(error)
        self._change_row(stream, rules.interrupt(stream.info, reason, self._clock()))

    # The steps that changes share.

    def _stream(self, key: str) -> Stream:
        self._commits.check()
        if stream := self._streams.get(key):
            return stream
        raise StreamNotFound(key)

    def _change_row(self, stream: Stream, row: Info) -> Info:
        before = stream.info
        self._holdings.change(before, row)
        stream.turn(row)
        self._announce(rules.announced(before, row), row)
        return row

    def _announce(self, kinds: list[ChangeKind], info: Info) -> None:
        for kind in kinds:
            for callback in targets(self._watchers):
                callback(Change(kind, info))

    def _halt(self, stop: StoreStopped) -> None:
        self._commits.halt(stop)
        for stream in self._streams.values():
            if stream.writer:
                stream.writer.lose(stop)
                stream.writer = None
            stream.end(stop)

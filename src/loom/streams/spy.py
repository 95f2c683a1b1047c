"""Follow many streams at once, interleaved into one output. Owns the format of that output as text.

    START: build/1          a stream that is not final when the spy joins, or one that is created later
    build/1:                its bytes follow, until the next line of one of these kinds
    ...bytes...
    END: build/1            complete, aborted, deleted or replaced

Such a line always begins on a new line of the output. Bytes are passed on unchanged and in order. Only an
incomplete UTF-8 character is held back until the rest of it arrives. Nothing is queued for a spy except which
streams are new or have grown. It takes bytes from the tail of a stream or, if it lags, from the content.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import cycle
from typing import Protocol

from loom.errors import Busy, LoomError, StreamDamaged, StreamGone, StreamNotFound
from loom.model import FINAL_STATES, Change, ChangeKind, Query, State
from loom.store.base import Store
from loom.streams.hub import Hub, Tail
from loom.wire.text import Whole

RUN = 64 << 10
"""After about this many bytes of one stream it is the next stream's turn."""
PENDING = 10_000
"""The most streams whose START or END a spy may still have to write. A slower spy is disconnected."""

FOLLOWED = 200_000
"""The most streams that all spies together follow. Each costs each spy nearly a kilobyte."""
AT_ONCE = 50
"""Streams that a spy joins before other work has its turn."""

UNFINISHED = Query(states=frozenset(State) - FINAL_STATES)
COLORS = 32, 33, 34, 35, 36, 92, 93, 94, 95, 96
RESET = "\x1b[0m"


class Spy:
    """Creates spies on one store."""

    def __init__(self, store: Store, hub: Hub, *, pending: int = PENDING, followed: int = FOLLOWED) -> None:
        self._store = store
        self._hub = hub
        self._pending = pending
        self._room = _Room(followed)

    async def interleave(
        self, output: "Output | None" = None, prefix: str = "", shown: Callable[[str], bool] = lambda _: True
    ) -> AsyncGenerator[bytes, None]:
        """Yield the output of all present and new streams with this prefix whose id is `shown`, until closed.

        The first piece, which may be empty, is yielded once the spy has joined. Raises StoreStopped, or Busy
        if the spy lags too far, all spies follow too many streams, or no descriptor is left.
        """

        def wanted(id: str) -> bool:
            return id.startswith(prefix) and shown(id)

        output = output or TextOutput()
        session = _Session(self._store, self._hub, self._room, self._pending, output, wanted)
        try:
            yield await session.join(prefix)
            while True:
                if piece := await session.turn():
                    yield piece
        finally:
            session.leave()


class _Room:
    """Room for more streams that spies follow; below 0 once one of them has to end."""

    def __init__(self, left: int) -> None:
        self.left = left

    def check(self, more: int = 0) -> None:
        """Raise Busy if there are too many, or would be with `more`."""
        if self.left < more:
            raise Busy("All readers of /spy together follow too many streams. Retry later.")


class Source:
    """What a spy has written of a stream: all bytes before `offset`, except those that `whole` holds."""

    def __init__(self, key: str, id: str, color: int) -> None:
        self.key = key
        self.id = id
        self.color = color
        self.tail: Tail | None = None
        """None until the stream is announced."""
        self.offset = 0
        self.whole = Whole()
        self.over = False
        """The stream has ended, or cannot be read; END is still to be written."""
        self.queued = False


class Output(Protocol):
    """How what a spy reports is written. Pure."""

    def announce(self, word: str, source: Source) -> bytes:
        """Return that a stream has begun, with the word START, or is over, with END."""

    def show(self, source: Source, data: bytes) -> bytes:
        """Return bytes of a stream, which are whole characters unless the stream is over."""


class TextOutput:
    """The output as text: what the next piece depends on."""

    def __init__(self, colored: bool = False) -> None:
        self._colored = colored
        self._running: Source | None = None
        self._at_line_start = True

    def announce(self, word: str, source: Source) -> bytes:
        """Return the line START or END of a stream."""
        self._running = None
        return self._line(f"{word}: {self._name(source)}")

    def show(self, source: Source, data: bytes) -> bytes:
        """Return bytes of a stream, after its line if the output showed another stream before."""
        line = b"" if self._running is source else self._line(f"{self._name(source)}:")
        self._running = source
        self._at_line_start = data.endswith(b"\n")
        if self._colored:
            return b"%b\x1b[%dm%b%b" % (line, source.color, data, RESET.encode())
        return line + data if line else data

    def _line(self, text: str) -> bytes:
        begin = "" if self._at_line_start else "\n"
        self._at_line_start = True
        return f"{begin}{text}\n".encode()

    def _name(self, source: Source) -> str:
        return f"\x1b[1;{source.color}m{source.id}{RESET}" if self._colored else source.id


class _Session:
    """One spy: the streams it knows, and a queue of those that have something to write."""

    def __init__(
        self, store: Store, hub: Hub, room: _Room, limit: int, output: Output, shown: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._hub = hub
        self._room = room
        self._limit = limit
        self._shown = shown
        self._output = output
        self._colors = cycle(COLORS)
        self._sources: dict[str, Source] = {}
        self._growing = 0  # sources with a tail that are not over
        self._ready: deque[Source] = deque()
        self._woken = asyncio.Event()
        self._error: LoomError | None = None
        self._watching = store.watch(self._on_change)
        hub.listeners.add(self._woken.set)

    async def join(self, prefix: str) -> bytes:
        """Join every stream that is not final at its present end; return that they have begun."""
        started = []
        unfinished = replace(UNFINISHED, prefix=prefix)
        found = [info async for info in self._store.find(unfinished) if self._shown(info.id)]
        # One that finds no room is refused before it joins any.
        self._room.check(len(found))
        for info in found:
            if info.key in self._sources:
                continue  # created after `watch`: already queued, and shown from its first byte
            source = self._add(info.key, info.id)
            self._room.check()
            if len(self._sources) % AT_ONCE == 0:
                await asyncio.sleep(0)
            await self._attach(source)
            if source.tail is None:
                self._release(source)
            else:
                source.offset = source.tail.end
                started.append(self._output.announce("START", source))
        return b"".join(started)

    async def turn(self) -> bytes:
        """Wait for the next stream that has something to write; return one run of it."""
        source = await self._next()
        shown = []
        # A new stream is attached at its first turn. It is announced even if it was deleted since.
        if source.tail is None:
            shown.append(self._output.announce("START", source))
            await self._attach(source)
        size = 0
        while size < RUN and (data := await self._take(source)):
            size += len(data)
            if whole := source.whole.feed(data):
                shown.append(self._output.show(source, whole))
        # END follows the last byte: a source that is over but has bytes left takes another turn.
        if source.tail is not None and source.offset < source.tail.end:
            self._queue(source)
        elif source.over:
            shown += self._end(source)
        return b"".join(shown)

    def leave(self) -> None:
        """Release everything. May be repeated."""
        self._watching.close()
        self._hub.listeners.discard(self._woken.set)
        for source in tuple(self._sources.values()):
            self._release(source)
        self._ready.clear()

    async def _next(self) -> Source:
        while True:
            if error := self._error or self._hub.closed:
                raise error.with_traceback(None)
            if self._ready:
                source = self._ready.popleft()
                source.queued = False
                if source.key in self._sources:
                    return source
            else:
                # Nothing is awaited between finding the queue empty and clearing, so no wake-up is lost.
                self._woken.clear()
                await self._woken.wait()

    async def _take(self, source: Source) -> bytes:
        """Return some of the bytes after the source's offset, or none."""
        tail = source.tail
        if tail is None or source.offset >= tail.end:
            return b""
        data = tail.take(source.offset)
        if data is None:
            data = await self._stored(source, min(tail.start, source.offset + RUN))
        source.offset += len(data)
        return data

    async def _stored(self, source: Source, stop: int) -> bytes:
        """Return bytes of the content. It is open only during this call: any number of sources may lag."""
        try:
            async with await self._store.open(source.key) as content:
                return b"".join([part async for part in content.read(source.offset, stop)])
        except (StreamNotFound, StreamDamaged):
            self._detach(source)
            return b""

    def _end(self, source: Source) -> list[bytes]:
        if source.tail is not None and (error := source.tail.error) and not isinstance(error, StreamGone):
            raise error.with_traceback(None)
        self._release(source)
        held = source.whole.held
        return [*([self._output.show(source, held)] if held else []), self._output.announce("END", source)]

    def _add(self, key: str, id: str) -> Source:
        source = self._sources[key] = Source(key, id, next(self._colors))
        self._room.left -= 1
        return source

    async def _attach(self, source: Source) -> None:
        try:
            tail = await self._hub.attach(source.key)
        except (StreamNotFound, StreamGone):
            source.over = True
            return
        if source.key not in self._sources:  # released during the await
            self._hub.detach(tail)
            return
        source.tail = tail
        self._growing += 1
        tail.listeners.add(self._on_tail)
        if tail.ended:
            self._on_tail(tail)

    def _detach(self, source: Source) -> None:
        """Stop reading the stream; END is still to be written."""
        if source.tail is not None:
            self._growing -= not source.over
            source.tail.listeners.discard(self._on_tail)
            self._hub.detach(source.tail)
        source.tail = None
        source.over = True

    def _release(self, source: Source) -> None:
        if self._sources.pop(source.key, None):
            self._room.left += 1
            self._detach(source)

    def _queue(self, source: Source) -> None:
        if not source.queued:
            source.queued = True
            self._ready.append(source)
            self._woken.set()

    def _on_change(self, change: Change) -> None:
        info = change.info
        if change.kind is ChangeKind.CREATED and info.key not in self._sources and self._shown(info.id):
            self._queue(self._add(info.key, info.id))
            self._check_limit()

    def _on_tail(self, tail: Tail) -> None:
        source = self._sources[tail.key]
        if tail.ended and not source.over:
            source.over = True
            self._growing -= 1
            self._check_limit()
        self._queue(source)

    def _check_limit(self) -> None:
        # Live streams do not count, however many there are: only those whose START or END is due.
        if len(self._sources) - self._growing > self._limit:
            self._fail(Busy(f"This spy lags by more than {self._limit} streams. Reconnect to continue."))
        try:
            self._room.check()
        except Busy as error:
            self._fail(error)

    def _fail(self, error: LoomError) -> None:
        self._error = self._error or error
        self.leave()
        self._woken.set()

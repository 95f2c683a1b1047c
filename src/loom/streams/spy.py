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
from typing import Protocol

from loom.errors import Busy, LoomError, StreamDamaged, StreamGone, StreamNotFound
from loom.store.base import Store
from loom.streams.hub import Hub
from loom.streams.roster import FOLLOWED, Followed, Roster, Rosters
from loom.wire.text import Whole

RUN = 64 << 10
"""After about this many bytes of one stream it is the next stream's turn."""
PENDING = 10_000
"""The most streams whose START or END a spy may still have to write. A slower spy is disconnected."""
AT_ONCE = 500
"""Streams that a spy joins before other work has its turn."""

COLORS = 32, 33, 34, 35, 36, 92, 93, 94, 95, 96
RESET = "\x1b[0m"


class Spy:
    """Creates spies on one store."""

    def __init__(self, store: Store, hub: Hub, *, pending: int = PENDING, followed: int = FOLLOWED) -> None:
        self._store = store
        self._hub = hub
        self._pending = pending
        self._rosters = Rosters(store, hub, followed)

    async def interleave(
        self, output: "Output | None" = None, prefix: str = "", shown: Callable[[str], bool] = lambda _: True
    ) -> AsyncGenerator[bytes, None]:
        """Yield the output of all present and new streams with this prefix whose id is `shown`, until closed.

        The first piece, which may be empty, is yielded once the spy has joined. Raises StoreStopped, or Busy
        if the spy lags too far, all spies follow too many streams, or no descriptor is left.
        """
        session = _Session(
            self._store, self._hub, self._rosters, self._pending, output or TextOutput(), shown
        )
        try:
            yield await session.join(prefix)
            while True:
                if piece := await session.turn():
                    yield piece
        finally:
            session.leave()


class Source:
    """A stream that a spy has written up to `offset`, except what `whole` holds, and not to its end."""

    def __init__(self, stream: Followed, offset: int, *, new: bool) -> None:
        self.stream = stream
        self.offset = offset
        self.new = new
        """START is still to be written."""
        self.whole = Whole()
        self.lost = False
        """Its bytes cannot be read: END is written, or still to be written."""
        self.queued = False

    @property
    def key(self) -> str:
        return self.stream.key

    @property
    def id(self) -> str:
        return self.stream.id

    @property
    def color(self) -> int:
        return COLORS[(self.stream.number - 1) % len(COLORS)]

    @property
    def due(self) -> bool:
        """True if START or END is still to be written."""
        return self.new or self.stream.over


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
        self._running: Followed | None = None
        self._at_line_start = True

    def announce(self, word: str, source: Source) -> bytes:
        """Return the line START or END of a stream."""
        self._running = None
        return self._line(f"{word}: {self._name(source)}")

    def show(self, source: Source, data: bytes) -> bytes:
        """Return bytes of a stream, after its line if the output showed another stream before."""
        line = b"" if self._running is source.stream else self._line(f"{self._name(source)}:")
        self._running = source.stream
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
    """One spy. Nothing is kept of a stream that it has written to its end, but those that are not over
    continue to belong to its roster.
    """

    def __init__(
        self,
        store: Store,
        hub: Hub,
        rosters: Rosters,
        limit: int,
        output: Output,
        shown: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._hub = hub
        self._rosters = rosters
        self._limit = limit
        self._shown = shown
        self._output = output
        self._roster: Roster | None = None
        self._sources: dict[str, Source] = {}
        self._due = 0  # sources whose START or END is still to be written
        self._ready: deque[Source] = deque()
        self._woken = asyncio.Event()
        self._error: LoomError | None = None
        hub.listeners.add(self._woken.set)

    async def join(self, prefix: str) -> bytes:
        """Join every stream that is not final at its present end; return that they have begun."""
        roster = self._roster = self._rosters.enter(prefix)
        before = roster.number
        await asyncio.shield(roster.begun)
        # From here on the roster reports what is new, and what becomes of those that are present.
        roster.spies[self] = None
        present = []
        for stream in roster.streams.values():
            if stream.created and stream.number > before:
                self.on_created(stream)
            elif self._shown(stream.id):
                present.append(stream)
        await roster.wait_attached()
        started = []
        for number, stream in enumerate(reversed(present), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if stream.tail is not None:
                source = self._sources.get(stream.key) or Source(stream, stream.end, new=False)
                started.append(self._output.announce("START", source))
        return b"".join(started)

    @property
    def weight(self) -> int:
        """Streams that the spy has not written to their end."""
        return len(self._sources)

    async def turn(self) -> bytes:
        """Wait for the next stream that has something to write; return one run of it."""
        source = await self._next()
        shown = []
        if source.new:
            # A new stream is announced even if it was deleted since.
            shown.append(self._output.announce("START", source))
            await asyncio.wait({source.stream.attached})
            self._due -= not source.stream.over
            source.new = False
        size = 0
        while size < RUN and (data := await self._take(source)):
            size += len(data)
            if whole := source.whole.feed(data):
                shown.append(self._output.show(source, whole))
        tail = source.stream.tail
        # END follows the last byte: a source that is over but has bytes left takes another turn.
        if not source.lost and tail is not None and source.offset < tail.end:
            self._queue(source)
        elif source.lost or source.stream.over:
            shown += self._end(source)
        elif not source.whole.held:
            self._drop(source)
        return b"".join(shown)

    def leave(self) -> None:
        """Release everything. May be repeated."""
        self._hub.listeners.discard(self._woken.set)
        for source in tuple(self._sources.values()):
            self._drop(source)
        self._ready.clear()
        if roster := self._roster:
            self._roster = None
            roster.spies.pop(self, None)
            self._rosters.leave(roster)

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
        tail = source.stream.tail
        if source.lost or tail is None or source.offset >= tail.end:
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
            source.lost = True
            return b""

    def _end(self, source: Source) -> list[bytes]:
        tail = source.stream.tail
        if tail is not None and (error := tail.error) and not isinstance(error, StreamGone):
            raise error.with_traceback(None)
        if source.stream.over:
            self._drop(source)
        held = source.whole.held
        return [*([self._output.show(source, held)] if held else []), self._output.announce("END", source)]

    # What the roster reports.

    def on_created(self, stream: Followed) -> None:
        """Queue a new stream."""
        if self._shown(stream.id):
            self._queue(self._add(stream, 0, new=True))
            self._check_limit()

    def on_grown(self, stream: Followed) -> None:
        """Queue a stream that has new bytes."""
        source = self._sources.get(stream.key)
        if source is None:
            if not self._shown(stream.id):
                return
            source = self._add(stream, stream.end, new=False)
        if not source.lost:
            self._queue(source)

    def on_over(self, stream: Followed) -> None:
        """Queue a stream whose END is to be written."""
        source = self._sources.get(stream.key)
        if source is None:
            # One that was never attached was not announced either.
            if stream.tail is None or not self._shown(stream.id):
                return
            source = self._add(stream, stream.end, new=False)
        self._due += not source.new
        if source.lost:
            self._drop(source)
            return
        self._queue(source)
        self._check_limit()

    def fail(self, error: LoomError) -> None:
        """Leave, and raise the error at the next turn."""
        self._error = self._error or error
        self.leave()
        self._woken.set()

    def _add(self, stream: Followed, offset: int, *, new: bool) -> Source:
        source = self._sources[stream.key] = Source(stream, offset, new=new)
        self._rosters.room -= 1
        stream.users += 1
        self._due += new
        return source

    def _drop(self, source: Source) -> None:
        if self._sources.pop(source.key, None):
            assert self._roster is not None
            self._rosters.room += 1
            self._due -= source.due
            self._roster.drop_user(source.stream)

    def _queue(self, source: Source) -> None:
        if not source.queued:
            source.queued = True
            self._ready.append(source)
            self._woken.set()

    def _check_limit(self) -> None:
        # Live streams do not count, however many there are.
        if self._due > self._limit:
            self.fail(Busy(f"This spy lags by more than {self._limit} streams. Reconnect to continue."))

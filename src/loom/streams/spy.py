"""Spying: many followers woven into one output, whose format this module owns.

    START: build/1          a stream that is not final when the spy joins, or one that is created later
    build/1:                from here on its bytes, until another line like these
    ...bytes...
    END: build/1            complete, aborted, deleted or replaced

Such a line always begins on a new line of the output. Bytes are passed through unchanged and in order; only
the start of a UTF-8 character at the end of what is there waits for its rest. Nothing is queued for a spy but
which streams are new or have grown: it pulls, from the tail of a stream or, behind that, from its content.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from itertools import cycle

from loom.errors import Busy, LoomError, StreamDamaged, StreamGone, StreamNotFound
from loom.model import FINAL_STATES, Change, ChangeKind, Query, State
from loom.store.base import Store
from loom.streams.hub import Hub, Tail
from loom.wire.text import Whole

RUN = 64 << 10
"""Bytes a stream shows, give or take a chunk, before the next one has its turn."""
UNTOLD = 10_000
"""Streams a spy may have still to announce or to end before it is given up as too slow."""

UNFINISHED = Query(states=frozenset(State) - FINAL_STATES)
COLORS = 32, 33, 34, 35, 36, 92, 93, 94, 95, 96
RESET = "\x1b[0m"


class Spy:
    """Where spies are let in."""

    def __init__(self, store: Store, hub: Hub, *, untold: int = UNTOLD) -> None:
        self._store = store
        self._hub = hub
        self._untold = untold

    async def weave(
        self, color: bool = False, shown: Callable[[str], bool] = lambda _: True
    ) -> AsyncGenerator[bytes, None]:
        """What all live and new streams give whose id is `shown`, until it is closed. The first piece, maybe
        an empty one, comes as soon as the spy has joined.

        Raises StoreStopped, or Busy where the spy is too far behind or no descriptor is left.
        """
        weave = _Weave(self._store, self._hub, self._untold, color, shown)
        try:
            yield await weave.join()
            while True:
                if piece := await weave.turn():
                    yield piece
        finally:
            weave.leave()


class _Strand:
    """One stream as a spy has seen it: all before `offset` is shown, but for what `whole` holds."""

    def __init__(self, key: str, id: str, color: int) -> None:
        self.key = key
        self.id = id
        self.color = color
        self.tail: Tail | None = None
        """None until it is announced."""
        self.offset = 0
        self.whole = Whole()
        self.over = False
        """Nothing more comes; its end is still to be told."""
        self.queued = False


class _Page:
    """The output so far, as far as it matters for what comes next. Pure."""

    def __init__(self, colored: bool) -> None:
        self._colored = colored
        self._running: _Strand | None = None
        self._at_line_start = True

    def announce(self, word: str, strand: _Strand) -> bytes:
        """A line that tells of the stream as a whole."""
        self._running = None
        return self._line(f"{word}: {self._name(strand)}")

    def show(self, strand: _Strand, data: bytes) -> bytes:
        """Some bytes of a stream, behind its line if another one was shown before."""
        line = b"" if self._running is strand else self._line(f"{self._name(strand)}:")
        self._running = strand
        self._at_line_start = data.endswith(b"\n")
        if self._colored:
            return b"%b\x1b[%dm%b%b" % (line, strand.color, data, RESET.encode())
        return line + data if line else data

    def _line(self, text: str) -> bytes:
        begin = "" if self._at_line_start else "\n"
        self._at_line_start = True
        return f"{begin}{text}\n".encode()

    def _name(self, strand: _Strand) -> str:
        return f"\x1b[1;{strand.color}m{strand.id}{RESET}" if self._colored else strand.id


class _Weave:
    """One spy: the streams it knows, and those of them that have something to show, in the order of turns."""

    def __init__(
        self, store: Store, hub: Hub, limit: int, colored: bool, shown: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._hub = hub
        self._limit = limit
        self._shown = shown
        self._page = _Page(colored)
        self._colors = cycle(COLORS)
        self._strands: dict[str, _Strand] = {}
        self._growing = 0  # strands that are announced and not over
        self._ready: deque[_Strand] = deque()
        self._stirred = asyncio.Event()
        self._error: LoomError | None = None
        self._watching = store.watch(self._changed)
        hub.listeners.add(self._stirred.set)

    async def join(self) -> bytes:
        """Begin with every stream that is not final, each at its end of this moment; announces them."""
        started = []
        for info in [info async for info in self._store.find(UNFINISHED)]:
            if info.key in self._strands or not self._shown(info.id):
                continue  # if created since we watch, its turn comes, and from its first byte
            strand = self._add(info.key, info.id)
            await self._attach(strand)
            if strand.tail is None:
                self._release(strand)
            else:
                strand.offset = strand.tail.end
                started.append(self._page.announce("START", strand))
        return b"".join(started)

    async def turn(self) -> bytes:
        """What the next stream that has something to show shows in one run."""
        strand = await self._next()
        shown = []
        if strand.tail is None:
            shown.append(self._page.announce("START", strand))
            await self._attach(strand)
        size = 0
        while size < RUN and (data := await self._take(strand)):
            size += len(data)
            if whole := strand.whole.feed(data):
                shown.append(self._page.show(strand, whole))
        if strand.tail is not None and strand.offset < strand.tail.end:
            self._queue(strand)
        elif strand.over:
            shown += self._end(strand)
        return b"".join(shown)

    def leave(self) -> None:
        """Let go of everything. May be repeated."""
        self._watching.close()
        self._hub.listeners.discard(self._stirred.set)
        for strand in tuple(self._strands.values()):
            self._release(strand)
        self._ready.clear()

    async def _next(self) -> _Strand:
        while True:
            if error := self._error or self._hub.closed:
                raise error.with_traceback(None)
            if self._ready:
                strand = self._ready.popleft()
                strand.queued = False
                if strand.key in self._strands:
                    return strand
            else:
                self._stirred.clear()
                await self._stirred.wait()

    async def _take(self, strand: _Strand) -> bytes:
        """Some of the bytes that are there, or none."""
        tail = strand.tail
        if tail is None or strand.offset >= tail.end:
            return b""
        data = tail.take(strand.offset)
        if data is None:
            data = await self._stored(strand, min(tail.start, strand.offset + RUN))
        strand.offset += len(data)
        return data

    async def _stored(self, strand: _Strand, stop: int) -> bytes:
        """Bytes from the content, which is open only here: streams without end may be behind at once."""
        try:
            async with await self._store.open(strand.key) as content:
                return b"".join([part async for part in content.read(strand.offset, stop)])
        except (StreamNotFound, StreamDamaged):
            self._detach(strand)
            return b""

    def _end(self, strand: _Strand) -> list[bytes]:
        if strand.tail is not None and (error := strand.tail.error) and not isinstance(error, StreamGone):
            raise error.with_traceback(None)
        self._release(strand)
        held = strand.whole.held
        return [*([self._page.show(strand, held)] if held else []), self._page.announce("END", strand)]

    def _add(self, key: str, id: str) -> _Strand:
        strand = self._strands[key] = _Strand(key, id, next(self._colors))
        return strand

    async def _attach(self, strand: _Strand) -> None:
        try:
            tail = await self._hub.attach(strand.key)
        except (StreamNotFound, StreamGone):
            strand.over = True
            return
        if strand.key not in self._strands:  # given up meanwhile
            self._hub.detach(tail)
            return
        strand.tail = tail
        self._growing += 1
        tail.listeners.add(self._grown)
        if tail.ended:
            self._grown(tail)

    def _detach(self, strand: _Strand) -> None:
        """No more of it is shown."""
        if strand.tail is not None:
            self._growing -= not strand.over
            strand.tail.listeners.discard(self._grown)
            self._hub.detach(strand.tail)
        strand.tail = None
        strand.over = True

    def _release(self, strand: _Strand) -> None:
        if self._strands.pop(strand.key, None):
            self._detach(strand)

    def _queue(self, strand: _Strand) -> None:
        if not strand.queued:
            strand.queued = True
            self._ready.append(strand)
            self._stirred.set()

    def _changed(self, change: Change) -> None:
        info = change.info
        if change.kind is ChangeKind.CREATED and info.key not in self._strands and self._shown(info.id):
            self._queue(self._add(info.key, info.id))
            self._check_limit()

    def _grown(self, tail: Tail) -> None:
        strand = self._strands[tail.key]
        if tail.ended and not strand.over:
            strand.over = True
            self._growing -= 1
            self._check_limit()
        self._queue(strand)

    def _check_limit(self) -> None:
        if len(self._strands) - self._growing > self._limit:
            self._error = Busy(f"This spy is more than {self._limit} streams behind.")
            self.leave()
            self._stirred.set()

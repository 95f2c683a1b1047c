"""Follow many streams at once, interleaved into one output. Owns the format of that output.

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
from itertools import cycle

from loom.errors import Busy, LoomError, StreamDamaged, StreamGone, StreamNotFound
from loom.model import FINAL_STATES, Change, ChangeKind, Query, State
from loom.store.base import Store
from loom.streams.hub import Hub, Tail
from loom.wire.text import Whole

RUN = 64 << 10
"""After about this many bytes of one stream it is the next stream's turn."""
PENDING = 10_000
"""The most streams whose START or END a spy may have to write still. A slower spy is disconnected."""

UNFINISHED = Query(states=frozenset(State) - FINAL_STATES)
COLORS = 32, 33, 34, 35, 36, 92, 93, 94, 95, 96
RESET = "\x1b[0m"


class Spy:
    """Creates spies on one store."""

    def __init__(self, store: Store, hub: Hub, *, pending: int = PENDING) -> None:
        self._store = store
        self._hub = hub
        self._pending = pending

    async def weave(
        self, color: bool = False, shown: Callable[[str], bool] = lambda _: True
    ) -> AsyncGenerator[bytes, None]:
        """Yield the output of all present and new streams whose id is `shown`, until closed.

        The first piece, which may be empty, is yielded once the spy has joined. Raises StoreStopped, or Busy
        if the spy lags too far or no descriptor is left.
        """
        weave = _Weave(self._store, self._hub, self._pending, color, shown)
        try:
            yield await weave.join()
            while True:
                if piece := await weave.turn():
                    yield piece
        finally:
            weave.leave()


class _Strand:
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


class _Page:
    """The state of the output that the next piece depends on. Pure."""

    def __init__(self, colored: bool) -> None:
        self._colored = colored
        self._running: _Strand | None = None
        self._at_line_start = True

    def announce(self, word: str, strand: _Strand) -> bytes:
        """Return the line START or END of a stream."""
        self._running = None
        return self._line(f"{word}: {self._name(strand)}")

    def show(self, strand: _Strand, data: bytes) -> bytes:
        """Return bytes of a stream, after its line if the output showed another stream before."""
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
    """One spy: the streams it knows, and a queue of those that have something to write."""

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
        self._growing = 0  # strands with a tail that are not over
        self._ready: deque[_Strand] = deque()
        self._woken = asyncio.Event()
        self._error: LoomError | None = None
        self._watching = store.watch(self._on_change)
        hub.listeners.add(self._woken.set)

    async def join(self) -> bytes:
        """Join every stream that is not final at its present end; return their START lines."""
        started = []
        for info in [info async for info in self._store.find(UNFINISHED)]:
            if info.key in self._strands or not self._shown(info.id):
                continue  # created after `watch`: already queued, and shown from its first byte
            strand = self._add(info.key, info.id)
            await self._attach(strand)
            if strand.tail is None:
                self._release(strand)
            else:
                strand.offset = strand.tail.end
                started.append(self._page.announce("START", strand))
        return b"".join(started)

    async def turn(self) -> bytes:
        """Wait for the next stream that has something to write; return one run of it."""
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
        """Release everything. May be repeated."""
        self._watching.close()
        self._hub.listeners.discard(self._woken.set)
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
                self._woken.clear()
                await self._woken.wait()

    async def _take(self, strand: _Strand) -> bytes:
        """Return some of the bytes after the strand's offset, or none."""
        tail = strand.tail
        if tail is None or strand.offset >= tail.end:
            return b""
        data = tail.take(strand.offset)
        if data is None:
            data = await self._stored(strand, min(tail.start, strand.offset + RUN))
        strand.offset += len(data)
        return data

    async def _stored(self, strand: _Strand, stop: int) -> bytes:
        """Return bytes of the content. It is open only during this call: any number of strands may lag."""
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
        if strand.key not in self._strands:  # released during the await
            self._hub.detach(tail)
            return
        strand.tail = tail
        self._growing += 1
        tail.listeners.add(self._on_tail)
        if tail.ended:
            self._on_tail(tail)

    def _detach(self, strand: _Strand) -> None:
        """Stop reading the stream; END is still to be written."""
        if strand.tail is not None:
            self._growing -= not strand.over
            strand.tail.listeners.discard(self._on_tail)
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
            self._woken.set()

    def _on_change(self, change: Change) -> None:
        info = change.info
        if change.kind is ChangeKind.CREATED and info.key not in self._strands and self._shown(info.id):
            self._queue(self._add(info.key, info.id))
            self._check_limit()

    def _on_tail(self, tail: Tail) -> None:
        strand = self._strands[tail.key]
        if tail.ended and not strand.over:
            strand.over = True
            self._growing -= 1
            self._check_limit()
        self._queue(strand)

    def _check_limit(self) -> None:
        if len(self._strands) - self._growing > self._limit:
            self._error = Busy(f"This spy lags by more than {self._limit} streams. Reconnect to continue.")
            self.leave()
            self._woken.set()

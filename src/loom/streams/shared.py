"""The use cases of shared streams: many writers append messages, and none of them takes the stream over.

A shared stream is `open` until one of them closes it. A message is stored as a whole or not at all, together
with what the ledger remembers of its producer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as updated
from typing import Protocol, TypeVar

from loom.errors import BadRequest, Conflict, StorageFull, StreamExists, StreamNotFound, TooLarge
from loom.jobs.lifetimes import Lifetimes
from loom.model import Addition, Framing, Info, NewStream, Patch, State
from loom.store.base import Content, Store
from loom.store.places import LinePlace
from loom.streams.ledger import Append, Verdict, judge
from loom.streams.limits import Room
from loom.streams.lines import find_line
from loom.streams.reading import read_exactly
from loom.streams.redaction import Redactions, Redactor
from loom.wire.media import plain_type

T = TypeVar("T")

Messages = Callable[[Info], Sequence[bytes]]
"""Returns what to append to this stream. May raise to refuse."""
MAX_FORK = 64 << 20
"""Bytes that a fork may begin with: they are read before it is created."""
Charge = Callable[[int], None]
"""Called with a number of bytes before they are stored. May raise to refuse them."""


@dataclass(frozen=True, slots=True)
class Fork:
    """The beginning of another stream: up to `offset`, None for its end, and `further` messages or bytes."""

    id: str
    offset: int | None
    further: int


class Current(Protocol):
    """Calls a function with the stream that has an id, and again whenever it was replaced meanwhile."""

    async def __call__(self, id: str, use: Callable[[Info], Awaitable[T]], /) -> T: ...


class Shared:
    """Creates shared streams and appends to them. `check` raises once the service is stopping."""

    def __init__(
        self,
        store: Store,
        room: Room,
        redactions: Redactions,
        check: Callable[[], None],
        current: Current,
        lifetimes: Lifetimes,
        retention: float,
    ) -> None:
        self._store = store
        self._room = room
        self._redactions = redactions
        self._check = check
        self._current = current
        self._lifetimes = lifetimes
        self._retention = retention

    async def forked(self, new: NewStream, fork: Fork, *, typed: bool) -> tuple[NewStream, list[bytes]]:
        """Return `new` as a fork, and the content that it begins with.

        It has the content type of its source, and its lifetime unless `new` has one. `typed` says that the
        content type of `new` was requested. Raises StreamNotFound, StreamDamaged, BadRequest, Conflict,
        TooLarge, Busy, StoreStopped.
        """

        async def read(info: Info) -> tuple[NewStream, list[bytes]]:
            self._lifetimes.use(info)
            framing = info.framing or Framing.BYTES
            wanted = new.framing, plain_type(new.content_type)
            if typed and wanted != (framing, plain_type(info.content_type)):
                raise Conflict(f"The content type of the stream with ID {info.id} is another.")
            async with await self._store.open(info.key) as content:
                stop = await _fork_point(info, content, fork)
                if stop > MAX_FORK:
                    raise TooLarge(f"A fork may begin with {MAX_FORK} bytes of another stream at most.")
                prefix = [piece async for piece in content.read(0, stop)]
            kept = new if new.ttl is not None or new.expires is not None else info
            made = updated(new, framing=framing, content_type=info.content_type, source=info.key, fork=stop)
            return updated(made, ttl=kept.ttl, expires=kept.expires), prefix

        return await self._current(fork.id, read)

    async def create(
        self, new: NewStream, content: Sequence[bytes], charge: Charge, *, anywhere: bool = False
    ) -> tuple[Info, bool]:
        """Create a stream with its content, and return it and True; False if it exists and is like `new`.

        With `anywhere`, an existing fork may have been made of another part of its source.

        Raises StreamExists, SizeLimit, StorageFull, StoreStopped, and what `charge` raises.
        """
        self._check()
        if new.ttl is None and new.expires is None and self._retention:
            new = updated(new, ttl=self._retention)
        size = sum(map(len, content))

        def admitted(old: Info | None) -> None:
            self._room.check(0, size)
            charge(self._room.admit(new, old) + size)

        secrets = self._redactions.secrets(new.id)
        redactor = None if secrets is None else Redactor(secrets, whole=True)
        new = updated(
            new,
            metadata=self._redactions.metadata(new.id, new.metadata),
            content=_redacted(new.framing, content, redactor),
        )
        try:
            with suppress(StreamNotFound):
                await self._lifetimes.info(new.id)  # one whose life is over does not take the id
            info = await self._store.put(new, admit=admitted)
        except (StreamExists, StorageFull):
            # An id in use is reported as such, whether or not there is room for another stream.
            with suppress(StreamNotFound):
                return _checked(new, await self._store.info(new.id), anywhere=anywhere), False
            raise
        if redactor is not None:
            self._redactions.keep(info.key, info.size, redactor)
        return info, True

    async def append(
        self, id: str, append: Append, messages: Messages, charge: Charge
    ) -> tuple[Info, Verdict]:
        """Append messages and close the stream, as `append` says, and return the stream after it.

        Raises StreamNotFound, the errors of `judge`, SizeLimit, StorageFull, StoreStopped, and what
        `messages` and `charge` raise.
        """

        async def appended(info: Info) -> tuple[Info, Verdict]:
            data = messages(info)
            size = sum(map(len, data))
            verdicts: list[Verdict] = []
            self._lifetimes.use(info)

            def decide(info: Info, entries: Mapping[str, str]) -> Addition:
                verdict = judge(append, info, entries, empty=not size)
                verdicts.append(verdict)
                if verdict.repeat:
                    return Addition()
                if size:
                    self._room.check(info.size, size)
                    charge(size)
                patch = Patch(state=State.COMPLETE) if append.close else None
                redactor = self._redactions.redactor(info)
                hidden = _redacted(info.framing, data, redactor)
                if redactor is not None:
                    self._redactions.keep(info.key, info.size + size, redactor)
                return Addition(data=hidden, entries=verdict.entries, patch=patch)

            return await self._store.append(info.key, append.names, decide), verdicts[-1]

        return await self._current(id, appended)


def _redacted(framing: Framing, data: Sequence[bytes], redactor: Redactor | None) -> Sequence[bytes]:
    """Return messages redacted. Nothing is held back: a message is acknowledged as a whole."""
    if redactor is None:
        return data
    if framing is Framing.JSON:
        return [redactor.strings(each) for each in data]
    return [*map(redactor.feed, data), redactor.release()]


async def _fork_point(info: Info, content: Content, fork: Fork) -> int:
    """Return where a fork ends. Raises BadRequest if that is no end of a message, or past the end."""

    async def read(start: int, stop: int) -> bytes:
        return await read_exactly(content, start, stop)

    at = info.size if fork.offset is None else fork.offset
    if info.framing is not Framing.JSON:
        missing, at = 0, at + fork.further
    elif 0 < at <= info.size and await read(at - 1, at) != b"\n":
        raise BadRequest("Stream-Fork-Offset is within a message.")
    else:
        at, missing = await find_line(read, fork.further + 1, info.size, LinePlace(1, at))
    if missing or at > info.size:
        raise BadRequest(f"The fork would end after the end of the stream with ID {info.id}.")
    return at


def _checked(new: NewStream, info: Info, *, anywhere: bool) -> Info:
    """Return the existing stream if a creation like `new` made it. Raises StreamExists, Conflict."""
    if info.framing is Framing.NONE:
        raise StreamExists(info.id)
    same = (
        info.framing is new.framing
        and plain_type(info.content_type) == plain_type(new.content_type)
        and (info.ttl, info.expires, info.state) == (new.ttl, new.expires, new.state)
        and info.source == new.source
        and (anywhere or info.fork == new.fork)
    )
    if not same:
        raise Conflict(
            f"The stream with ID {info.id} exists with another content type, lifetime, state or origin."
        )
    return info

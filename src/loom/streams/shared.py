"""The use cases of shared streams: many writers append messages, and none of them takes the stream over.

A shared stream is `open` until one of them closes it. A message is stored as a whole or not at all, together
with what the ledger remembers of its producer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as updated
from typing import Protocol, TypeVar

from loom.errors import Conflict, StorageFull, StreamExists, StreamNotFound
from loom.model import Addition, Framing, Info, NewStream, Patch, State
from loom.store.base import Store
from loom.streams.ledger import Append, Verdict, judge
from loom.streams.limits import Room
from loom.streams.redaction import Redactions, Redactor
from loom.wire.media import plain_type

T = TypeVar("T")

Messages = Callable[[Info], Sequence[bytes]]
"""Returns what to append to this stream. May raise to refuse."""
Charge = Callable[[int], None]
"""Called with a number of bytes before they are stored. May raise to refuse them."""


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
        *,
        retention: float,
    ) -> None:
        self._store = store
        self._room = room
        self._redactions = redactions
        self._check = check
        self._current = current
        self._retention = retention

    async def create(self, new: NewStream, content: Sequence[bytes], charge: Charge) -> tuple[Info, bool]:
        """Create a stream with its content, and return it and True; False if it exists and is like `new`.

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
            info = await self._store.put(new, admit=admitted)
        except (StreamExists, StorageFull):
            # An id in use is reported as such, whether or not there is room for another stream.
            with suppress(StreamNotFound):
                return _checked(new, await self._store.info(new.id)), False
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


def _checked(new: NewStream, info: Info) -> Info:
    """Return the existing stream if a creation like `new` made it. Raises StreamExists, Conflict."""
    if info.framing is Framing.NONE:
        raise StreamExists(info.id)
    same = (
        info.framing is new.framing
        and plain_type(info.content_type) == plain_type(new.content_type)
        and (info.ttl, info.expires, info.state) == (new.ttl, new.expires, new.state)
    )
    if not same:
        raise Conflict(f"The stream with ID {info.id} exists with another content type, lifetime or state.")
    return info

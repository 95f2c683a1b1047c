"""The streams that spies follow. Owns one listener per stream for all spies with the same prefix.

A roster exists while a spy uses it. Knows nothing of what a spy has written, or how.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

from loom.errors import Busy, LoomError, StreamGone, StreamNotFound
from loom.model import FINAL_STATES, Change, ChangeKind, Info, Query, State
from loom.store.base import Store
from loom.streams.hub import Hub, Tail

FOLLOWED = 200_000
"""The most streams that all rosters follow, and that all spies have not written to their end, together."""

UNFINISHED = Query(states=frozenset(State) - FINAL_STATES)


class Followed:
    """A stream that spies follow. `number` counts the streams of a roster; `created`: it is a new one."""

    def __init__(self, key: str, id: str, number: int, *, created: bool) -> None:
        self.key = key
        self.id = id
        self.number = number
        self.created = created
        self.attached: asyncio.Task[None]
        """Of a new stream: done once it is attached, or over."""
        self.tail: Tail | None = None
        self.end = 0
        """The end of the bytes at the latest call of the spies."""
        self.over = False
        """The stream has ended, or cannot be read."""
        self.users = 0
        """Spies that have not written all of it. The tail stays attached for them after the end."""


class Watcher(Protocol):
    """A spy, as its roster sees it. No method may wait."""

    @property
    def weight(self) -> int:
        """Streams that the spy has not written to their end."""

    def on_created(self, stream: Followed) -> None:
        """Note a new stream, which may not be attached yet."""

    def on_grown(self, stream: Followed) -> None:
        """Note bytes after `stream.end`."""

    def on_over(self, stream: Followed) -> None:
        """Note that the stream is over: nothing follows the bytes that its tail has."""

    def fail(self, error: LoomError) -> None:
        """End the spy: it leaves its roster now, and raises `error` later."""


class Roster:
    """The streams with one prefix that are not final, from `begin` to `close`. Notifies its `spies`."""

    def __init__(self, rosters: "Rosters", prefix: str) -> None:
        self.streams: dict[str, Followed] = {}
        """By key, the oldest first."""
        self.spies: dict[Watcher, None] = {}
        self.users = 0
        self.error: LoomError | None = None
        """Set once a stream cannot be followed: all spies end with it."""
        self._rosters = rosters
        self._hub = rosters.hub
        self.prefix = prefix
        self.number = 0
        self._attaching: set[asyncio.Task[None]] = set()
        self._watching = rosters.store.watch(self._on_change)
        self.begun = asyncio.create_task(self._begin())

    async def wait_attached(self) -> None:
        """Wait until the streams that are known now are attached, or over."""
        if self._attaching:
            await asyncio.wait(tuple(self._attaching))
        if self.error is not None:
            raise self.error.with_traceback(None)

    def drop_user(self, stream: Followed) -> None:
        """Note that one spy less needs the stream."""
        stream.users -= 1
        if stream.over and not stream.users:
            self._detach(stream)

    def close(self) -> None:
        """Follow nothing more."""
        self._watching.close()
        self.begun.cancel()
        for task in self._attaching:
            task.cancel()
        for stream in tuple(self.streams.values()):
            self._drop(stream)
            self._detach(stream)

    async def _begin(self) -> None:
        """Follow every stream that is not final. Raises Busy, StoreStopped."""
        found = []
        async for info in self._rosters.store.find(replace(UNFINISHED, prefix=self.prefix)):
            found.append(info)
            # One that finds no room is refused before it follows any.
            self._rosters.check(len(found))
        for info in reversed(found):
            if info.key not in self.streams:  # otherwise created after `watch`
                await self._attach(self._add(info, created=False))

    def _add(self, info: Info, *, created: bool) -> Followed:
        self.number += 1
        stream = self.streams[info.key] = Followed(info.key, info.id, self.number, created=created)
        self._rosters.room -= 1
        return stream

    def _drop(self, stream: Followed) -> None:
        if self.streams.pop(stream.key, None):
            self._rosters.room += 1

    def _detach(self, stream: Followed) -> None:
        tail, stream.tail = stream.tail, None
        if tail is not None:
            tail.listeners.discard(self._on_tail)
            self._hub.detach(tail)

    async def _attach(self, stream: Followed) -> None:
        try:
            tail = await self._hub.attach(stream.key)
        except (StreamNotFound, StreamGone):
            self._on_over(stream)
            return
        if stream.key not in self.streams:  # closed meanwhile
            self._hub.detach(tail)
            return
        stream.tail = tail
        stream.end = tail.end
        tail.listeners.add(self._on_tail)
        if tail.ended:
            self._on_over(stream)

    async def _attach_new(self, stream: Followed) -> None:
        try:
            await self._attach(stream)
        except LoomError as error:
            self.error = error
            for spy in tuple(self.spies):
                spy.fail(error)

    def _on_change(self, change: Change) -> None:
        info = change.info
        if change.kind is not ChangeKind.CREATED or info.key in self.streams:
            return
        if not info.id.startswith(self.prefix):
            return
        stream = self._add(info, created=True)
        stream.attached = asyncio.create_task(self._attach_new(stream))
        self._attaching.add(stream.attached)
        stream.attached.add_done_callback(self._attaching.discard)
        for spy in tuple(self.spies):
            spy.on_created(stream)
        self._rosters.limit()

    def _on_tail(self, tail: Tail) -> None:
        stream = self.streams.get(tail.key)
        if stream is None:
            return
        if tail.end > stream.end:
            self._on_grown(stream)
            stream.end = tail.end
        if tail.ended:
            self._on_over(stream)

    def _on_grown(self, stream: Followed) -> None:
        for spy in tuple(self.spies):
            spy.on_grown(stream)
        self._rosters.limit()

    def _on_over(self, stream: Followed) -> None:
        stream.over = True
        self._drop(stream)
        for spy in tuple(self.spies):
            spy.on_over(stream)
        if not stream.users:
            self._detach(stream)
        self._rosters.limit()


class Rosters:
    """All rosters, by prefix, and the room that they and the spies share."""

    def __init__(self, store: Store, hub: Hub, room: int = FOLLOWED) -> None:
        self.store = store
        self.hub = hub
        self.room = room
        self._rosters: dict[str, Roster] = {}

    def enter(self, prefix: str) -> Roster:
        """Return the roster of a prefix; each call needs one `leave`. Raises StoreStopped."""
        roster = self._rosters.get(prefix)
        if roster is None:
            roster = self._rosters[prefix] = Roster(self, prefix)
        roster.users += 1
        return roster

    def leave(self, roster: Roster) -> None:
        """Undo `enter`. The last spy that leaves a roster closes it."""
        roster.users -= 1
        if not roster.users:
            del self._rosters[roster.prefix]
            roster.close()

    def check(self, more: int) -> None:
        """Raise Busy unless there is room for so many more streams."""
        if self.room < more:
            raise busy()

    def limit(self) -> None:
        """While there are too many streams, end the spy to which most of them are due."""
        while self.room < 0 and (
            spies := {spy: roster for roster in self._rosters.values() for spy in roster.spies}
        ):
            heaviest = max(spies, key=lambda spy: spy.weight + len(spies[spy].streams))
            heaviest.fail(busy())


def busy() -> Busy:
    """Return the error of a spy for whose streams there is no room."""
    return Busy("All readers of /spy together follow too many streams. Retry later.")

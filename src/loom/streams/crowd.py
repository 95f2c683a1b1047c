"""Crowds: the followers of one tail that have caught up, and what is written to all of them at once.

Followers with equal standings receive the same bytes from now on, so they form a group: a follower that many
connections share. New bytes are taken from the tail, formed and framed once for a group, and written to each
transport. A delivery needs no task, no future and no bookkeeping.

A member leaves its group at any time in O(1). It continues by itself (`reading`) where the group stands, and
joins again once it has caught up. Knows no HTTP: a server passes in how it writes and frames.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, Protocol, Self

AT_ONCE = 256
"""The most members of a group, and the most deliveries before other work of the event loop: some 2 ms."""
LEAVING = 32
"""The most members that a group dismisses in one turn."""
LEAVING_COST = 8
"""What a member does once it has left, as a number of deliveries."""
SHORT = 16 << 10
"""The longest piece that a group delivers. Longer ones fill transports, and to share them saves little."""

Write = Callable[[bytes], None]
Frame = Callable[[bytes], bytes]
OnLeft = Callable[[Exception | None], None]


class Form(Protocol):
    """How consecutive pieces of a stream become the body of a response. An immutable, hashable value."""

    def feed(self, offset: int, data: bytes) -> tuple[bytes, Self]:
        """Return the body for `data`, which begins at `offset`, and the form of the next piece."""

    def rest(self, offset: int) -> bytes:
        """Return the body for bytes that are still held when the stream ends at `offset`."""


class AsStored(NamedTuple):
    """The form of bytes that are sent unchanged."""

    def feed(self, offset: int, data: bytes) -> tuple[bytes, Self]:
        """Return the piece itself."""
        return data, self

    def rest(self, offset: int) -> bytes:
        """Return nothing: no byte is held."""
        return b""


class Beat(NamedTuple):
    """What is sent after each `interval` seconds of silence."""

    interval: float
    data: bytes


class Standing(NamedTuple):
    """Where a follower stands. Followers of one tail with equal standings receive equal bytes from now on."""

    offset: int
    form: Form
    frame: Frame
    beat: Beat | None


class Source(Protocol):
    """The tail, as its crowd sees it."""

    end: int

    @property
    def ended(self) -> bool:
        """Nothing follows."""

    def take(self, offset: int, limit: int) -> bytes | None:
        """Return bytes from `offset` on; None if they have left the memory."""


class Member:
    """The membership of one response, which may join and leave many times. It knows what was sent so far.

    The follow loop invites it where it has caught up. The server joins it, or does not, and lets it leave.
    """

    __slots__ = ("_beat", "_crowd", "_group", "_offset", "_on_left", "_sent", "form")

    def __init__(self, form: Form, beat: Beat | None = None) -> None:
        self.form = form
        """The form of the next piece, while the member is in no group."""
        self._beat = beat
        self._crowd: Crowd
        self._group: Group | None = None
        self._offset = 0
        self._on_left: OnLeft
        self._sent = 0  # in a group: without what the group has sent in all

    @property
    def offset(self) -> int:
        """The offset after the last byte written."""
        return self._offset if self._group is None else self._group.standing.offset

    @property
    def sent(self) -> int:
        """How many bytes of the body were written in groups, without framing."""
        return self._sent if self._group is None else self._sent + self._group.sent

    def invite(self, crowd: "Crowd", offset: int) -> Self:
        """Allow the member to join a crowd, as a follower that has received the bytes before `offset`."""
        self._crowd, self._offset = crowd, offset
        return self

    def join(self, write: Write, frame: Frame, on_left: OnLeft) -> bool:
        """Join a group, which calls `write` from now on; return False if there are bytes or the end to send.

        `on_left` is called once, when the member has left; with the error if a call of `write` failed.
        """
        self._on_left = on_left
        return self._crowd.admit(self, write, Standing(self._offset, self.form, frame, self._beat))

    def leave(self, error: Exception | None = None) -> None:
        """Leave the group. May be repeated."""
        group = self._group
        if group is not None:
            self._offset, self.form = group.standing.offset, group.standing.form
            self.move(None)
            del group.members[self]
            if not group.members:
                self._crowd.remove(group)
            self._on_left(error)

    def move(self, group: "Group | None") -> None:
        """Count bytes sent as those of `group` from now on."""
        self._sent = self.sent - (0 if group is None else group.sent)
        self._group = group


class Group:
    """Members with one standing. `sent` counts the bytes of bodies that were written to a member in all."""

    __slots__ = ("_silent_since", "_timer", "crowd", "members", "queued", "sent", "standing")

    def __init__(self, crowd: "Crowd", standing: Standing) -> None:
        self.members: dict[Member, Write] = {}
        self.standing = standing
        self.sent = 0
        self.queued = False
        self.crowd = crowd
        self._silent_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        if standing.beat is not None:
            self._silent_since = asyncio.get_running_loop().time()
            self._on_timer(standing.beat)

    def deliver(self, source: Source) -> None:
        """Write the next bytes to each member; let the members leave where each must continue by itself."""
        standing = self.standing
        if standing.offset < source.end:
            data = source.take(standing.offset, SHORT)
            if data is None or len(data) > SHORT:
                self._dismiss()
                return
            body, form = standing.form.feed(standing.offset, data)
            # Before the first write: a member whose transport is full leaves during its write.
            self.standing = standing._replace(offset=standing.offset + len(data), form=form)
            self._write(body)
        elif standing.beat is not None and self._silence_left(standing.beat) <= 0:
            self._write(standing.beat.data)
        if source.ended and self.standing.offset == source.end:
            self._dismiss()

    def absorb(self, other: "Group") -> None:
        """Take over the members of a group with the same standing."""
        for member in other.members:
            member.move(self)
        self.members.update(other.members)
        other.members.clear()

    def close(self) -> None:
        """End the timer of a group without members."""
        if self._timer is not None:
            self._timer.cancel()

    def _write(self, body: bytes) -> None:
        if not body:
            return
        self.sent += len(body)
        frame = self.standing.frame(body)
        # The members themselves are not touched: to load each of them would cost more than the call.
        for write in tuple(self.members.values()):
            try:
                write(frame)
            except Exception as error:
                # The standing has moved for all: nothing may keep the bytes from the other members.
                for member in [member for member, its in self.members.items() if its is write]:
                    member.leave(error)
        if self.standing.beat is not None:
            self._silent_since = asyncio.get_running_loop().time()

    def _dismiss(self) -> None:
        """Let some members leave; the others follow in later turns."""
        for member in tuple(islice(self.members, LEAVING)):
            member.leave()

    def _silence_left(self, beat: Beat) -> float:
        return self._silent_since + beat.interval - asyncio.get_running_loop().time()

    def _on_timer(self, beat: Beat) -> None:
        """Queue the beat if it is due. Deliveries do not set the timer again: it looks at the silence."""
        left = self._silence_left(beat)
        if left <= 0:
            self.crowd.queue(self)
            left = beat.interval
        self._timer = asyncio.get_running_loop().call_later(left, self._on_timer, beat)


class Crowd:
    """The groups of one tail."""

    def __init__(self, source: Source, turns: "Turns") -> None:
        self._source = source
        self._turns = turns
        self._groups: set[Group] = set()
        self._open: dict[Standing, Group] = {}
        """A group for each standing, which new members join."""

    def on_change(self) -> None:
        """Queue every group after the tail grew or ended."""
        for group in self._groups:
            self.queue(group)

    def queue(self, group: Group) -> None:
        """Let a group deliver in one of the next turns."""
        if not group.queued:
            group.queued = True
            self._turns.add(group)

    def admit(self, member: Member, write: Write, standing: Standing) -> bool:
        """Let a member join a group, unless there are bytes or the end to send."""
        if standing.offset != self._source.end or self._source.ended:
            return False
        group = self._open.get(standing)
        if group is None or len(group.members) >= self._turns.at_once:
            group = self._open[standing] = Group(self, standing)
            self._groups.add(group)
        group.members[member] = write
        member.move(group)
        return True

    def deliver(self, group: Group) -> None:
        """Let a queued group deliver or dismiss once. Groups with one standing become one, if they fit."""
        group.queued = False
        self._close(group)
        if group.members:
            group.deliver(self._source)
        if not group.members:
            return
        if group.standing.offset < self._source.end or self._source.ended:
            self.queue(group)
        other = self._open.setdefault(group.standing, group)
        if other is not group:
            if len(group.members) + len(other.members) <= self._turns.at_once:
                other.absorb(group)
                self.remove(group)
            elif len(group.members) < len(other.members):
                self._open[group.standing] = group

    def remove(self, group: Group) -> None:
        """Forget a group without members."""
        group.close()
        self._groups.discard(group)
        self._close(group)

    def _close(self, group: Group) -> None:
        if self._open.get(group.standing) is group:
            del self._open[group.standing]


class Turns:
    """Lets the groups of all crowds deliver, `at_once` members in each iteration of the event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.at_once = at_once
        self._queue: deque[Group] = deque()
        self._scheduled = False

    def add(self, group: Group) -> None:
        """Queue a group."""
        self._queue.append(group)
        self._schedule()

    def _schedule(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        room = self.at_once
        try:
            while self._queue and len(self._queue[0].members) <= room:
                group = self._queue.popleft()
                size = len(group.members)
                group.crowd.deliver(group)
                room -= max(1, size + LEAVING_COST * (size - len(group.members)))
        finally:
            self._schedule()

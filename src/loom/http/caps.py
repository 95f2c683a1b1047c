"""How many connections there may be: in all, and of one client; and which are closed to make room for others.

A connection that runs no request may be closed at any time: its client connects again. The one that has run
none for the longest is closed first. One that runs a request is never closed to make room.
"""

import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

MOST = 65_536
"""Connections that are allowed without a setting, however many files may be open."""

CROWDED = 3 / 4
"""With this part of all connections in use, idle ones are closed sooner."""


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one connection. `client` is empty for a connection that stands for many clients.

    `close` closes the connection. `since` is the time since which it has run no request.
    """

    client: str
    close: Callable[[], object]
    since: float = 0.0
    held: bool = True


@dataclass(slots=True)
class Caps:
    """The places of all connections: at most `total`, and `each` of one client; 0: no limit.

    `refused` counts the connections for which there was no place, `closed` those closed to make room.
    """

    total: int = 0
    each: int = 0
    refused: int = 0
    closed: int = 0
    _open: int = 0
    _held: Counter[str] = field(default_factory=Counter)
    _idle: dict[Slot, None] = field(default_factory=dict)  # the longest idle one is the first
    _idle_of: defaultdict[str, dict[Slot, None]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def derived(cls, total: int, each: int) -> "Caps":
        """Return caps whose zeros stand for what the limit of open files allows.

        A connection that sends a file needs a second descriptor, and the store needs some for its files: that
        is what producers write into. So each gets a third.
        """
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        total = total or (MOST if soft < 0 else max(16, min(MOST, soft // 3)))
        return cls(total, each or -(-total // 2))

    @property
    def open(self) -> int:
        """The number of connections."""
        return self._open

    @property
    def crowded(self) -> bool:
        """True if most places are taken."""
        return bool(self.total) and self._open >= self.total * CROWDED

    def take(self, client: str, close: Callable[[], object]) -> Slot | None:
        """Return a place for a connection that runs no request yet, or None if there is none."""
        full_of = client and 0 < self.each <= self._held[client]
        if full_of and not self._close_first(self._idle_of.get(client, {})):
            self.refused += 1
            return None
        if 0 < self.total <= self._open and not self.make_room():
            self.refused += 1
            return None
        self._open += 1
        self._held[client] += 1
        slot = Slot(client, close)
        self.set_idle(slot)
        return slot

    def make_room(self) -> bool:
        """Close the connection that has been idle for the longest; return False if there is none."""
        return self._close_first(self._idle)

    def close_idle(self, seconds: float, most: int) -> bool:
        """Close up to `most` connections that have been idle for so long; return True if some are left."""
        before = time.monotonic() - seconds
        for _ in range(most):
            if not self._idle or next(iter(self._idle)).since > before:
                return False
            self.make_room()
        return True

    def set_idle(self, slot: Slot) -> None:
        """Note that the connection runs no request from now on."""
        if slot.held:
            self.set_busy(slot)
            slot.since = time.monotonic()
            self._idle[slot] = self._idle_of[slot.client][slot] = None

    def set_busy(self, slot: Slot) -> None:
        """Note that the connection runs a request."""
        if self._idle.pop(slot, slot) is None:
            idle = self._idle_of[slot.client]
            del idle[slot]
            if not idle:
                del self._idle_of[slot.client]

    def release(self, slot: Slot) -> None:
        """Give the place back. May be repeated."""
        if not slot.held:
            return
        self.set_busy(slot)
        slot.held = False
        self._open -= 1
        self._held[slot.client] -= 1
        if not self._held[slot.client]:
            del self._held[slot.client]

    def _close_first(self, idle: dict[Slot, None]) -> bool:
        slot = next(iter(idle), None)
        if slot is None:
            return False
        # The descriptor is closed a little later, but no one else gets this place meanwhile.
        self.release(slot)
        self.closed += 1
        slot.close()
        return True

"""The oracle: what was sent under each name and what anybody was told of it. Pure; knows no connection.

A `Name` is an id and what it may stand for: one of several creations (`Take`) or nothing. Whoever asks for a
change notes it before it asks; whoever is told something notes it at once; `found` then says whether what a
restart left could have come of that, and is known for certain from then on.
"""

from dataclasses import dataclass, field

from tests.support.peers import Content

NOTHING = 0
"""The number of no take: the id is free."""
FINAL = frozenset({"complete", "aborted"})
UNATTENDED = frozenset({"interrupted"})


@dataclass(eq=False)
class Take:
    """One creation of an id. Its bytes are those of `content`, so any byte can be checked anywhere."""

    number: int
    fleeting: bool = False
    """It may be aborted whenever it is not final: it waits for no producer, or the disk fails."""
    sent: int = 0
    told: int = 0
    """Bytes that were acknowledged or shown."""
    end: int | None = None
    """The size it has if it is complete."""
    states: frozenset[str] = UNATTENDED
    """What it may be found as after a crash."""
    noted: int = 0
    asked: int = 0
    """Its metadata counts its changes: the last one told, the last one asked for."""

    @property
    def content(self) -> Content:
        """What its bytes are, at any offset."""
        return Content(self.number)

    def shown(self, offset: int, data: bytes) -> None:
        """Somebody was given bytes. They can only be those that were sent."""
        stop = offset + len(data)
        assert stop <= self.sent, f"{self} has shown bytes that nobody sent"
        assert self.content.holds(offset, data), f"{self} has shown wrong bytes in [{offset}, {stop})"
        self.told = max(self.told, stop)

    def acknowledged(self, offset: int) -> None:
        """Somebody was told a durable size."""
        assert offset <= self.sent, f"{self} has acknowledged bytes that nobody sent"
        self.told = max(self.told, offset)

    def asks(self, state: str, end: int | None = None) -> None:
        """From now on it may be in this state; complete at `end`."""
        self.states |= {state}
        self.end = end if state == "complete" else self.end

    def was(self, state: str) -> None:
        """Somebody was told that it is in this state, and nobody is about to change it."""
        if state == "complete":
            assert self.end is not None, f"{self} says complete though its producer did not"
            self.acknowledged(self.end)
        if state in FINAL:
            assert not (self.states <= FINAL and state not in self.states), f"{self} now says {state}"
        self.states = frozenset({state})

    def noticed(self, note: int) -> None:
        """Somebody was told its metadata."""
        assert note <= self.asked, f"{self} has metadata that nobody asked for"
        self.noted = max(self.noted, note)

    def found(self, state: str, size: int, note: int) -> None:
        """After a crash it is there with this state, size and metadata."""
        may_abort = self.fleeting and not self.states <= FINAL
        allowed = self.states | ({"aborted"} if may_abort else set())
        assert state in allowed, f"{self} came back as {state}"
        assert self.told <= size, f"{self} has lost bytes: {size} are left"
        assert size <= self.sent, f"{self} has {size} bytes, more than were sent"
        if state == "complete":
            assert size == self.end, f"{self} is complete with {size} bytes"
        assert self.noted <= note <= self.asked, f"{self} has the metadata {note}"
        self.states, self.sent, self.told, self.noted, self.asked = frozenset({state}), size, size, note, note


@dataclass(eq=False)
class Name:
    """One id. Its changes are asked for one after the other, by `asks`."""

    target: str
    takes: dict[int, Take] = field(default_factory=dict)
    last: list[frozenset[int]] = field(default_factory=lambda: [frozenset({NOTHING})])
    """What it stood for after each change since the last restart, as numbers of takes."""
    reached: int = 0
    """The last of those changes known to be done."""

    def take(self, number: int, *, fleeting: bool = False) -> Take:
        """A new one."""
        self.takes[number] = Take(number, fleeting)
        return self.takes[number]

    def asks(self, *numbers: int) -> None:
        """A change is asked for after which it stands for one of these."""
        self.last.append(frozenset(numbers))

    def done(self) -> None:
        """Somebody was told that the last change is done."""
        self.reached = len(self.last) - 1

    def refused(self) -> None:
        """Somebody was told that the last change is not done."""
        assert self.reached < len(self.last) - 1, f"{self.target}: a change that was shown is refused"
        self.last.pop()

    def told(self, number: int, since: int) -> None:
        """Somebody was told that it stands for this take, or for nothing, who had asked when `since` was
        `reached`."""
        place = next((at for at in range(since, len(self.last)) if number in self.last[at]), None)
        assert place is not None, f"{self.target} was shown as {number}, which it is not any more"
        self.reached = max(self.reached, place)
        if number != NOTHING:
            self.last[place] = frozenset({number})

    @property
    def certain(self) -> bool:
        """True if the last change is known to be done, and how."""
        return self.reached == len(self.last) - 1 and len(self.last[-1]) == 1

    @property
    def now(self) -> Take | None:
        """What it stands for, where that is certain; None for nothing."""
        (number,) = self.last[-1]
        return self.takes.get(number)

    def found(self, number: int) -> None:
        """After a crash it stands for this take, or for nothing."""
        possible = frozenset().union(*self.last[self.reached :])
        assert number in possible, f"{self.target} is {number}, where it can be one of {set(possible)} only"
        self.last, self.reached = [frozenset({number})], 0

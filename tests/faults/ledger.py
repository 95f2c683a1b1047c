"""The oracle: what was sent under each name and what was reported of it. Pure; knows no connection.

A `Name` is an id and what it may name: one of several creations (`Take`), or nothing. A client records a
change before it requests it, and each response immediately. After a restart `found` checks that the state is
a possible result, and takes it as certain from then on.
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
    """It may be aborted at any time before its end: it has no resume window, or the disk fails."""
    sent: int = 0
    reported: int = 0
    """Bytes that were acknowledged or shown."""
    end: int | None = None
    """Its size if it is complete."""
    states: frozenset[str] = UNATTENDED
    """The states in which it may be found after a crash."""
    noted: int = 0
    asked: int = 0
    """Its metadata counts its changes: the last one reported, the last one requested."""

    @property
    def content(self) -> Content:
        """The bytes of the stream, at any offset."""
        return Content(self.number)

    def shown(self, offset: int, data: bytes) -> None:
        """Record that bytes were received by a reader. They must be those that were sent."""
        stop = offset + len(data)
        assert stop <= self.sent, f"{self} has shown bytes that were not sent"
        assert self.content.holds(offset, data), f"{self} has shown wrong bytes in [{offset}, {stop})"
        self.reported = max(self.reported, stop)

    def acknowledged(self, offset: int) -> None:
        """Record that a durable size was reported."""
        assert offset <= self.sent, f"{self} has acknowledged bytes that were not sent"
        self.reported = max(self.reported, offset)

    def asks(self, state: str, end: int | None = None) -> None:
        """Record a request for a state, which the stream may have from now on; if complete, with the size
        `end`.
        """
        self.states |= {state}
        self.end = end if state == "complete" else self.end

    def was(self, state: str) -> None:
        """Record that this state was reported while no change of it was requested."""
        if state == "complete":
            assert self.end is not None, f"{self} says complete though its producer did not"
            self.acknowledged(self.end)
        if state in FINAL:
            assert not (self.states <= FINAL and state not in self.states), f"{self} now says {state}"
        self.states = frozenset({state})

    def noticed(self, note: int) -> None:
        """Record that the metadata was reported."""
        assert note <= self.asked, f"{self} has metadata that was not requested"
        self.noted = max(self.noted, note)

    def found(self, state: str, size: int, note: int) -> None:
        """Check the state, size and metadata after a crash, and take them as certain."""
        may_abort = self.fleeting and not self.states <= FINAL
        allowed = self.states | ({"aborted"} if may_abort else set())
        assert state in allowed, f"{self} came back as {state}"
        assert self.reported <= size, f"{self} has lost bytes: {size} are left"
        assert size <= self.sent, f"{self} has {size} bytes, more than were sent"
        if state == "complete":
            assert size == self.end, f"{self} is complete with {size} bytes"
        assert self.noted <= note <= self.asked, f"{self} has the metadata {note}"
        self.states = frozenset({state})
        self.sent = self.reported = size
        self.noted = self.asked = note


@dataclass(eq=False)
class Name:
    """One id. Its changes are requested one after the other, by `asks`."""

    target: str
    takes: dict[int, Take] = field(default_factory=dict)
    last: list[frozenset[int]] = field(default_factory=lambda: [frozenset({NOTHING})])
    """What it named after each change since the last restart, as numbers of takes."""
    reached: int = 0
    """The last of those changes that is known to be made."""

    def take(self, number: int, *, fleeting: bool = False) -> Take:
        """Add a take."""
        self.takes[number] = Take(number, fleeting)
        return self.takes[number]

    def asks(self, *numbers: int) -> None:
        """Record a request for a change after which the id names one of these."""
        self.last.append(frozenset(numbers))

    def done(self) -> None:
        """Record the response that the last change was made."""
        self.reached = len(self.last) - 1

    def refused(self) -> None:
        """Record the response that the last change was not made."""
        assert self.reached < len(self.last) - 1, f"{self.target}: a change that was shown is refused"
        self.last.pop()

    def reported(self, number: int, since: int) -> None:
        """Record a response that the id names this take, or nothing, to a request sent when `reached` was
        `since`.
        """
        place = next((at for at in range(since, len(self.last)) if number in self.last[at]), None)
        assert place is not None, f"{self.target} was shown as {number}, which it is not any more"
        self.reached = max(self.reached, place)
        if number != NOTHING:
            self.last[place] = frozenset({number})

    @property
    def certain(self) -> bool:
        """Return True if the result of the last change is known."""
        return self.reached == len(self.last) - 1 and len(self.last[-1]) == 1

    @property
    def now(self) -> Take | None:
        """The take that the id certainly names; None for nothing."""
        (number,) = self.last[-1]
        return self.takes.get(number)

    def found(self, number: int) -> None:
        """Check what the id names after a crash, and take that as certain."""
        possible = frozenset().union(*self.last[self.reached :])
        assert number in possible, f"{self.target} is {number}, where it can be one of {set(possible)} only"
        self.last, self.reached = [frozenset({number})], 0

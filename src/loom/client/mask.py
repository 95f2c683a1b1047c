"""Replace secrets by `***` in bytes that arrive in chunks, however a secret is split. Pure.

The result is the same as for all bytes at once: at each position, the longest secret is replaced. Bytes that
may be the beginning of a secret are held back until that is decided. Time is linear in the bytes.
"""

from collections.abc import Iterable

from loom.wire.masking import MIN_CUT, Automaton

HIDDEN = b"***"
PIECE = 64 << 10


class Mask:
    """Replace secrets in one sequence of bytes."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._automaton = Automaton(secrets)
        self._state = 0
        self._held = b""
        self._ends: dict[int, int] = {}
        """Where in the held bytes a secret begins, and where the longest one from there ends."""

    def feed(self, data: bytes) -> bytes:
        """Add bytes, and return those that are decided."""
        if self._automaton.start is None:
            return data
        return b"".join(self._feed(data[at : at + PIECE]) for at in range(0, len(data), PIECE))

    def end(self) -> bytes:
        """Return the rest, at the end of the bytes. The beginning of a secret is replaced, too."""
        shown = self._decided(self._held)
        if self._automaton.depth[self._state] >= MIN_CUT:
            shown, self._held = shown + HIDDEN, b""
        self._state = 0
        return shown + self._decided(self._held)

    def _feed(self, data: bytes) -> bytes:
        """Take one piece: note each secret in it, then return what no longer one can change."""
        automaton, state, at = self._automaton, self._state, 0
        before = len(self._held)
        assert automaton.start
        while at < len(data):
            if not state:
                begin = automaton.start.search(data, at)
                if begin is None:
                    break
                at = begin.start()
            state = automaton.step(state, data[at])
            at += 1
            for length in automaton.found[state]:
                # A secret that ends later and begins at the same position is longer.
                self._ends[before + at - length] = before + at
        self._state = state
        return self._decided(self._held + data)

    def _decided(self, data: bytes) -> bytes:
        """Return the bytes before the beginning of a secret that may still be completed; hold the rest."""
        shown, at, automaton = bytearray(), 0, self._automaton
        while self._state and self._state not in automaton.inner:
            self._state = automaton.shorter[self._state]
        undecided = len(data) - automaton.depth[self._state]
        for start in sorted(self._ends):
            if start >= undecided:
                break
            end = self._ends.pop(start)
            if start >= at:
                shown += data[at:start] + HIDDEN
                at = end
                # A secret cannot begin in what is replaced.
                while len(data) - automaton.depth[self._state] < at:
                    self._state = automaton.shorter[self._state]
                undecided = len(data) - automaton.depth[self._state]
        shown += data[at:undecided]
        self._held = data[undecided:]
        self._ends = {start - undecided: end - undecided for start, end in self._ends.items()}
        return bytes(shown)

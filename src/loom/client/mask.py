"""Hides secrets in bytes that come in pieces: `***` stands in their place, however they were split. Pure.

The result is that of going through all the bytes at once: at each place the longest secret that stands there
is hidden. What may still become a secret is held back until that is decided.
"""

import re
from collections.abc import Iterable

HIDDEN = b"***"
MIN_LINE = 4
"""Characters of a secret's line that is hidden by itself: shorter ones stand in any output."""


class Mask:
    """One pass over one sequence of bytes."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if self._secrets else None
        self._prefixes = {secret[:size] for secret in self._secrets for size in range(1, len(secret))}
        self._longest = len(self._secrets[0]) if self._secrets else 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What is decided of all that came."""
        if self._pattern is None:
            return data
        data, shown, at = self._held + data, bytearray(), 0
        while True:
            undecided = self._undecided(data, at)
            found = self._pattern.search(data, at)
            if found is None or found.start() >= undecided:
                shown += data[at:undecided]
                self._held = data[undecided:]
                return bytes(shown)
            shown += data[at : found.start()] + HIDDEN
            at = found.end()

    def end(self) -> bytes:
        """The rest: nothing comes any more."""
        held, self._held = self._held, b""
        return held if self._pattern is None else self._pattern.sub(HIDDEN, held)

    def _undecided(self, data: bytes, at: int) -> int:
        """The first place, not before `at`, from which on the end of `data` may become a longer secret."""
        for place in range(max(at, len(data) - self._longest + 1), len(data)):
            if data[place:] in self._prefixes:
                return place
        return len(data)


def secrets_in(value: str) -> set[bytes]:
    """What to hide of a variable's value: all of it, also as a terminal shows its lines, and each line."""
    lines = {line for line in value.splitlines() if len(line) >= MIN_LINE}
    forms = {value, value.replace("\n", "\r\n"), *lines}
    return {form.encode("utf-8", "surrogateescape") for form in forms if form.strip()}

"""Replace secrets by `***` in bytes that arrive in chunks, however a secret is split. Pure.

The result is the same as for all bytes at once: at each position, the longest secret is replaced. Bytes that
may be the beginning of a secret are held back until that is decided.
"""

import re
from collections.abc import Iterable

HIDDEN = b"***"
MIN_LINE = 4
"""Characters of the shortest line of a secret to replace on its own: shorter ones occur in any output."""


class Mask:
    """Replace secrets in one sequence of bytes."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if self._secrets else None
        self._prefixes = {secret[:size] for secret in self._secrets for size in range(1, len(secret))}
        self._longest = len(self._secrets[0]) if self._secrets else 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Add bytes, and return those that are decided."""
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
        """Return the rest, at the end of the bytes."""
        held, self._held = self._held, b""
        return held if self._pattern is None else self._pattern.sub(HIDDEN, held)

    def _undecided(self, data: bytes, at: int) -> int:
        """Return the first position from `at` at which a longer secret may begin and not end in `data`."""
        for position in range(max(at, len(data) - self._longest + 1), len(data)):
            if data[position:] in self._prefixes:
                return position
        return len(data)


def secrets_in(value: str) -> set[bytes]:
    """Return the secrets in the value of a variable: all of it, as a terminal prints it, and each line."""
    lines = {line for line in value.splitlines() if len(line) >= MIN_LINE}
    forms = {value, value.replace("\n", "\r\n"), *lines}
    return {form.encode("utf-8", "surrogateescape") for form in forms if form.strip()}

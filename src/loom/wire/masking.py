"""Find secrets in bytes: an automaton for fixed texts, and the forms in which a value is printed. Pure."""

import re
from collections.abc import Iterable, Iterator

MIN_LINE = 4
"""Characters of the shortest line of a secret to replace on its own: shorter ones occur in any output."""
MIN_CUT = 4
"""Bytes of the shortest beginning of a secret to replace where the bytes end within the secret."""

_BARE = re.compile(r"""([\s!"$&'()*,;<>?\[\\\]^`{|}]|\A[#~])""")
_IN_DOUBLE_QUOTES = re.compile(r'(["$`\\])')
_NAMED = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 27: "E", 39: "'", 92: "\\"}
"""Bytes that bash escapes within $'…'. Other control characters are written in octal."""


class Automaton:
    """All secrets at once. A state stands for the longest beginning of a secret that the bytes end with.

    Time is linear in the bytes, whatever they are (Aho and Corasick, 1975), and memory in the secrets.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self.depth = [0]
        """The length of the beginning that each state stands for."""
        self.shorter = [0]
        """The state of the next shorter beginning that the bytes end with as well."""
        self.found: list[tuple[int, ...]] = [()]
        """The lengths of the secrets that end in each state, longest first."""
        self.after: dict[int, int] = {}
        """The state after a state and a byte, as `state << 8 | byte`, where the beginning grows."""
        for secret in secrets:
            self._add(secret)
        self._link()
        self.inner = {key >> 8 for key in self.after}
        """The states that a further byte can extend."""
        first = [re.escape(bytes([key])) for key in self.after if key < 256]
        self.start = re.compile(b"|".join(first)) if first else None
        """Matches the first byte of any secret."""

    def _add(self, secret: bytes) -> None:
        state = 0
        for byte in secret:
            following = self.after.setdefault(state << 8 | byte, len(self.depth))
            if following == len(self.depth):
                self.depth.append(self.depth[state] + 1)
                self.shorter.append(0)
                self.found.append(())
            state = following
        if secret:
            self.found[state] = (len(secret),)

    def _link(self) -> None:
        for key, state in sorted(self.after.items(), key=lambda item: self.depth[item[1]]):
            if key >= 256:
                self.shorter[state] = self.step(self.shorter[key >> 8], key & 255)
                self.found[state] += self.found[self.shorter[state]]

    def step(self, state: int, byte: int) -> int:
        """Return the state after one more byte."""
        while (following := self.after.get(state << 8 | byte)) is None:
            if not state:
                return 0
            state = self.shorter[state]
        return following

    def ends_within(self, data: bytes) -> int:
        """Return how many bytes at the end of `data` are the longest beginning of a secret, 0 for less than
        MIN_CUT.
        """
        state = 0
        for byte in data:
            state = self.step(state, byte)
        depth = self.depth[state]
        return depth if depth >= MIN_CUT else 0


def secrets_in(value: str) -> set[bytes]:
    """Return the secrets in the value of a variable: all of it, and each line, in each form that is printed.

    The forms are those of a terminal, without spaces around them, and quoted for a shell.
    """
    lines = {line for line in value.splitlines() if len(line.strip()) >= MIN_LINE}
    plain = {value, *lines}
    texts = {text for each in plain for text in (each, each.strip()) if text.strip()}
    return {form.encode("utf-8", "surrogateescape") for text in texts for form in _forms(text)}


def _forms(text: str) -> Iterator[str]:
    """Yield a text, with the line ends of a terminal, and as it is written inside the quotes of a shell."""
    yield text
    yield text.replace("\n", "\r\n")
    yield text.replace("'", "'\"'\"'")  # shlex.quote
    yield text.replace("'", "'\\''")  # sh -x
    yield _IN_DOUBLE_QUOTES.sub(r"\\\1", text)
    yield _BARE.sub(r"\\\1", text)  # printf %q
    # Bash writes $'…' around control characters. Some locales have octal for all bytes that are not ASCII.
    raw = text.encode("utf-8", "surrogateescape")
    for plain in (128, 256):
        yield b"".join(_in_dollar_quotes(byte, plain) for byte in raw).decode("utf-8", "surrogateescape")


def _in_dollar_quotes(byte: int, plain: int) -> bytes:
    if byte in _NAMED:
        return f"\\{_NAMED[byte]}".encode()
    return bytes([byte]) if 32 <= byte < 127 or byte >= plain else b"\\%03o" % byte

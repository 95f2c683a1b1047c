"""Redact secrets before bytes are stored: each byte of a match becomes `*`, so offsets stay what they are.

Expressions match within lines. Bytes of a line that has not ended are held until its end arrives, so however
bytes are split, the result is that for the whole line. A line is not held for ever: the producer stores what
is held (`release`) after a silence. What was released stays as context, and the rest of a match is redacted.
Does no I/O and knows no store.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from loom.model import Info
from loom.patterns import compile_all
from loom.wire.masking import Automaton, secrets_in

LINE = 64 << 10
"""Bytes of a line that are held. A longer line is redacted in parts of this size, which overlap."""
MATCH = 4 << 10
"""Bytes of the longest match that is found wherever it lies in a line longer than LINE."""
REMEMBERED = 4096
"""Streams without a producer whose context is kept, for a producer that resumes within a match: 16 MiB."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Rule:
    """What to redact in the streams that `covers` returns True for: fixed texts, and RE2 expressions."""

    covers: Callable[[str], bool]
    literals: Sequence[str] = ()
    patterns: Sequence[str] = ()


class Secrets:
    """The literals and the expressions of some rules, compiled."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        forms = {form for rule in rules for text in rule.literals for form in secrets_in(text)}
        literals = sorted(form for form in forms if b"\n" not in form)
        self._literals = Automaton(literals)
        self._most = max(map(len, literals), default=0)
        patterns = [pattern for rule in rules for pattern in rule.patterns]
        self._pattern = compile_all([*(_escaped(each) for each in literals), *patterns])

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return where the matches in whole lines begin and end, in order."""
        return [span for found in self._pattern.finditer(data) if (span := found.span())[0] < span[1]]

    def cut(self, data: bytes) -> int:
        """Return how much of a literal the last line of `data` ends with, if more of it may follow."""
        last = data[max(len(data) - self._most, data.rfind(b"\n") + 1, 0) :]
        return self._literals.ends_within(last)

    def hide(self, data: bytes) -> bytes:
        """Return whole lines redacted."""
        return _starred(data, self.spans(data))

    def metadata(self, text: str) -> str:
        """Return JSON metadata with its strings redacted; all else stays as it was written."""
        return _STRING.sub(self._string, text)

    def _string(self, found: re.Match[str]) -> str:
        plain = json.loads(found[0]).encode("utf-8", "surrogatepass")
        hidden = self.hide(plain)
        return found[0] if hidden == plain else json.dumps(hidden.decode("utf-8", "replace"))


class Redactor:
    """Redacts the bytes of one stream. `whole` says that it receives them from the first one on."""

    def __init__(self, secrets: Secrets, *, whole: bool) -> None:
        self._secrets = secrets
        self._line = b""
        self._shown = 0
        self.faithful = whole
        """True as long as the bytes that were returned are known to be those received."""

    @property
    def held(self) -> int:
        """The number of bytes received and not returned yet."""
        return len(self._line) - self._shown

    def feed(self, data: bytes) -> bytes:
        """Add bytes, and return those whose lines have ended, redacted."""
        text, out = self._line + data, []
        border = text.rfind(b"\n", len(self._line)) + 1
        if border:
            out.append(self._take(text[:border], self._secrets.spans(text[:border]), border))
            text = text[border:]
        while len(text) >= LINE:
            part = text[:LINE]
            spans = self._secrets.spans(part)
            # What begins in the rest is looked at again with the bytes after it. No match is cut.
            border = LINE - MATCH
            border = next((end for start, end in spans if start < border < end), border)
            out.append(self._take(part, [span for span in spans if span[1] <= border], border))
            text = text[border:]
        self._line = text
        return b"".join(out)

    def release(self) -> bytes:
        """Return what is held, redacted as far as that is known now: with the beginning of a literal."""
        text = self._line
        spans = self._secrets.spans(text)
        if cut := self._secrets.cut(text):
            spans.append((len(text) - cut, len(text)))
        return self._take(text, spans, len(text), keep=True)

    def strings(self, text: bytes) -> bytes:
        """Return JSON, in UTF-8, with its strings redacted. It is independent of the bytes fed."""
        return self._secrets.metadata(text.decode()).encode()

    def drop(self) -> None:
        """Forget what is held: the producer sends it again."""
        self._line = self._line[: self._shown]

    def rest(self) -> None:
        """Keep only what a match can begin in, until the next producer. Nothing is held then."""
        self._line = self._line[-MATCH:]
        self._shown = len(self._line)

    def _take(self, text: bytes, spans: list[tuple[int, int]], border: int, *, keep: bool = False) -> bytes:
        """Return the bytes of `text` up to `border` that were not returned yet."""
        shown, self._shown = self._shown, border if keep else max(0, self._shown - border)
        if any(end > shown for _, end in spans):
            self.faithful = False
            text = _starred(text, spans)
        return text[shown:border]


class Redactions:
    """The rules of a server, and the redactors of streams that wait for their next producer.

    Raises InvalidPattern if the rules are too large together.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._compiled = cache(lambda chosen: Secrets(self._rules[each] for each in chosen))
        self._waiting: OrderedDict[str, tuple[int, Redactor]] = OrderedDict()
        if self._rules:
            # Some of the rules are never larger than all of them.
            self._compiled(tuple(range(len(self._rules))))

    def secrets(self, id: str) -> Secrets | None:
        """Return what to redact in the stream `id`, None for nothing."""
        chosen = tuple(each for each, rule in enumerate(self._rules) if rule.covers(id))
        return self._compiled(chosen) if chosen else None

    def metadata(self, id: str, text: str) -> str:
        """Return the metadata of the stream `id` redacted."""
        secrets = self.secrets(id)
        return text if secrets is None else secrets.metadata(text)

    def redactor(self, info: Info) -> Redactor | None:
        """Return the redactor for a producer that continues at the end of this stream."""
        secrets = self.secrets(info.id)
        if secrets is None:
            return None
        offset, waiting = self._waiting.pop(info.key, (-1, None))
        return waiting if waiting and offset == info.size else Redactor(secrets, whole=info.size == 0)

    def keep(self, key: str, offset: int, redactor: Redactor) -> None:
        """Keep the redactor of a stream whose next producer may continue at `offset`."""
        redactor.rest()
        self._waiting[key] = offset, redactor
        if len(self._waiting) > REMEMBERED:
            self._waiting.popitem(last=False)


def _escaped(literal: bytes) -> str:
    return re.sub(r"([!-/:-@\[-^`{-~])", r"\\\1", literal.decode())


def _starred(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    if not spans:
        return data
    hidden: Any = bytearray(data)
    for start, end in spans:
        hidden[start:end] = b"*" * (end - start)
    return bytes(hidden)

"""The answer to `?grep`: lines of JSON, each a line of the stream, the progress, or the end. Pure.

    {"line": 17, "offset": 1024, "time": 1767225600.5, "text": "...", "spans": [[0, 5]]}     matches
    {"line": 18, "offset": 1090, "time": 1767225601.0, "text": "...", "context": true}       near a match
    {"searched": 1048576, "next": 1048500}                                                   progress
    {"ended": "end", "matches": 1, "searched": 2097152, "next": 2097152, "state": "complete", "size": 2097152}

`offset` is where the line begins, `time` about when it arrived. `spans` are the parts that match, in
characters of `text`. Of a long line `text` is a part: `cut` is then true, and `at` the offset of its first
byte.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line of a stream that matches, or with `context` one near it."""

    line: int
    offset: int
    text: str
    time: float | None = None
    spans: tuple[tuple[int, int], ...] = ()
    context: bool = False
    cut: bool = False
    at: int | None = None

    def encode(self) -> bytes:
        """Return the line of JSON. Members with their usual value are left out."""
        members: dict[str, object] = {"line": self.line, "offset": self.offset, "text": self.text}
        if self.time is not None:
            members["time"] = self.time
        if self.spans:
            members["spans"] = self.spans
        if self.context:
            members["context"] = True
        if self.cut:
            members |= {"cut": True, "at": self.at}
        return encode(members)


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search has come: the bytes searched, and the offset from which a new request continues it."""

    searched: int
    next: int


@dataclass(frozen=True, slots=True)
class SearchEnd:
    """How a search ended.

    `ended` is `end` (at the end of the stream, or with `notail` of its stored bytes), `limit`, `time`,
    `bytes` (a limit was reached), `gone`, `stopped` or `failed`; the last three have a `reason`. A request
    from the offset `next` on continues the search; of a stream that is gone it is None. `state` and `size`
    are those of the stream.
    """

    ended: str
    matches: int
    searched: int
    next: int | None
    state: str
    size: int
    reason: str = ""


Found = FoundLine | SearchProgress | SearchEnd
KINDS: Mapping[str, type[FoundLine] | type[SearchEnd] | type[SearchProgress]] = {
    "line": FoundLine,
    "ended": SearchEnd,
    "searched": SearchProgress,
}
"""By the member that only they have, in this order."""


def encode(members: Mapping[str, object]) -> bytes:
    """Return one line of JSON."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(text: bytes) -> Found:
    """Return what a line of JSON says. Members that this version does not know are ignored.

    Raises ValueError for anything else.
    """
    members = json.loads(text)
    for name, kind in KINDS.items():
        if name in members:
            if spans := members.get("spans"):
                members["spans"] = tuple(tuple(each) for each in spans)
            return kind(**{name: value for name, value in members.items() if name in kind.__slots__})
    raise ValueError("neither a line, nor progress, nor an end")

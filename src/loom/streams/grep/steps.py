"""One step of a search, and its result, as the server and a worker exchange them. Pure.

A message has four parts, whose lengths come first: JSON, the state of the search, bytes, and times. The
descriptor of a step is sent along with it.
"""

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

from loom.streams.grep.query import Query
from loom.streams.grep.times import Times

HEAD = struct.Struct("!IIII")

Parts = tuple[dict[str, Any], bytes, bytes, bytes]
"""The JSON, the state, the bytes and the times of a message."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a search begins to read, in which line, and where it begins to search; see scanner.State."""

    offset: int = 0
    line: int = 1
    start: int = 0
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a worker does next in a search: it searches `data`, or `size` bytes from `offset` on of the
    descriptor that is sent along.

    `state` is that of the step before, empty for the first step. Workers keep nothing between steps, so any
    worker may do any step. `times` are offsets and when the bytes from there on arrived.
    """

    query: Query
    origin: Origin = Origin()
    state: bytes = b""
    data: bytes = b""
    offset: int = 0
    size: int = 0
    last: bool = False
    times: Times = field(default_factory=Times)

    def encode(self) -> bytes:
        """Return the message."""
        members = {
            "query": asdict(self.query),
            "origin": asdict(self.origin),
            "offset": self.offset,
            "size": self.size,
            "last": self.last,
        }
        return _encode(members, self.state, self.data, self.times.encode())

    @classmethod
    def decode(cls, parts: Parts) -> "Step":
        """Return the step that a message describes."""
        members, state, data, times = parts
        query, origin = Query(**members.pop("query")), Origin(**members.pop("origin"))
        return cls(query=query, origin=origin, state=state, data=data, times=Times.decode(times), **members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a step found: lines of JSON in `output`.

    Of its bytes, `consumed` are searched or in the state. With `paused` the next step has to have no bytes.
    After `done` nothing more can be found. `matches` counts those of the whole search, `next` is the offset
    from which a new search continues this one, and `seconds` is the time that the step took. If the pattern
    is `invalid`, this says why, and nothing was searched. If bytes are missing from the file, it is `short`.
    """

    state: bytes = b""
    output: bytes = b""
    consumed: int = 0
    paused: bool = False
    done: bool = False
    matches: int = 0
    next: int = 0
    seconds: float = 0.0
    invalid: str = ""
    short: bool = False

    def encode(self) -> bytes:
        """Return the message."""
        members = {name: getattr(self, name) for name in self.__slots__ if name not in ("state", "output")}
        return _encode(members, self.state, self.output)

    @classmethod
    def decode(cls, parts: Parts) -> "Result":
        """Return the result that a message describes."""
        members, state, output, _ = parts
        return cls(state=state, output=output, **members)


def _encode(members: dict[str, Any], *parts: bytes) -> bytes:
    parts = (json.dumps(members).encode(), *parts, *[b""] * (3 - len(parts)))
    return b"".join([HEAD.pack(*map(len, parts)), *parts])


def split(head: bytes, body: bytes) -> Parts:
    """Return the parts of a message."""
    parts, at = [], 0
    for size in HEAD.unpack(head):
        parts.append(body[at : at + size])
        at += size
    text, state, data, times = parts
    return json.loads(text), state, data, times


def length(head: bytes) -> int:
    """Return the length of the body of a message."""
    return sum(HEAD.unpack(head))

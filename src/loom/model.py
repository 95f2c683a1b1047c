"""The words of Loom as frozen values: ids, states, infos. Owns the rules that hold everywhere; no I/O."""

import json
import os
import secrets
import time
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from loom.errors import InvalidId

MAX_ID_CHARS = 255
DEFAULT_CONTENT_TYPE = "application/octet-stream"
AMEND_WINDOW = 60.0
"""Seconds after a stream's end in which its metadata may be changed once more, for an exit code say."""

Clock = Callable[[], float]
"""Seconds since the Unix epoch; never goes back and never jumps while the process lives."""


class State(StrEnum):
    """Where a stream stands. `complete` and `aborted` are final."""

    LIVE = "live"
    INTERRUPTED = "interrupted"
    OPEN = "open"
    COMPLETE = "complete"
    ABORTED = "aborted"

    @property
    def final(self) -> bool:
        """No byte, end or state changes any more."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[State, frozenset[State]] = {
    State.LIVE: frozenset({State.LIVE, State.INTERRUPTED, State.OPEN, State.COMPLETE, State.ABORTED}),
    State.INTERRUPTED: frozenset({State.LIVE, State.ABORTED}),
    State.OPEN: frozenset({State.LIVE, State.ABORTED}),
    State.COMPLETE: frozenset(),
    State.ABORTED: frozenset(),
}
"""From each state, the states a stream may go to. `live` to `live` is a takeover by another producer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """What a creation asks for. `metadata` is JSON text in ASCII; `resume_window` is in seconds.

    `idempotency_key` names the request that creates: whoever repeats it means the same stream. `length` is
    how many bytes the producer says it will be in all. `ttl` is in seconds from the stream's end, 0 for one
    that is kept; `expires` is a time; without both it is kept, unless the service says otherwise.
    """

    id: str
    metadata: str = "{}"
    content_type: str = DEFAULT_CONTENT_TYPE
    resume_window: float = 30.0
    idempotency_key: str = ""
    length: int | None = None
    ttl: float | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """One stream as it durably is. Times are seconds since the Unix epoch.

    `size` is the durable size in bytes. `version` rises with every change but growth; `epoch` with every
    producer. `deadline` is when the sweeper has to act on a stream without a producer. `amended`: its
    metadata was changed after its end. `expires`: from then on the sweeper deletes it, once it is final; with
    a `ttl` that is known from its end on. `digest` is the SHA-256 of all bytes of a complete stream in
    base64, None while nobody has computed it.
    """

    key: str
    id: str
    epoch: int
    state: State
    reason: str = ""
    size: int = 0
    metadata: str = "{}"
    content_type: str = DEFAULT_CONTENT_TYPE
    created: float = 0.0
    ended: float | None = None
    deadline: float | None = None
    resume_window: float = 30.0
    idempotency_key: str = ""
    length: int | None = None
    amended: bool = False
    ttl: float | None = None
    expires: float | None = None
    digest: str | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A change to a stream, all of it or nothing; None leaves a field alone.

    With `state`, `reason` and `deadline` are taken as they are. A `digest` comes with the state `complete`,
    or alone after it.
    """

    state: State | None = None
    reason: str = ""
    deadline: float | None = None
    metadata: str | None = None
    digest: str | None = None


class ChangeKind(StrEnum):
    """What happened to a stream as a whole."""

    CREATED = "created"
    CLOSED = "closed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One durable change; `info` as it is after it, of a deleted stream as it was before."""

    kind: ChangeKind
    info: Info


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which streams to list, newest first. An empty `states` means any state.

    `metadata` are top-level members and what `member_text` gives for them; `created_after` is a time; `below`
    the number of a stream, there or not, behind which the listing begins. `undigested` are those without a
    digest.
    """

    states: frozenset[State] = field(default_factory=frozenset)
    prefix: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    created_after: float | None = None
    below: int | None = None
    undigested: bool = False

    def matches(self, info: Info) -> bool:
        """True if the listing holds this stream."""
        return (
            (not self.states or info.state in self.states)
            and info.id.startswith(self.prefix)
            and (self.created_after is None or info.created > self.created_after)
            and (self.below is None or number_of(info.key) < self.below)
            and not (self.undigested and info.digest)
            and all(member_text(info.metadata, name) == text for name, text in self.metadata)
        )


def repeats(new: NewStream, info: Info) -> bool:
    """True if this creation is the one that made the stream, asked for again."""
    return new.idempotency_key != "" and new.idempotency_key == info.idempotency_key


FINAL_STATES = frozenset(state for state in State if state.final)


def steady_clock() -> Clock:
    """The wall clock of now, carried on by the monotonic one, so that no window jumps with the time."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


def new_id(now: float) -> str:
    """A UUID version 7 (RFC 9562 section 5.7): sorts by creation in milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = int(now * 1000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def new_key(number: int) -> str:
    """A key: the stream's number, which rises with every creation in a store and is never given twice, and
    enough chance that a store that was set back does not give a key out twice either."""
    return f"{number:x}-{secrets.token_hex(6)}"


def number_of(key: str) -> int:
    """The number in a key, 0 if it is none of ours."""
    number, _, chance = key.partition("-")
    try:
        return int(number, 16) if chance and len(number) < 16 else 0
    except ValueError:
        return 0


def member_text(metadata: str, name: str) -> str | None:
    """A top-level member of JSON metadata as text, None if there is none: of a string the string itself, of a
    number, true, false and null what stands there, of anything else its shortest JSON."""
    value = json.loads(metadata, parse_int=_Literal, parse_float=_Literal)
    if not isinstance(value, dict) or name not in value:
        return None
    value = value[name]
    if isinstance(value, str):
        return str(value)
    return json.dumps(json.loads(metadata)[name], ensure_ascii=False, separators=(",", ":"))


class _Literal(str):
    """A JSON number as it is written."""


def parse_id(raw: bytes) -> str:
    """The id in a raw, still percent-encoded URL path. Raises InvalidId."""
    if not raw.isascii():
        raise InvalidId("The stream ID in the URL has bytes outside ASCII; percent-encode them.")
    try:
        return check_id(unquote_to_bytes(raw).decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidId("The stream ID is not UTF-8 after percent-decoding.") from None


def check_id(id: str) -> str:
    """The id itself, if it may name a stream. Raises InvalidId with what is wrong."""
    if not id:
        raise InvalidId("The stream ID is empty.")
    if len(id) > MAX_ID_CHARS:
        raise InvalidId(f"The stream ID has {len(id)} characters; {MAX_ID_CHARS} are allowed.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in id):
        raise InvalidId("The stream ID contains a control character.")
    if any(segment in ("", ".", "..") for segment in id.split("/")):
        raise InvalidId('The stream ID has a segment between slashes that is empty, "." or "..".')
    return id


def quote_id(id: str) -> str:
    """The id for a URL path or a header: ASCII, percent-encoded but for RFC 3986's pchar and the slash."""
    return quote(id, safe="/!$&'()*+,;=:@~")

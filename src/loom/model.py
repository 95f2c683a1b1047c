"""Loom's terms as frozen values: ids, keys, states, rows, queries. No I/O."""

import json
import os
import secrets
import time
import unicodedata
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from loom.errors import InvalidId

MAX_ID_CHARS = 255
MAX_DIGITS = 4096
"""Digits of an integer in metadata. Python refuses to parse more than 4,300."""
DEFAULT_CONTENT_TYPE = "application/octet-stream"
COUNTED = 10_000
"""How far streams are counted: this number stands for itself and for any that is greater."""
FAILURES = 100
"""The failures of a folder are counted unless it has more streams than this."""
FOLDERS = 500
"""Folders that a store returns at most."""
AMEND_WINDOW = 60.0
"""Seconds after a stream's end in which its metadata may change once, for example to add an exit code."""

Clock = Callable[[], float]
"""Returns seconds since the Unix epoch; never goes back or jumps during the life of the process."""


class State(StrEnum):
    """The state of a stream. `complete` and `aborted` are final."""

    LIVE = "live"
    INTERRUPTED = "interrupted"
    OPEN = "open"
    COMPLETE = "complete"
    ABORTED = "aborted"

    @property
    def final(self) -> bool:
        """True if bytes, end and state never change again."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[State, frozenset[State]] = {
    State.LIVE: frozenset({State.LIVE, State.INTERRUPTED, State.OPEN, State.COMPLETE, State.ABORTED}),
    State.INTERRUPTED: frozenset({State.LIVE, State.ABORTED}),
    State.OPEN: frozenset({State.LIVE, State.ABORTED}),
    State.COMPLETE: frozenset(),
    State.ABORTED: frozenset(),
}
"""From each state, the states that may follow. `live` to `live` is a takeover by another producer."""


class Outcome(StrEnum):
    """What the job behind a complete stream came to, as its metadata says."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """The parameters of a creation. `metadata` is JSON text in ASCII; `resume_window` is in seconds.

    `owner` is who creates it, for quotas. `idempotency_key` names the creating request: a request with the
    same key means the same stream. `length` is the announced total number of bytes. `ttl` is in seconds from
    the stream's end, 0 to keep the stream; `expires` is a time. Without both the service decides how long the
    stream is kept.
    """

    id: str
    metadata: str = "{}"
    content_type: str = DEFAULT_CONTENT_TYPE
    resume_window: float = 30.0
    idempotency_key: str = ""
    length: int | None = None
    ttl: float | None = None
    expires: float | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """One stream, as stored durably. Times are seconds since the Unix epoch.

    `size` is the durable size in bytes. `version` rises with every change except growth, `epoch` with every
    producer. `deadline` is when the sweeper acts on a stream without a producer. `amended` means that the
    metadata was changed after the end. `expires` is when the sweeper deletes the stream, if it is final by
    then; a `ttl` sets it at the end. `digest` is the SHA-256 of all bytes of a complete stream in base64,
    None until it is computed. `owner` is the one who created the stream, empty if unknown.
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
    owner: str = ""
    version: int = 1

    @property
    def outcome(self) -> Outcome | None:
        """What the job behind the stream came to; see `outcome_of`."""
        return outcome_of(self.state, self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A change to a stream, applied as a whole. None leaves a field as it is.

    With a `state`, `reason` and `deadline` are stored as given. A `digest` goes with the state `complete`, or
    alone after it.
    """

    state: State | None = None
    reason: str = ""
    deadline: float | None = None
    metadata: str | None = None
    digest: str | None = None


class ChangeKind(StrEnum):
    """What a watcher is notified of."""

    CREATED = "created"
    CHANGED = "changed"
    CLOSED = "closed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One durable change. `info` is the stream after it; of a deleted stream, the stream before."""

    kind: ChangeKind
    info: Info


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which streams to list, newest first.

    Empty `states` mean any state, and empty `outcomes` any outcome or none.

    `contains` is a part of the id. `metadata` holds names of top-level members with the text that `members`
    returns for them.
    `created_after` is a time. `below` is a stream's number: the listing begins after that stream, which need
    not exist. `undigested` selects streams without a digest.
    """

    states: frozenset[State] = field(default_factory=frozenset)
    prefix: str = ""
    contains: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    outcomes: frozenset[Outcome] = field(default_factory=frozenset)
    created_after: float | None = None
    below: int | None = None
    undigested: bool = False

    @property
    def parses(self) -> bool:
        """True if `matches` parses metadata, which takes long for many streams."""
        return bool(self.metadata or self.outcomes)

    def matches(self, info: Info) -> bool:
        """Return True if the listing includes this stream."""
        return (
            (not self.states or info.state in self.states)
            and info.id.startswith(self.prefix)
            and self.contains in info.id
            and (self.created_after is None or info.created > self.created_after)
            and (self.below is None or number_of(info.key) < self.below)
            and not (self.undigested and info.digest)
            and (not self.outcomes or info.outcome in self.outcomes)
            and (not self.metadata or set(self.metadata) <= members(info.metadata).items())
        )


@dataclass(frozen=True, slots=True)
class Folder:
    """The streams whose ids begin with `prefix`: their number, at most COUNTED, and the newest one.

    `failures` is how many have this outcome; None if they are more than FAILURES.
    """

    prefix: str
    count: int
    newest: Info
    failures: int | None


def folder_of(id: str, prefix: str) -> str | None:
    """Return the folder under `prefix` that has this id: up to the next slash. None if it is in no folder."""
    end = id.find("/", len(prefix))
    return id[: end + 1] if end >= 0 and id.startswith(prefix) else None


def repeats(new: NewStream, info: Info) -> bool:
    """Return True if `new` repeats the request that created the stream."""
    return new.idempotency_key != "" and new.idempotency_key == info.idempotency_key


FINAL_STATES = frozenset(state for state in State if state.final)


def steady_clock() -> Clock:
    """Return a clock that reads the wall clock once and then follows the monotonic one, so it never jumps."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


def new_id(now: float) -> str:
    """Return a UUID version 7 (RFC 9562 section 5.7): sorts by creation in milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = int(now * 1000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def new_key(number: int) -> str:
    """Return a key: the stream's number and a random part.

    The number rises with every creation in a store and is used once. The random part keeps keys unique after
    a store was restored from a backup.
    """
    return f"{number:x}-{secrets.token_hex(6)}"


def number_of(key: str) -> int:
    """Return the number in a key, 0 if it is not a key of Loom."""
    number, _, chance = key.partition("-")
    try:
        return int(number, 16) if chance and len(number) < 16 else 0
    except ValueError:
        return 0


def members(metadata: str) -> dict[str, str]:
    """Return the top-level members of JSON metadata as texts, none if it is no object.

    The text of a string is the string itself; of a number, true, false or null its literal; of anything else
    its shortest JSON.
    """
    try:
        found = json.loads(metadata, parse_int=_Literal, parse_float=_Literal)
        if not isinstance(found, dict):
            return {}
        if any(isinstance(value, list | dict) for value in found.values()):
            # Inside these, numbers are written in their shortest form.
            found |= {
                name: value
                for name, value in json.loads(metadata, parse_int=_integer).items()
                if isinstance(value, list | dict)
            }
        return {name: value if isinstance(value, str) else _dump(value) for name, value in found.items()}
    except (ValueError, RecursionError):  # only an older version stored such text
        return {}


def outcome_of(state: State, metadata: str) -> Outcome | None:
    """Return what the job behind a stream came to.

    Only a complete stream has an outcome; `aborted` and `interrupted` are states with a meaning of their own.
    The member `outcome` of the metadata decides if it is one of the four words. Else the member `exit_code`
    decides, a whole number: 0 is a success and any other a failure. With neither there is no outcome.
    """
    # Any name that is written without escapes is found as it is, at a fraction of the cost of parsing.
    if state is not State.COMPLETE or not any(name in metadata for name in _TELLING):
        return None
    found = members(metadata)
    with suppress(ValueError):
        return Outcome(found.get("outcome", ""))
    code = found.get("exit_code", "").removeprefix("-")
    if not (code.isascii() and code.isdigit()):
        return None
    return Outcome.FAILURE if code.strip("0") else Outcome.SUCCESS


_TELLING = ('"outcome"', '"exit_code"', "\\u")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _integer(text: str) -> int | str:
    """Parse an integer. Return one with more digits, which only an older version stored, as text."""
    return int(text) if len(text) <= MAX_DIGITS else text


class _Literal(str):
    """A JSON number, as it is written."""


def parse_id(raw: bytes) -> str:
    """Return the id in a raw, percent-encoded URL path. Raises InvalidId."""
    if not raw.isascii():
        raise InvalidId("The stream ID in the URL has bytes outside ASCII; percent-encode them.")
    try:
        return check_id(unquote_to_bytes(raw).decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidId("The stream ID is not UTF-8 after percent-decoding.") from None


def check_id(id: str) -> str:
    """Return `id` if it may name a stream. Raises InvalidId, which says what is wrong."""
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
    """Return the id for a URL path or a header: ASCII, with all but RFC 3986's pchar and slashes encoded."""
    return quote(id, safe="/!$&'()*+,;=:@~")

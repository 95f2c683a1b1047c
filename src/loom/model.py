"""Loom's terms as frozen values: states, rows, changes, queries. No I/O."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from loom.ids import number_of

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
    State.OPEN: frozenset({State.LIVE, State.COMPLETE, State.ABORTED}),
    State.COMPLETE: frozenset(),
    State.ABORTED: frozenset(),
}
"""From each state, the states that may follow. `live` to `live` is a takeover by another producer."""


class Framing(StrEnum):
    """How a stream is written. With a framing it is *shared*: while it is `open`, many writers append."""

    NONE = ""
    """One producer at a time sends bytes."""
    BYTES = "bytes"
    """Many writers append bytes."""
    JSON = "json"
    """Many writers append JSON values, stored one a line."""


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
    the stream's end, of a shared stream from its last use, 0 to keep the stream; `expires` is a time. Without
    both the service decides how long the stream is kept. `source` is the key of the stream that it was forked
    from at the offset `fork`.

    `state`, `content` and `entries`, the first ones of its ledger, are for `Store.put`.
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
    framing: Framing = Framing.NONE
    source: str = ""
    fork: int = 0
    state: State = State.LIVE
    content: Sequence[bytes] = ()
    entries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """One stream, as stored durably. Times are seconds since the Unix epoch.

    `size` is the durable size in bytes. `version` rises with every change except growth, `epoch` with every
    producer. `deadline` is when the sweeper acts on a stream without a producer. `amended` means that the
    metadata was changed after the end. `expires` is when the sweeper deletes the stream, if it is final by
    then; a `ttl` sets it at the end. `digest` is the SHA-256 of all bytes of a complete stream in base64,
    None until it is computed. `owner` is the one who created the stream, empty if unknown. A fork has the
    first `fork` bytes of the stream with the key `source`. `gone` means that the stream is deleted for users
    and kept for its forks. `ledger` is the size of its ledger in bytes; it changes with appends, like `size`.
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
    framing: Framing = Framing.NONE
    source: str = ""
    fork: int = 0
    gone: bool = False
    ledger: int = 0
    version: int = 1

    @property
    def outcome(self) -> Outcome | None:
        """What the job behind the stream came to; see `outcome_of`."""
        return outcome_of(self.state, self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A change to a stream, applied as a whole. None leaves a field as it is.

    With a `state`, `reason` and `deadline` are stored as given. A `deadline` alone is for shared streams with
    a `ttl`. A `digest` goes with the state `complete`, or alone after it.
    """

    state: State | None = None
    reason: str = ""
    deadline: float | None = None
    metadata: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What one writer appends to a shared stream, stored as a whole.

    `entries` change the stream's ledger. A `patch` changes its row after the bytes: its metadata, or its
    state to a final one.
    """

    data: Sequence[bytes] = ()
    entries: Mapping[str, str] = field(default_factory=dict)
    patch: Patch | None = None

    @property
    def empty(self) -> bool:
        """True if nothing is appended and nothing changes."""
        return not (any(self.data) or self.entries or self.patch)


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


def repeats(new: NewStream, info: Info) -> bool:
    """Return True if `new` repeats the request that created the stream."""
    return new.idempotency_key != "" and new.idempotency_key == info.idempotency_key


FINAL_STATES = frozenset(state for state in State if state.final)


def steady_clock() -> Clock:
    """Return a clock that reads the wall clock once and then follows the monotonic one, so it never jumps."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


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

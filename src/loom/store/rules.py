"""What each change does to a stream's row. Every store calls these functions and has no rule of its own.

Pure: a function takes the durable row and the time, and either raises what the contract names or returns the
row to store. It has no effect, so a store decides first and acts after.

    create      check_new, check_creation, born
    append      check_shared, check_addition, growth, apply
    takeover    check_takeover, check_offset; fence, then wait until every accepted byte is durable; take_over
    close       check_close, apply
    change      change
    lost        interrupt (the caller was cancelled, the store closes), recover (the store starts)
    failed      abort
    deadlines   due_at, expires_at; overdue says what the sweeper does
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, replace

from loom.errors import (
    Conflict,
    EpochMismatch,
    Fenced,
    OffsetMismatch,
    StoreStopped,
    StreamExists,
    StreamFinal,
    StreamGone,
    VersionMismatch,
    WriterLost,
)
from loom.model import (
    AMEND_WINDOW,
    TRANSITIONS,
    Addition,
    ChangeKind,
    Info,
    NewStream,
    Patch,
    State,
    repeats,
)

FENCED = "its producer was fenced"
CANCELLED = "its producer went away"
SERVER_STOPPED = "the server stopped"
DAMAGED = "stored bytes are damaged"
OVERDUE = {
    State.INTERRUPTED: "the producer was lost and the resume window expired",
    State.OPEN: "left open, and no producer came in time",
}
"""Why the sweeper aborts a stream in this state once its deadline has passed."""

ENTRY_COST = 64
"""Bytes that an entry of a ledger counts for besides its name and its text."""

ENTRIES_SIZE = 8 << 10
"""What the entries of one addition may count for at most."""

AT_ONCE = 500
"""Rows that one call of `due` or `expired` returns at most."""


def check_creation(new: NewStream, old: Info | None, *, replaces: bool) -> None:
    """Raise StreamExists unless `new` may be created where `old` has its id."""
    if old is not None and (not replaces or repeats(new, old)):
        raise StreamExists(new.id)


def check_new(new: NewStream, *, live: bool) -> None:
    """Raise ValueError unless `new` is for Store.create, which makes `live` streams, or for Store.put."""
    if new.state not in ({State.LIVE} if live else {State.OPEN, State.COMPLETE}):
        raise ValueError(f"a stream cannot be created {new.state} by this method")
    if live and (new.framing or new.content or new.entries):
        raise ValueError("a stream that is created with a producer is not shared and has no content")
    check_entries(new.entries)


def born(new: NewStream, key: str, now: float) -> Info:
    """Return the row of a stream that has just been created, without its content."""
    wanted = {name: getattr(new, name) for name in _GIVEN}
    info = Info(key=key, epoch=1, state=State.LIVE, created=now, **wanted)
    if slides(info):
        info = replace(info, deadline=now + (info.ttl or 0))
    return info if new.state is State.LIVE else replace(apply(info, Patch(state=new.state), now), version=1)


_GIVEN = {field.name for field in fields(NewStream)} & {field.name for field in fields(Info)} - {"state"}


def check_shared(info: Info) -> None:
    """Raise Conflict unless many writers may append to the stream."""
    if not info.framing:
        raise Conflict(f"The stream with ID {info.id} has one producer at a time; resume it to append.")


def check_addition(info: Info, names: Collection[str], addition: Addition) -> None:
    """Raise StreamFinal if `addition` comes after the end; ValueError for one that no stream takes."""
    if info.state.final and not addition.empty:
        raise final(info)
    check_entries(addition.entries)
    if not addition.entries.keys() <= set(names):
        raise ValueError("an entry is set that was not looked up")
    if addition.patch and addition.patch.state not in (None, State.COMPLETE, State.ABORTED):
        raise ValueError(f"an addition cannot make a stream {addition.patch.state}")


def check_entries(entries: Mapping[str, str]) -> None:
    """Raise ValueError if these entries are not Unicode, or more than one change may add to a ledger."""
    if growth({}, entries) > ENTRIES_SIZE:
        raise ValueError("too many or too long entries for one change of a ledger")


def growth(before: Mapping[str, str], entries: Mapping[str, str]) -> int:
    """Return by how much a ledger grows with `entries` if it has `before` under their names."""
    known = before.keys() & entries.keys()
    return _size(entries) - _size({name: before[name] for name in known})


def _size(entries: Mapping[str, str]) -> int:
    return sum(ENTRY_COST + len(f"{name}{value}".encode()) for name, value in entries.items())


def check_takeover(info: Info, epoch: int | None) -> None:
    """Raise Conflict, StreamFinal or EpochMismatch for a takeover that is refused before anyone is fenced."""
    if info.framing:
        raise Conflict(f"The stream with ID {info.id} has many writers; none of them takes it over.")
    if info.state.final:
        raise final(info)
    if epoch is not None and epoch != info.epoch:
        raise EpochMismatch(info.epoch, epoch)


def check_offset(end: int, offset: int) -> None:
    """Raise OffsetMismatch unless `offset` is the end of the bytes that the stream has accepted."""
    if offset != end:
        raise OffsetMismatch(end, offset)


def take_over(info: Info, length: int | None, now: float) -> Info:
    """Return the row with its next producer. The one before is fenced, and its bytes are all durable.

    `length` is announced by this producer; what was announced before stays.
    """
    row = apply(info, Patch(state=State.LIVE), now)
    return replace(row, epoch=info.epoch + 1, length=length if info.length is None else info.length)


def check_close(patch: Patch) -> None:
    """Raise ValueError unless a producer may leave its stream with this patch."""
    if patch.state is None or patch.state is State.LIVE:
        raise ValueError(f"a producer cannot leave its stream {patch.state}")


def change(info: Info, patch: Patch, version: int, now: float) -> Info:
    """Return the row after a compare-and-set. Raises StreamFinal, VersionMismatch, Conflict."""
    if not takes(info, patch, now):
        raise final(info)
    if info.version != version:
        raise VersionMismatch(f"Another request changed the stream with ID {info.id} first.")
    if patch.state and (patch.state is State.LIVE or patch.state not in TRANSITIONS[info.state]):
        raise Conflict(f"The stream with ID {info.id} is {info.state}; it cannot become {patch.state}.")
    return apply(info, patch, now)


def takes(info: Info, patch: Patch, now: float) -> bool:
    """Return True if the state of `info` permits `patch`.

    After the end the metadata may change once, within AMEND_WINDOW, and a complete stream that has no digest
    may get one. The deadline of a stream that nobody uses moves also after the end.
    """
    if not info.state.final or (slides(info) and patch == Patch(deadline=patch.deadline)):
        return True
    if patch.state is not None:
        return False
    if patch.metadata is None:
        return patch.digest is not None and info.state is State.COMPLETE and info.digest is None
    late = info.ended is None or now > info.ended + AMEND_WINDOW
    return patch.digest is None and not (late or info.amended)


def apply(info: Info, patch: Patch, now: float) -> Info:
    """Return the row after `patch`, which has been checked. Fields that the patch does not set are kept."""
    row = replace(
        info,
        metadata=info.metadata if patch.metadata is None else patch.metadata,
        amended=info.amended or (info.state.final and patch.metadata is not None),
        digest=patch.digest or info.digest,
        version=info.version + 1,
    )
    if patch.state is None:
        return row if patch.deadline is None else replace(row, deadline=patch.deadline)
    row = replace(row, state=patch.state, reason=patch.reason)
    if not slides(info):
        row = replace(row, deadline=patch.deadline)
    if not patch.state.final:
        return row
    return replace(row, ended=now, expires=now + info.ttl if info.ttl and not info.framing else info.expires)


def slides(info: Info) -> bool:
    """Return True for a shared stream with a time to live: it is deleted once nobody has used it for so long,
    whatever its state. Its deadline is a time before which it is certainly not deleted.
    """
    return bool(info.framing and info.ttl)


def lost(info: Info, reason: str, now: float) -> Patch:
    """Return the patch for a stream that has lost its producer: another may resume within its resume
    window.
    """
    return Patch(state=State.INTERRUPTED, reason=reason, deadline=now + info.resume_window)


def interrupt(info: Info, reason: str, now: float) -> Info:
    """Return the row after the loss of the producer; `info` itself unless the stream is live."""
    return apply(info, lost(info, reason, now), now) if info.state is State.LIVE else info


def abort(info: Info, reason: str, now: float) -> Info:
    """Return the row after a failure of the stream; `info` itself if the stream is final."""
    return info if info.state.final else apply(info, Patch(state=State.ABORTED, reason=reason), now)


def recover(info: Info, now: float, *, damaged: bool = False) -> Info:
    """Return the row that a store starts with. No stream has a producer then.

    A resume window never runs out while the store is down: it starts again now.
    """
    if damaged:
        return abort(info, DAMAGED, now)
    if info.state is State.INTERRUPTED:
        return replace(info, deadline=max(info.deadline or now, now + info.resume_window))
    return interrupt(info, SERVER_STOPPED, now)


def overdue(info: Info) -> Patch | None:
    """Return the patch for a stream whose deadline has passed; None if the state has no deadline."""
    reason = OVERDUE.get(info.state)
    return None if reason is None else Patch(state=State.ABORTED, reason=reason)


def due_at(info: Info) -> float:
    """Return the time from which Store.due lists the stream; infinity if it never does."""
    return math.inf if info.deadline is None else info.deadline


def expires_at(info: Info) -> float:
    """Return the time from which Store.expired lists the stream; infinity if it never does."""
    counts = info.state.final or info.framing
    return info.expires if counts and info.expires is not None else math.inf


def announced(before: Info | None, after: Info) -> list[ChangeKind]:
    """Return what a change of a row is announced as, in this order: CREATED for a new stream, then CLOSED if
    it is final now; CHANGED if only the metadata changed.
    """
    if before is None:
        return [ChangeKind.CREATED] + [ChangeKind.CLOSED] * after.state.final
    if after.state.final and not before.state.final:
        return [ChangeKind.CLOSED]
    return [] if after.metadata == before.metadata else [ChangeKind.CHANGED]


def final(info: Info) -> StreamFinal:
    """Return the error for a change that comes after the end."""
    return StreamFinal(f"The stream with ID {info.id} is {info.state}; nothing can be added or changed.")


def described(info: Info) -> StreamFinal:
    """Return the error for a change of metadata that a final stream does not take."""
    return StreamFinal(
        f"The stream with ID {info.id} is {info.state}. Its metadata can be changed once after the end, "
        f"within {AMEND_WINDOW:g} seconds."
    )


def fenced(info: Info, state: State = State.LIVE) -> Fenced:
    """Return the error for a producer whose stream passes to another producer, or to a state without one."""
    if state is State.LIVE:
        return Fenced(f"Another producer took over the stream with ID {info.id}.")
    return Fenced(f"The stream with ID {info.id} is now {state}.")


def gone(info: Info) -> StreamGone:
    """Return the error for the producer and the followers of a stream that is deleted or replaced."""
    return StreamGone(f"The stream with ID {info.id} was deleted or replaced.")


def cancelled(info: Info) -> WriterLost:
    """Return the error for a writer whose caller was cancelled and never received it."""
    return WriterLost(f"The request for a producer of the stream with ID {info.id} was cancelled.")


def closed() -> StoreStopped:
    """Return the error for all users of a closed store."""
    return StoreStopped("The store is closed.")

"""What each change does to a row, as tables: a row and an event, and the row or the error that follows."""

from dataclasses import replace
from typing import Any

import pytest

from loom.errors import (
    Conflict,
    EpochMismatch,
    LoomError,
    OffsetMismatch,
    StreamExists,
    StreamFinal,
    VersionMismatch,
)
from loom.model import AMEND_WINDOW, TRANSITIONS, ChangeKind, Info, NewStream, Patch, State
from loom.store import rules

NOW = 1_000.0
ROWS = {
    state: Info(
        key="1-a",
        id="a",
        epoch=3,
        state=state,
        reason="" if state is State.LIVE else "before",
        size=5,
        metadata="1",
        created=900.0,
        ended=NOW if state.final else None,
        deadline=NOW + 1 if state in (State.INTERRUPTED, State.OPEN) else None,
        resume_window=7.0,
        version=4,
    )
    for state in State
}
LIVE, INTERRUPTED, OPEN, COMPLETE, ABORTED = ROWS.values()
NOT_FINAL = [LIVE, INTERRUPTED, OPEN]
FINAL = [COMPLETE, ABORTED]


def changes(before: Info, after: Info) -> dict[str, Any]:
    """Return the fields in which two rows differ, with their values after the change."""
    return {
        name: getattr(after, name)
        for name in Info.__dataclass_fields__
        if getattr(before, name) != getattr(after, name)
    }


def state_of(row: Info) -> str:
    return row.state


def test_a_creation_has_all_requested_fields():
    new = NewStream(
        id="a",
        metadata="1",
        content_type="x/y",
        resume_window=7.0,
        idempotency_key="k",
        length=3,
        ttl=2.0,
        expires=9.0,
    )
    assert rules.born(new, "1-a", NOW) == Info(
        key="1-a",
        id="a",
        epoch=1,
        state=State.LIVE,
        metadata="1",
        content_type="x/y",
        created=NOW,
        resume_window=7.0,
        idempotency_key="k",
        length=3,
        ttl=2.0,
        expires=9.0,
        version=1,
    )


@pytest.mark.parametrize(
    ("old_key", "new_key", "replaces", "refused"),
    [
        (None, "", False, False),
        (None, "k", True, False),
        ("", "", False, True),
        ("", "", True, False),
        ("k", "k", False, True),
        ("k", "k", True, True),
        ("k", "other", True, False),
        ("k", "", True, False),
    ],
)
def test_a_creation_replaces_only_another_one(old_key, new_key, replaces, refused):
    old = None if old_key is None else replace(LIVE, idempotency_key=old_key)
    new = NewStream(id="a", idempotency_key=new_key)
    if refused:
        with pytest.raises(StreamExists):
            rules.check_creation(new, old, replaces=replaces)
    else:
        rules.check_creation(new, old, replaces=replaces)


@pytest.mark.parametrize(
    ("row", "epoch", "error"),
    [
        *((row, epoch, None) for row in NOT_FINAL for epoch in (None, 3)),
        *((row, epoch, EpochMismatch) for row in NOT_FINAL for epoch in (0, 2, 4)),
        *((row, epoch, StreamFinal) for row in FINAL for epoch in (None, 2, 3)),
    ],
)
def test_a_takeover_is_refused_before_it_fences(row: Info, epoch: int | None, error: type[LoomError] | None):
    if error is None:
        rules.check_takeover(row, epoch)
    else:
        with pytest.raises(error):
            rules.check_takeover(row, epoch)


@pytest.mark.parametrize("row", NOT_FINAL, ids=state_of)
def test_a_takeover_at_the_end_raises_the_epoch(row: Info):
    taken = rules.take_over(row, None, NOW)
    assert taken == replace(row, state=State.LIVE, reason="", deadline=None, epoch=4, version=5)


@pytest.mark.parametrize("offset", [0, 4, 6, 1 << 60])
def test_a_takeover_elsewhere_is_refused_with_the_end(offset: int):
    rules.check_offset(5, 5)
    with pytest.raises(OffsetMismatch) as error:
        rules.check_offset(5, offset)
    assert (error.value.offset, error.value.provided) == (5, offset)


@pytest.mark.parametrize("reason", [rules.FENCED, rules.CANCELLED, rules.SERVER_STOPPED])
def test_an_interruption_opens_the_resume_window(reason: str):
    row = rules.interrupt(LIVE, reason, NOW)
    assert changes(LIVE, row) == {
        "state": State.INTERRUPTED,
        "reason": reason,
        "deadline": NOW + 7.0,
        "version": 5,
    }
    assert row == rules.apply(LIVE, rules.lost(LIVE, reason, NOW), NOW)


@pytest.mark.parametrize("row", [INTERRUPTED, OPEN, *FINAL], ids=state_of)
def test_only_a_live_stream_can_be_interrupted(row: Info):
    assert rules.interrupt(row, "late", NOW) == row


@pytest.mark.parametrize(
    ("row", "damaged", "changed"),
    [
        (
            LIVE,
            False,
            {
                "state": State.INTERRUPTED,
                "reason": "the server stopped",
                "deadline": NOW + 7.0,
                "version": 5,
            },
        ),
        (INTERRUPTED, False, {"deadline": NOW + 7.0}),
        (replace(INTERRUPTED, deadline=NOW + 60), False, {}),
        (replace(INTERRUPTED, deadline=None), False, {"deadline": NOW + 7.0}),
        (OPEN, False, {}),
        *((row, damaged, {}) for row in FINAL for damaged in (False, True)),
        *(
            (
                row,
                True,
                {"state": State.ABORTED, "reason": "stored bytes are damaged", "ended": NOW, "version": 5}
                | ({} if row is LIVE else {"deadline": None}),
            )
            for row in NOT_FINAL
        ),
    ],
)
def test_a_store_starts_without_live_streams(row: Info, damaged: bool, changed: dict[str, Any]):
    assert changes(row, rules.recover(row, NOW, damaged=damaged)) == changed


@pytest.mark.parametrize("row", NOT_FINAL, ids=state_of)
def test_a_failure_ends_the_stream_with_its_reason(row: Info):
    after = rules.abort(row, "not stored", NOW)
    assert (after.state, after.reason, after.ended, after.deadline) == (
        State.ABORTED,
        "not stored",
        NOW,
        None,
    )
    assert rules.announced(row, after) == [ChangeKind.CLOSED]
    assert rules.abort(after, "again", NOW + 1) == after
    assert rules.announced(after, after) == []


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_a_change_follows_the_table_of_transitions(before: State, after: State):
    row = ROWS[before]
    if before.final:
        error: type[LoomError] | None = StreamFinal
    elif after is State.LIVE or after not in TRANSITIONS[before]:
        error = Conflict
    else:
        error = None
    patch = Patch(state=after, reason="why", deadline=2.0)
    if error is None:
        row = rules.change(row, patch, row.version, NOW)
        assert (row.state, row.reason, row.deadline, row.version) == (after, "why", 2.0, 5)
    else:
        with pytest.raises(error):
            rules.change(row, patch, row.version, NOW)


@pytest.mark.parametrize("version", [0, 3, 5])
@pytest.mark.parametrize("row", NOT_FINAL, ids=state_of)
def test_a_change_of_another_version_is_refused(row: Info, version: int):
    with pytest.raises(VersionMismatch):
        rules.change(row, Patch(metadata="2"), version, NOW)


AMENDED = replace(COMPLETE, amended=True)
DIGESTED = replace(COMPLETE, digest="d")
METADATA = Patch(metadata="2")
DIGEST = Patch(digest="d")


@pytest.mark.parametrize(
    ("row", "patch", "after_end", "taken"),
    [
        *((row, patch, 1e9, True) for row in NOT_FINAL for patch in (METADATA, Patch(state=State.ABORTED))),
        *((row, METADATA, after, after <= AMEND_WINDOW) for row in FINAL for after in (0.0, 60.0, 60.1)),
        *((row, Patch(state=State.ABORTED), 0.0, False) for row in FINAL),
        *((row, Patch(state=State.COMPLETE, digest="d"), 0.0, False) for row in FINAL),
        *((row, replace(METADATA, digest="d"), 0.0, False) for row in FINAL),
        (AMENDED, METADATA, 0.0, False),
        (AMENDED, DIGEST, 0.0, True),
        (DIGESTED, METADATA, 0.0, True),
        (DIGESTED, DIGEST, 0.0, False),
        (COMPLETE, DIGEST, 1e9, True),
        (ABORTED, DIGEST, 0.0, False),
        (replace(COMPLETE, ended=None), METADATA, 0.0, False),
        (COMPLETE, Patch(), 0.0, False),
    ],
)
def test_a_final_stream_takes_one_digest_and_its_metadata_once(row, patch, after_end, taken):
    assert rules.takes(row, patch, NOW + after_end) is taken


@pytest.mark.parametrize(
    ("row", "patch", "changed"),
    [
        (LIVE, METADATA, {"metadata": "2"}),
        (COMPLETE, METADATA, {"metadata": "2", "amended": True}),
        (DIGESTED, METADATA, {"metadata": "2", "amended": True}),
        (COMPLETE, DIGEST, {"digest": "d"}),
        (LIVE, Patch(state=State.OPEN, deadline=2.0), {"state": State.OPEN, "deadline": 2.0}),
        (LIVE, Patch(state=State.COMPLETE), {"state": State.COMPLETE, "ended": NOW}),
        (
            LIVE,
            Patch(state=State.COMPLETE, digest="d"),
            {"state": State.COMPLETE, "ended": NOW, "digest": "d"},
        ),
        (
            replace(LIVE, ttl=2.0),
            Patch(state=State.COMPLETE),
            {"state": State.COMPLETE, "ended": NOW, "expires": NOW + 2},
        ),
        (
            replace(LIVE, ttl=0.0, expires=NOW + 9),
            Patch(state=State.COMPLETE),
            {"state": State.COMPLETE, "ended": NOW},
        ),
        (replace(LIVE, ttl=2.0), Patch(state=State.OPEN), {"state": State.OPEN}),
    ],
)
def test_fields_that_a_patch_does_not_set_are_kept(row: Info, patch: Patch, changed: dict[str, Any]):
    assert changes(row, rules.apply(row, patch, NOW)) == {**changed, "version": 5}


@pytest.mark.parametrize("state", [None, *State])
def test_a_producer_leaves_its_stream_in_another_state(state: State | None):
    if state in (None, State.LIVE):
        with pytest.raises(ValueError, match="leave"):
            rules.check_close(Patch(state=state))
    else:
        rules.check_close(Patch(state=state))


@pytest.mark.parametrize(
    ("row", "due", "expires", "reason"),
    [
        (LIVE, float("inf"), float("inf"), None),
        (replace(LIVE, expires=NOW), float("inf"), float("inf"), None),
        (INTERRUPTED, NOW + 1, float("inf"), "the producer was lost and the resume window expired"),
        (replace(OPEN, expires=NOW), NOW + 1, float("inf"), "left open, and no producer came in time"),
        (COMPLETE, float("inf"), float("inf"), None),
        (replace(COMPLETE, expires=NOW), float("inf"), NOW, None),
        (replace(ABORTED, expires=NOW), float("inf"), NOW, None),
    ],
)
def test_due_deadlines_are_handled_and_only_final_streams_expire(row, due, expires, reason):
    assert (rules.due_at(row), rules.expires_at(row)) == (due, expires)
    patch = rules.overdue(row)
    assert patch == (None if reason is None else Patch(state=State.ABORTED, reason=reason))
    if patch:
        assert rules.change(row, patch, row.version, NOW).reason == reason

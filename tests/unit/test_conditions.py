from collections.abc import Sequence
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import PreconditionFailed
from loom.http.stream.conditions import (
    NotModified,
    Validators,
    check_conditions,
    range_is_wanted,
    validators_of,
)
from loom.model import Info, State

END = 1_000_000_000
DATE = b"Sun, 09 Sep 2001 01:46:40 GMT"
EARLIER = b"Sun, 09 Sep 2001 01:46:39 GMT"
LATER = b"Sun, 09 Sep 2001 01:46:41 GMT"
DONE = Info(key="k", id="a", epoch=1, state=State.COMPLETE, size=3, ended=END + 0.9)
LIVE = Info(key="k", id="a", epoch=1, state=State.LIVE, size=3)


class Asked:
    """The headers of a request: `if_match=b"x"` is If-Match: x."""

    def __init__(self, **fields: bytes | list[bytes]) -> None:
        self._fields = {name.replace("_", "-").encode(): value for name, value in fields.items()}

    def all(self, name: bytes) -> Sequence[bytes]:
        value = self._fields.get(name, [])
        return [value] if isinstance(value, bytes) else value


def outcome(info: Info = DONE, **fields: bytes | list[bytes]) -> int:
    try:
        check_conditions(Asked(**fields), info, validators_of(info))
    except PreconditionFailed:
        return 412
    except NotModified as same:
        return 304 if same.info is info else 0
    return 200


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (b'"k"', 304),
        (b'W/"k"', 304),
        (b'"a", "k"', 304),
        (b'"a,b" , W/"x","k"', 304),
        ([b'"a"', b'"k"'], 304),
        (b"*", 304),
        (b'"K"', 200),
        (b"k", 200),
        (b'"k', 200),
        (b'w/"K"', 200),
        (b'"a"', 200),
        (b'"*"', 200),
    ],
)
def test_if_none_match_compares_weakly(tags, status):
    assert outcome(if_none_match=tags) == status


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (b'"k"', 200),
        (b'"a", "k"', 200),
        (b"*", 200),
        (b'W/"k"', 412),
        (b'"a"', 412),
        (b"k", 412),
        (b"", 412),
    ],
)
def test_if_match_compares_strongly(tags, status):
    assert outcome(if_match=tags) == status


@pytest.mark.parametrize(
    ("date", "modified_since", "unmodified_since"),
    [
        (DATE, 304, 200),
        (LATER, 304, 200),
        (EARLIER, 200, 412),
        (b"Sunday, 09-Sep-01 01:46:40 GMT", 304, 200),
        (b"Sun Sep  9 01:46:40 2001", 304, 200),
        (b"Sun, 09 Sep 2001 01:46:40 +0000", 200, 200),
        (b"yesterday", 200, 200),
        (b"", 200, 200),
        ([LATER, LATER], 200, 200),
        ([EARLIER, EARLIER], 200, 200),
    ],
)
def test_dates_count_in_seconds_and_invalid_ones_are_ignored(date, modified_since, unmodified_since):
    assert outcome(if_modified_since=date) == modified_since
    assert outcome(if_unmodified_since=date) == unmodified_since


def test_tags_go_before_dates_and_refusals_before_304():
    assert outcome(if_none_match=b'"a"', if_modified_since=LATER) == 200
    assert outcome(if_match=b'"k"', if_unmodified_since=EARLIER) == 200
    assert outcome(if_match=b'"k"', if_none_match=b'"k"') == 304
    assert outcome(if_match=b'"a"', if_none_match=b'"k"') == 412
    assert outcome(if_unmodified_since=EARLIER, if_none_match=b'"k"') == 412


def test_a_stream_that_can_grow_has_no_validators():
    assert validators_of(LIVE) == Validators()
    assert outcome(LIVE, if_none_match=b'"k"') == 200
    assert outcome(LIVE, if_modified_since=LATER) == 200
    assert outcome(LIVE, if_unmodified_since=EARLIER) == 200
    assert outcome(LIVE, if_match=b'"a"') == 412
    assert outcome(LIVE, if_match=b'"k"') == outcome(LIVE, if_match=b"*") == 200, "but its key"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([], True),
        (b'"k"', True),
        (DATE, True),
        (b"Sun Sep  9 01:46:40 2001", True),
        (b'W/"k"', False),
        (b'"a"', False),
        (b'"k", "a"', False),
        (b"*", False),
        (EARLIER, False),
        (LATER, False),
        (b"", False),
        ([b'"k"', b'"k"'], False),
    ],
)
def test_a_range_is_sent_only_of_exactly_these_bytes(value, wanted):
    assert range_is_wanted(Asked(if_range=value), validators_of(DONE)) is wanted
    assert range_is_wanted(Asked(if_range=value), Validators()) is (value == [])


def test_validators_as_headers():
    assert validators_of(DONE).headers == [(b"etag", b'"k"'), (b"last-modified", DATE)]
    assert Validators().headers == []


NAMES = ["if_match", "if_none_match", "if_modified_since", "if_unmodified_since", "if_range"]


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.binary(), max_size=2)))
def test_any_conditions_have_an_outcome(fields):
    assert outcome(**fields) in (200, 304, 412)
    range_is_wanted(Asked(**fields), validators_of(DONE))


@given(st.integers(0, 4_000_000_000), st.integers(-2, 2))
def test_every_date_that_is_sent_is_understood(end, shift):
    info = Info(key="k", id="a", epoch=1, state=State.ABORTED, ended=end + 0.5)
    date = formatdate(end + shift, usegmt=True).encode()
    assert outcome(info, if_modified_since=date) == (304 if shift >= 0 else 200)

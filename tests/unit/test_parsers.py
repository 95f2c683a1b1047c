"""Valid, odd and random input: each parser returns a value or raises a documented error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import BadRequest, PreconditionFailed, RangeNotSatisfiable
from loom.http.stream.conditions import NotModified, Validators, check_conditions, range_is_wanted
from loom.http.stream.lifetime import lifetime
from loom.http.stream.metadata import parse_metadata
from loom.http.stream.ranges import parse_range
from loom.http.stream.request_headers import Upload, idempotency_key, resume_window
from loom.ids import parse_id
from loom.model import Info, State
from loom.streams.ranges import Part
from loom.wire.fields import parse_boolean, parse_integer
from loom.wire.media import accepts_events
from loom.wire.sse import Decoder

VALUES = st.lists(st.binary(max_size=40), max_size=3)
NUMBERS = st.integers(0, 10**16)


class Fields:
    """Every header has these values."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values

    def all(self, name: bytes) -> list[bytes]:
        return self.values


def info(size: int, state: State = State.COMPLETE) -> Info:
    return Info(key="1-0", id="a", epoch=1, state=state, size=size)


@pytest.mark.parametrize("value", [b"?1", b" ?1 ", b"?1;a=1", b"?1 ; a", b"?1;"])
def test_a_boolean_may_have_spaces_and_parameters_around_it(value):
    assert parse_boolean("X", [value]) is True


@pytest.mark.parametrize("value", [b"", b"1", b"?2", b"?10", b"?1,?1", b"true", b"? 1", b"?1\t;", b"\xff"])
def test_an_invalid_boolean_is_refused(value):
    with pytest.raises(BadRequest, match="X must be"):
        parse_boolean("X", [value])


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"1e3", b"0x1", b"1" * 16, b"1 2", b"\xd9\xa3"])
def test_an_invalid_integer_is_refused(value):
    with pytest.raises(BadRequest, match="X must be"):
        parse_integer("X", [value])


@given(st.integers(0, 10**15 - 1))
def test_an_integer_is_parsed_as_written(number):
    assert parse_integer("X", [b"%d" % number]) == parse_integer("X", [b" %d;q=1" % number]) == number


def test_a_repeated_field_is_refused_and_an_absent_one_is_none():
    assert parse_boolean("X", []) is parse_integer("X", []) is None
    with pytest.raises(BadRequest):
        parse_integer("X", [b"1", b"1"])


@given(VALUES)
def test_any_headers_are_understood_or_refused_as_bad_requests(values):
    fields = Fields(values)
    for parse in (Upload.of, idempotency_key, resume_window, lambda given: lifetime(given, 0.0)):
        try:
            parse(fields)
        except BadRequest:
            pass
    try:
        parse_metadata(values, 4096)
    except BadRequest:
        pass
    accepts_events(values)


@given(VALUES, st.sampled_from([Validators(), Validators(b'"1-0"', 1000)]))
def test_any_conditions_hold_or_raise_the_documented_errors(values, validators):
    try:
        check_conditions(Fields(values), info(10), validators)
    except (PreconditionFailed, NotModified):
        pass
    assert range_is_wanted(Fields(values), validators) in (True, False)


SPECS = st.one_of(
    st.binary(max_size=30),
    st.text("0123456789-, \t=bytes", max_size=30).map(str.encode),
    st.tuples(NUMBERS, NUMBERS).map(lambda both: b"bytes=%d-%d" % both),
    NUMBERS.map(lambda last: b"bytes=-%d" % last),
)


@given(st.lists(SPECS, max_size=2), st.integers(0, 2**40), st.sampled_from(State), st.booleans())
def test_any_range_is_ignored_or_is_stored_bytes_or_is_not_satisfiable(values, size, state, tail):
    wish = parse_range(values)
    if wish is None:
        return
    try:
        part = wish.select(info(size, state), tail)
    except RangeNotSatisfiable:
        return
    assert isinstance(part, Part)
    assert 0 <= part.start <= size
    assert part.stop is None or part.start <= part.stop <= size


@given(st.binary(max_size=60))
def test_any_path_is_an_id_or_a_bad_request(raw):
    try:
        assert parse_id(raw)
    except BadRequest:
        pass


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_any_bytes_are_the_same_events_whole_and_in_pieces(pieces):
    decoder = Decoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == Decoder().feed(b"".join(pieces))

"""The pure parts of Durable Streams: offsets, cursors, JSON, the rules of producers, events."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import (
    BadRequest,
    Conflict,
    LoomError,
    ProducerFenced,
    SequenceGap,
    StreamFinal,
    TooLarge,
)
from loom.http.durable.events import Base64, Messages, Text
from loom.http.durable.framing import MOST_COMMAS, Array, array_size, lines_of
from loom.http.durable.positions import (
    CURSOR_INTERVAL,
    CURSORS_BEGIN,
    FURTHEST,
    NOW,
    format_offset,
    next_cursor,
    parse_offset,
)
from loom.http.durable.requests import append_of, content_type_of, lifetime
from loom.model import DEFAULT_CONTENT_TYPE, Info, State
from loom.streams.ledger import MAX_LEDGER, ORDER, Append, Producer, judge
from loom.wire.sse import Decoder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=20,
)


def info(state: State = State.OPEN, **fields: int) -> Info:
    return Info(key="1-a", id="a", epoch=0, state=state, **fields)  # type: ignore[arg-type]


class Headers:
    """The headers of a request."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}

    def all(self, name: bytes) -> list[bytes]:
        return [self._headers[name]] if name in self._headers else []


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_offsets_sort_like_the_bytes_they_stand_for(one: int, other: int):
    assert (format_offset(one) < format_offset(other)) == (one < other)
    assert parse_offset(format_offset(one)) == one


def test_the_start_and_the_end_have_names():
    assert (parse_offset("-1"), parse_offset("now")) == (0, NOW)


@pytest.mark.parametrize(
    "text", ["", "0", "1_0", "0_", "0_-1", "0_1,", "0 1", "NOW", "0_0_0", "0_" + 17 * "1", "0_٣"]
)
def test_anything_else_is_no_offset(text: str):
    with pytest.raises(BadRequest):
        parse_offset(text)


def test_a_cursor_counts_intervals():
    assert next_cursor("", CURSORS_BEGIN + 10 * CURSOR_INTERVAL) == "10"


@pytest.mark.parametrize("given", ["9", "x", "-1", "1" * 19])
def test_an_old_or_foreign_cursor_is_replaced(given: str):
    assert next_cursor(given, CURSORS_BEGIN + 10 * CURSOR_INTERVAL) == "10"


@pytest.mark.parametrize("given", [10, 11, 10**17])
def test_a_cursor_never_stays_or_goes_back(given: int):
    moved = int(next_cursor(str(given), CURSORS_BEGIN + 10 * CURSOR_INTERVAL))
    assert given < moved <= given + FURTHEST


@given(st.lists(JSON))
def test_the_elements_of_an_array_are_the_messages(values):
    body = json.dumps(values).encode()
    lines = lines_of(body)
    assert [json.loads(line) for line in lines.splitlines()] == values
    array = Array()
    text = array.feed(lines) + array.end() if lines else Array().end()
    assert json.loads(text) == values
    assert len(text) == array_size(len(lines))


@given(JSON.filter(lambda value: not isinstance(value, list)), st.integers(0, 3))
def test_any_other_value_is_one_message_on_one_line(value, indent):
    lines = lines_of(json.dumps(value, indent=indent).encode())
    assert lines.count(b"\n") == 1
    assert json.loads(lines) == value


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b' [ 1.0e5 ,\r\n{"b":1, "a" :2}\t]', b'1.0e5\n{"b":1, "a" :2}\n'),
        (b'{"a":\n[1,\n2]}', b'{"a": [1, 2]}\n'),
        (b"[[1,2],[3]]", b"[1,2]\n[3]\n"),
        (b"[ ]", b""),
        (b"[" + 30 * b"9" + b"]", 30 * b"9" + b"\n"),
        (
            b'["\\u00e9", "\\ud83d", "\\\\ud83d", "\\ud83d\\ude00"]',
            b'"\\u00e9"\n"\\ud83d"\n"\\\\ud83d"\n"\\ud83d\\ude00"\n',
        ),
        (b'"\\uDE00"', b'"\\uDE00"\n'),
    ],
)
def test_messages_are_stored_as_they_were_written(body: bytes, lines: bytes):
    assert lines_of(body) == lines


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"x", b"[1,]", b"[1", b"{", b"1 2", b"NaN", b"01", b"[1][2]", b'{"a":1,}', b"\xef\xbb\xbf1"),
        *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"a\nb"', b'["a\rb"]', b'"\\x"', b'"\\u12"', b"\n"),
        100_000 * b"[" + 100_000 * b"]",
    ],
)
def test_what_is_not_json_is_refused(body: bytes):
    with pytest.raises(BadRequest):
        lines_of(body)


def test_an_array_that_would_take_much_memory_is_refused():
    tracemalloc.start()
    with pytest.raises(TooLarge):
        lines_of(b"[" + MOST_COMMAS * b"0," + b"0,0]")
    # Nested values take none: they are not decoded.
    lines_of(b"[[" + (MOST_COMMAS - 1) * b"[]," + b"0]]")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 << 20


@given(st.lists(st.binary(max_size=3)))
def test_an_array_does_not_depend_on_how_its_lines_are_cut(cuts):
    lines = b'{"a":1}\n2\n"x,y"\n'
    array, text, at = Array(), b"", 0
    for cut in cuts:
        text += array.feed(lines[at : at + len(cut)])
        at += len(cut)
    assert text + array.feed(lines[at:]) + array.end() == b'[{"a":1},2,"x,y"]'


PRODUCER = Producer("p", 0, 0)


@pytest.mark.parametrize(
    ("entry", "producer", "stored"),
    [
        (None, (0, 0), "0 0"),
        (None, (7, 0), "7 0"),
        ("0 0", (0, 1), "0 1"),
        ("0 5", (1, 0), "1 0"),
        ("2 5", (2, 6), "2 6"),
    ],
)
def test_the_next_append_of_a_producer_is_accepted(entry, producer, stored):
    append = Append(Producer("p", *producer))
    verdict = judge(append, info(), {} if entry is None else {"producer:p": entry})
    assert (verdict.repeat, verdict.number, verdict.entries) == (False, producer[1], {"producer:p": stored})
    assert append.names == ["producer:p"]


@pytest.mark.parametrize("number", [0, 4, 5])
@pytest.mark.parametrize("state", [State.OPEN, State.COMPLETE, State.ABORTED])
def test_a_repeat_is_recognised_even_after_the_end(number: int, state: State):
    verdict = judge(
        Append(Producer("p", 2, number), order="0"), info(state), {"producer:p": "2 5", ORDER: "9"}
    )
    assert (verdict.repeat, verdict.number, verdict.entries) == (True, 5, {})


@pytest.mark.parametrize(
    ("entry", "producer", "error"),
    [
        (None, (0, 1), SequenceGap),
        ("2 5", (2, 7), SequenceGap),
        ("2 5", (1, 6), ProducerFenced),
        ("2 5", (1, 0), ProducerFenced),
        ("2 5", (3, 1), BadRequest),
    ],
)
def test_an_append_out_of_order_is_refused(entry, producer, error: type[LoomError]):
    with pytest.raises(error):
        judge(Append(Producer("p", *producer)), info(), {} if entry is None else {"producer:p": entry})


def test_a_gap_says_what_is_missing():
    with pytest.raises(SequenceGap) as raised:
        judge(Append(Producer("p", 0, 9)), info(), {"producer:p": "0 3"})
    assert (raised.value.expected, raised.value.received) == (4, 9)


@pytest.mark.parametrize("order", ["5", "10", "4z", ""])
def test_stream_seq_must_rise_byte_by_byte(order: str):
    with pytest.raises(Conflict):
        judge(Append(order=order), info(), {ORDER: "5"})


def test_stream_seq_is_remembered_with_the_producer():
    verdict = judge(Append(PRODUCER, order="51"), info(), {ORDER: "5"})
    assert verdict.entries == {"producer:p": "0 0", ORDER: "51"}


@pytest.mark.parametrize("state", [State.COMPLETE, State.ABORTED])
@pytest.mark.parametrize(
    "append", [Append(), Append(PRODUCER), Append(PRODUCER, close=True), Append(order="1")]
)
def test_nothing_new_is_accepted_after_the_end(state: State, append: Append):
    with pytest.raises(StreamFinal):
        judge(append, info(state), {})


def test_a_stream_may_be_closed_again_but_not_one_that_was_aborted():
    assert judge(Append(close=True), info(State.COMPLETE), {}, empty=True).repeat
    for state, empty in ((State.COMPLETE, False), (State.ABORTED, True)):
        with pytest.raises(StreamFinal):
            judge(Append(close=True), info(state), {}, empty=empty)


def test_a_full_ledger_takes_no_new_producer_but_knows_the_old_ones():
    full = info(ledger=MAX_LEDGER)
    with pytest.raises(Conflict, match="too many producers"):
        judge(Append(PRODUCER), full, {})
    assert not judge(Append(Producer("p", 0, 1)), full, {"producer:p": "0 0"}).repeat


@pytest.mark.parametrize(
    "headers",
    [
        {"producer_id": "p"},
        {"producer_id": "p", "producer_epoch": "0"},
        {"producer_epoch": "0", "producer_seq": "0"},
        {"producer_id": "", "producer_epoch": "0", "producer_seq": "0"},
        {"producer_id": 256 * "p", "producer_epoch": "0", "producer_seq": "0"},
        *(
            {"producer_id": "p", "producer_epoch": text, "producer_seq": "0"}
            for text in ("-1", "1.0", "x", "", "1e3")
        ),
        {"producer_id": "p", "producer_epoch": "0", "producer_seq": str(2**53)},
        {"stream_seq": 256 * "1"},
    ],
)
def test_malformed_headers_of_an_append_are_refused(headers: dict[str, str]):
    with pytest.raises(BadRequest):
        append_of(Headers(**headers))


@pytest.mark.parametrize("ttl", ["", "-1", "+1", "01", "1.0", "1e3", " ", "9999999999999", "x"])
def test_a_malformed_lifetime_is_refused(ttl: str):
    with pytest.raises(BadRequest):
        lifetime(Headers(stream_ttl=ttl))


def test_a_lifetime_is_one_of_two():
    assert lifetime(Headers(stream_ttl="60")) == (60, None)
    assert lifetime(Headers(stream_expires_at="1970-01-01T00:01:00+00:00")) == (None, 60)
    with pytest.raises(BadRequest):
        lifetime(Headers(stream_ttl="60", stream_expires_at="2027-01-31T12:00:00Z"))


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/vnd.x+json", "application/vnd.x+json"),
        *((text, DEFAULT_CONTENT_TYPE) for text in ("", "text", "text/", "/x", "a b/c", 300 * "a" + "/b")),
    ],
)
def test_a_content_type_that_is_none_is_replaced(sent: str, stored: str):
    assert content_type_of(Headers(content_type=sent)) == stored


def decoded(events: bytes) -> list[str]:
    found = Decoder().feed(events)
    assert {event.name for event in found} <= {"data"}
    return [event.data for event in found]


def test_text_in_events_is_cut_between_characters():
    form, text = Text(), "né\n d\r\n\ne".encode()
    events = b"".join(form.feed(text[at : at + 1]) for at in range(len(text)))
    assert "".join(decoded(events)) == "né\n d\n\n\ne"
    assert form.feed("é".encode()[:1]) == b""
    assert form.held == 1
    assert decoded(form.rest()) == ["�"]


def test_a_message_that_arrives_in_pieces_is_one_event():
    form = Messages()
    events = form.feed(b'{"a":') + form.feed(b"1}")
    assert (form.inside, form.held) == (True, 0)
    events += form.feed(b"\n2\n")
    assert (form.inside, form.held) == (False, 0)
    assert decoded(events + form.feed(b"3\n")) == ['[{"a":1},2]', "[3]"]


def test_bytes_are_sent_in_base64():
    assert decoded(Base64().feed(bytes(3))) == ["AAAA"]

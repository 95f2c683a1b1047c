"""Server-Sent Events, encoded and decoded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.wire.sse import HEARTBEAT, Decoder, Event, encode, encode_retry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1)
WORDS = WORD.filter(lambda word: not word.startswith(" "))


def decoded(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@given(st.lists(st.tuples(TEXT, WORDS, WORDS)), st.sampled_from(["\n", "\r", "\r\n"]), st.integers(1, 7))
def test_encoded_events_are_decoded_in_any_pieces_with_any_line_ends(events, end, size):
    text = b"".join(encode(data, name=name, id=id) + HEARTBEAT for data, name, id in events)
    text = text.replace(b"\n", end.encode()) + b"data: trailing"
    expected = [Event(data.replace("\r\n", "\n").replace("\r", "\n"), name, id) for data, name, id in events]
    assert decoded(text) == expected
    assert decoded(*(text[at : at + size] for at in range(0, len(text), size))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"data\n\n", [Event("")]),
        (b"data:\ndata\n\n", [Event("\n")]),
        (b"data:a\n\ndata: b\n\ndata:  c\n\n", [Event("a"), Event("b"), Event(" c")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("a")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"id: 1\n\ndata: a\n\n", [Event("a", id="1")]),
        (
            b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
            [Event("a", id="1"), Event("b", id="1"), Event("c")],
        ),
        (b"id: 1\nid: 2\0\ndata: a\n\n", [Event("a", id="1")]),
        (b"event: x\n\ndata: a\n\n", [Event("a")]),
        (b"event: x\ndata: a\n\n", [Event("a", "x")]),
        (b": comment\nunknown: x\n data: b\ndata: a\n\n", [Event("a")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [Event("a"), Event("b"), Event("c")]),
        (b"data: \xff\n\n", [Event("\ufffd")]),
    ],
)
def test_events_are_read_as_browsers_read_them(text, expected):
    assert decoded(text) == expected
    assert decoded(*(bytes([byte]) for byte in text)) == expected


def test_retry_is_taken_only_if_it_is_digits():
    decoder = Decoder()
    assert decoder.feed(encode_retry(1500) + b"retry: -1\n\nretry: 2s\n\nretry: \xd9\xa3\n\n") == []
    assert decoder.retry == 1500

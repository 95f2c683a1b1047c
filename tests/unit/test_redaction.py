"""Secrets are redacted in place, however the bytes are split."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.model import Info, State
from loom.patterns import check_pattern
from loom.streams.redaction import LINE, MATCH, REMEMBERED, Redactions, Redactor, Rule, Secrets

PATTERNS = ["ab+a", "(?i)key=[a-b]+", "^b[^a]", "b$", "aé."]
LITERALS = ["abba baab", "a.b*"]
TEXT = st.text("abé\n =keyK\r", max_size=60).map(str.encode)


def secrets(literals: list[str] = LITERALS, patterns: list[str] = PATTERNS) -> Secrets:
    return Secrets([Rule(lambda _: True, literals, patterns)])


SECRETS = secrets()


def whole(data: bytes) -> bytes:
    """Redact each line by itself."""
    return b"".join(SECRETS.hide(line) for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", data))


def pieces(data: bytes, draw: st.DataObject) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = draw.draw(st.integers(1, len(data) - at))
        found.append(data[at : at + size])
        at += size
    return found


@given(TEXT, st.data())
def test_every_split_gives_the_same_and_keeps_the_length(data, draw):
    redactor = Redactor(SECRETS, whole=True)
    out = b"".join(redactor.feed(piece) for piece in pieces(data, draw))
    assert data[len(out) :] == data[len(data) - redactor.held :]
    assert b"\n" not in data[len(out) :], "the end of a line is never held"
    rest = redactor.release()
    expected = whole(data)
    cut = SECRETS.cut(data)
    assert out + rest == expected[: len(data) - cut] + b"*" * cut
    assert redactor.faithful == (out + rest == data)


@given(TEXT, st.data())
def test_after_pauses_the_length_is_kept_and_no_more_is_shown_than_before_the_pause(data, draw):
    redactor, out, expected = Redactor(SECRETS, whole=True), b"", whole(data)
    shown = 0
    for piece in pieces(data, draw):
        out += redactor.feed(piece)
        if draw.draw(st.booleans()):
            out += redactor.release()
            shown = len(out)
    out += redactor.release()
    assert len(out) == len(data)
    for at, byte in enumerate(expected):
        if byte == ord("*") and at >= shown:
            assert out[at] == byte, "what comes after a pause is redacted though its beginning was shown"


@pytest.mark.parametrize("size", [1, 7, 1000, LINE - 1, LINE, LINE + 1, 10 * LINE])
def test_a_long_line_is_redacted_the_same_in_all_chunk_sizes(size):
    secret = b"key=" + b"a" * (MATCH - 4)
    data = (b"." * 5000 + secret) * 40
    redactor = Redactor(SECRETS, whole=True)
    if size == 1:
        data = data[: LINE + 2 * MATCH]
    out = b"".join(redactor.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert redactor.held <= LINE
    assert out + redactor.release() == SECRETS.hide(data)


def test_a_literal_sent_in_single_bytes_with_pauses_shows_three_of_them():
    redactor = Redactor(secrets(["hunter2-secret"], []), whole=True)
    shown = b"".join(redactor.feed(bytes([byte])) + redactor.release() for byte in b"x hunter2-secret y")
    assert shown == b"x hun*********** y"


@pytest.mark.parametrize(
    "form", ["it's $ecret", "'it'\"'\"'s $ecret'", '"it\'s \\$ecret"', "it\\'s\\ \\$ecret"]
)
def test_literals_are_found_in_the_forms_of_a_shell(form):
    text = f"+ echo {form}\n".encode()
    hidden = secrets(["it's $ecret"], []).hide(text)
    assert b"ecret" not in hidden
    assert len(hidden) == len(text)


def test_a_literal_of_several_lines_is_redacted_line_by_line():
    hidden = secrets(["first line\nsecond line\nab"], []).hide(b"first line\nsecond line\nab\n")
    assert hidden == b"**********\n***********\nab\n"


def test_bytes_that_are_no_text_pass_and_secrets_among_them_are_found():
    data = bytes(range(256)) * 3 + b"abba baab" + bytes(range(128, 256))
    hidden = secrets(LITERALS, []).hide(data)
    assert hidden == data.replace(b"abba baab", b"*" * 9)


def test_strings_in_metadata_are_redacted_and_numbers_stay_as_written():
    text = '{"command": ["x", "--key=abab \\u00e9"], "n": 1.50e3, "line\\n_reak": "no\\n\\"abba baab\\""}'
    hidden = SECRETS.metadata(text)
    assert json.loads(hidden) == {
        "command": ["x", "--******** é"],
        "n": 1500.0,
        "line\n_reak": 'no\n"*********"',
    }
    assert '"n": 1.50e3' in hidden
    assert SECRETS.metadata('{"plain": "text"}') == '{"plain": "text"}'


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "closing parenthesis"),
        (")", "without a group"),
        (")(", "without a group"),
        (r"(a)\1", "back-reference"),
        ("(?=a)b", "look-around"),
        ("a*", "empty text"),
        ("^", "empty text"),
        (r"\Aa", "whole text"),
        (r"a\z", "whole text"),
        ("(?-m:^a)", "whole text"),
        ("(?:a{1000}){1000}", "too often"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_expressions_that_cannot_be_used_are_refused(pattern, reason):
    with pytest.raises(ValueError, match=reason):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["a", r"\\Ab", "^a$", r"password=\S+", "é+"])
def test_other_expressions_are_taken(pattern):
    check_pattern(pattern)


def info(size: int = 0, key: str = "1-x") -> Info:
    return Info(key=key, id="build/1", epoch=1, state=State.OPEN, size=size)


def test_rules_apply_to_their_prefix_and_add_up():
    redactions = Redactions(
        [
            Rule(lambda id: id.startswith("build"), ["first secret"]),
            Rule(lambda id: id.endswith("/1"), [], ["second+"]),
        ]
    )
    text = b"first secret, seconddd\n"
    assert redactions.redactor(info()).feed(text) == b"************, ********\n"  # type: ignore[union-attr]
    assert redactions.secrets("build/2").hide(text) == b"************, seconddd\n"  # type: ignore[union-attr]
    assert redactions.secrets("other") is None
    assert redactions.metadata("other", '"first secret"') == '"first secret"'


def test_streams_that_wait_for_a_producer_cost_little_memory():
    redactions = Redactions([Rule(lambda _: True, ["hunter2-secret"])])
    waiting = []
    for number in range(REMEMBERED + 100):
        redactor = redactions.redactor(info(key=f"{number:x}-x"))
        assert redactor is not None
        redactor.feed(b"." * (LINE - 10 if number % 64 == 0 else 10) + b"hunter2-")
        size = redactor.held
        redactor.release()
        redactions.keep(f"{number:x}-x", size, redactor)
        waiting.append((number, size))
    kept = [
        redactions.redactor(info(size, f"{number:x}-x")).feed(b"secret\n")  # type: ignore[union-attr]
        for number, size in (waiting[0], waiting[-1])
    ]
    assert kept == [b"secret\n", b"******\n"], "the oldest is forgotten"
    assert all(len(each._line) <= MATCH for _, each in redactions._waiting.values())


def test_the_next_producer_continues_within_a_line_at_the_same_offset_only():
    redactions = Redactions([Rule(lambda _: True, ["hunter2-secret"])])
    first = redactions.redactor(info())
    assert first is not None
    assert first.feed(b"hunter2-") + first.release() == b"*" * 8
    redactions.keep("1-x", 8, first)
    assert redactions.redactor(info(8)).feed(b"secret\n") == b"******\n"  # type: ignore[union-attr]
    redactions.keep("1-x", 8, first)
    other = redactions.redactor(info(9))
    assert other is not first
    assert other is not None
    assert not other.faithful

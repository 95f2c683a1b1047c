"""Which bytes of a stream may reach a terminal."""

import pytest

from loom.cli.terminal import Shown, is_binary, printable

PASSES = [
    b"plain\n\ttabs\r\n",
    b"\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[m",
    b"50%\r\x1b[K51%\b",
    "Grüße, 日本 🎉".encode(),
]
SHOWN = [
    (b"\x1b]0;title\x07", b"^[]0;title^G"),
    (b"\x1b]52;c;aGk=\x1b\\", b"^[]52;c;aGk=^[\\"),
    (b"\x1b[2J\x1b[H\x1b[1A", b"^[[2J^[[H^[[1A"),
    (b"\x1bP+q\x1b\\ \x1bc", b"^[P+q^[\\ ^[c"),
    ("\x9b2J\x90".encode(), b"<9B>2J<90>"),
    ("a\u202eb".encode(), b"a<202E>b"),
    (b"\x7f\0\x0b", b"^?^@^K"),
    (b"\xff\xfe", "\ufffd\ufffd".encode()),
    (b"\x1b[31", b"^[[31"),
    (b"\x1b[" + b"1;" * 50 + b"m", b"^[[" + b"1;" * 50 + b"m"),
]


def whole(data, size):
    shown = Shown()
    pieces = [shown.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*pieces, shown.rest()])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "expected"), [*((each, each) for each in PASSES), *SHOWN])
def test_colours_and_progress_bars_pass_and_other_controls_are_shown(data, expected, size):
    assert whole(data, size) == expected


def test_only_an_incomplete_sequence_is_held():
    shown = Shown()
    assert shown.feed(b"prompt> \x1b[3") == b"prompt> "
    assert shown.feed(b"1mred") == b"\x1b[31mred"


def test_names_stay_on_one_line():
    assert printable("a\nb\x1b[2J\u202eé") == r"a\nb\x1b[2J\u202eé"


@pytest.mark.parametrize(
    ("data", "binary"),
    [(b"text\n", False), ("é".encode()[:1], False), (b"a\0b", True), (b"\xff\xd8 jpeg", True)],
)
def test_binary_is_recognised_by_its_bytes(data, binary):
    assert is_binary(data) is binary

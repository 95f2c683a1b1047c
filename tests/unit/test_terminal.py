"""Which bytes of a stream may reach a terminal."""

import pyte
import pytest

from loom.cli.terminal import Screen, is_binary, one_line, printable

PASSES = [
    b"plain\n\ttabs\r\n",
    b"\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mtrue\x1b[m",
    b"50%\r\x1b[K51%\b\x1b[1G\x1b[2K\x1b[10C\x1b[D\x1b[3X\x1b[P\x1b[0J",
    "Grüße, 日本 🎉".encode(),
    b"1\n2\n\x1b[2A\x1b[Knew\n\x1b[1Bend",
]
CHANGED = [
    # Left out: titles, the clipboard, links, the screen, modes, character sets.
    (b"a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c", b"abc"),
    (b"\x1b]8;;http://a/\x1b\\link\x1b]8;;\x1b\\", b"link"),
    (b"\x1b[2J\x1b[H\x1b[1J\x1b[5;5H\x1b[2d\x1b[?25l\x1b[?1049h\x1b[>c\x1b[ q", b""),
    (b"\x1bP+q\x1b\\ \x1bc\x1b7\x1b8\x1bM\x1b(B\x0f", b" "),
    (b"\x1b[99999C\x1b[1;2K\x1b[?1m", b""),
    # Up and down only within the lines of the stream.
    (b"\x1b[Ahi\x1b[3F", b"hi\r"),
    (b"1\n2\n\x1b[5Aup\x1b[9Bdown\x1b[B\x1b[2F", b"1\n2\n\x1b[2Aup\x1b[2Bdown\x1b[2F"),
    # Shown: what is not a whole sequence, and other controls.
    (b"\x1b]0;title\nnext", b"^[]0;title\nnext"),
    ("\x9b2J\x90".encode(), b"<9B>2J<90>"),
    ("a\u202eb".encode(), b"a<202E>b"),
    (b"\x7f\0\x0b\x07", b"^?^@^K^G"),
    (b"\xff\xfe", "\ufffd\ufffd".encode()),
    (b"\x1b[31", b"^[[31"),
    (b"\x1b", b"^["),
    # Colours end with the stream.
    (b"\x1b[31mred", b"\x1b[31mred\x1b[0m"),
]


def whole(data, size):
    screen = Screen()
    pieces = [screen.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*pieces, screen.rest()])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "expected"), [*((each, each) for each in PASSES), *CHANGED])
def test_colours_and_progress_bars_pass_and_nothing_else(data, expected, size):
    assert whole(data, size) == expected


def test_only_an_incomplete_sequence_is_held():
    screen = Screen()
    assert screen.feed(b"prompt> \x1b[3") == b"prompt> "
    assert screen.feed(b"1mred") == b"\x1b[31mred"
    assert screen.feed(b"\x1b]0;" + b"x" * 5000).startswith(b"^[]0;x")


def test_a_stream_that_shares_the_screen_does_not_move_up():
    screen = Screen(shared=True)
    assert screen.feed(b"1\n2\n\x1b[2A\x1b[F\x1b[1G3") == b"1\n2\n\r\x1b[1G3"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain\r\n", "plain"),
        ("10%\r100%\r\n", "100%"),
        ("100%\r99%", "99%%"),
        ("100%\r\x1b[K99%", "99%"),
        ("ab\b\bc\x1b[2Gd", "cd"),
        ("abc\x1b[1Gx\x1b[2Cy\x1b[9Dz", "zbcy"),
        ("abcdef\x1b[3G\x1b[2X", "ab  ef"),
        ("abcdef\x1b[3G\x1b[2P", "abef"),
        ("abc\x1b[1K", "   " + " "),
        ("\x1b[31mred\x1b[0m plain", "\x1b[31mred\x1b[0m plain"),
        ("\x1b[31mred\r\x1b[32mg", "\x1b[31m\x1b[32mg\x1b[0m\x1b[31med\x1b[0m"),
        ("\x1b]0;t\x07\x1b[2Ax\x1b[?25l\x1b[2J", "x"),
        ("\x1b[5Gx", "    x"),
        ("\x1b[999999999999Gx\x1b[999999999999D", " " * 9999 + "x"),
        ("\x1b[1m" * 1000 + "x", None),
        ("a\0\x1b[3", "a^@^[[3"),
    ],
)
def test_a_line_is_what_a_terminal_shows_in_the_end(line, shown):
    got = one_line(line)
    assert got == shown if shown is not None else len(got) < 1000


PROGRESS = [
    b"\x1b[?25l\xe2\xa0\x99\x1b[1G\x1b[0K\xe2\xa0\xb9\x1b[1G\x1b[0Kadded 57 packages in 2s\x1b[?25h\n",
    b"step 1 10%\nstep 2 0%\n\x1b[2A\x1b[Kstep 1 done\n\x1b[Kstep 2 50%\n\x1b[1F\x1b[0Jstep 2 done\n",
    b"  5% |#    |\r100% |#####|\n\x1b[32mok\x1b[39m\n",
    b"\x1b]0;make\x07\x1b]8;;http://a/\x07link\x1b]8;;\x07\n",
]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("data", PROGRESS)
def test_a_terminal_shows_what_it_shows_of_the_unchanged_bytes_and_keeps_what_was_there(data, size):
    """Of progress bars that stay within their own lines, an emulated terminal shows the same."""

    def display(output):
        emulator = pyte.Screen(40, 12)
        pyte.ByteStream(emulator).feed(b"$ loom cat a\r\n" + output.replace(b"\n", b"\r\n"))
        return [line.rstrip() for line in emulator.display], emulator.title

    lines, title = display(whole(data, size))
    assert lines == display(data)[0]
    assert lines[0] == "$ loom cat a"
    assert title == ""


def test_no_sequence_reaches_what_was_on_the_screen_before():
    hostile = b"\x1b[9A\x1b[2Jx\n\x1b[H\x1b[1;1fy\x1b[9F\x1b[1J\x1b8\x1bM\x1b[Az\x1b[?1049h\x1bcw"
    emulator = pyte.Screen(40, 12)
    pyte.ByteStream(emulator).feed(
        b"secret\r\n$ loom cat a\r\n" + whole(hostile, 1000).replace(b"\n", b"\r\n")
    )
    assert [line.rstrip() for line in emulator.display[:2]] == ["secret", "$ loom cat a"]


def test_names_stay_on_one_line():
    assert printable("a\nb\x1b[2J\u202eé") == r"a\nb\x1b[2J\u202eé"


@pytest.mark.parametrize(
    ("data", "binary"),
    [(b"text\n", False), ("é".encode()[:1], False), (b"a\0b", True), (b"\xff\xd8 jpeg", True)],
)
def test_binary_is_recognised_by_its_bytes(data, binary):
    assert is_binary(data) is binary

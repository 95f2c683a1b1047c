"""The scanner against a model: the lines of the whole text, each matched alone by Python's `re`."""

import random
import re
from collections.abc import Iterator

import pytest

from loom.patterns import InvalidPattern, compile_pattern
from loom.streams.grep.query import MAX_CONTEXT, Query
from loom.streams.grep.scanner import FULL, LONG, SHOWN, Scanner, State
from loom.streams.ranges import MAX
from loom.wire.matches import FoundLine, decode


def scan(
    query: Query, pieces: list[bytes], state: State | None = None, *, last: bool = True
) -> tuple[list[FoundLine], State]:
    """Feed pieces to a scanner, with a new one after each pause and each piece, as workers do."""
    state = state or State()
    output = bytearray()

    def feed(data: bytes, *, last: bool = False) -> bool:
        while True:
            scanner = Scanner(query, state)
            went_on = scanner.feed(data, last=last)
            output.extend(scanner.output)
            if went_on or scanner.done:
                return scanner.done
            data = b""

    if not any(feed(piece) for piece in pieces) and last:
        feed(b"", last=True)
    lines = [decode(line) for line in bytes(output).splitlines()]
    assert all(isinstance(line, FoundLine) for line in lines)
    return [line for line in lines if isinstance(line, FoundLine)], state


def model(query: Query, text: bytes) -> Iterator[tuple[int, int, bool, str]]:
    """Yield number, offset, whether it is context, and text of each line to show."""
    flags = re.ASCII | (re.IGNORECASE if query.ignore_case else 0)
    lines, offset = [], 0
    for line in text.split(b"\n")[: None if not text.endswith(b"\n") and text else -1]:
        lines.append((offset, line.removesuffix(b"\r").decode()))
        offset += len(line) + 1
    found = [at for at, (_, line) in enumerate(lines) if re.search(query.pattern, line, flags)]
    found = found[: query.limit]
    shown = {
        each
        for at in found
        for each in range(max(0, at - query.before), min(len(lines), at + query.after + 1))
    }
    for at in sorted(shown):
        yield at + 1, lines[at][0], at not in found, lines[at][1]


def cut(text: bytes, chance: random.Random) -> list[bytes]:
    """Cut the text into random pieces, most of them short."""
    pieces, at = [], 0
    while at < len(text):
        size = chance.choice([1, 2, 7, 30, 200])
        pieces.append(text[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("seed", range(25))
def test_finds_what_a_search_of_each_line_finds_however_the_bytes_arrive(seed: int) -> None:
    chance = random.Random(seed)
    end = chance.choice(["\n", "\r\n"])
    words = ["ab", "b", "error", "Error: é", "", "x y", "\tfoo", "bar\rbaz", " "]
    chars = "".join("".join(chance.choices(words, k=chance.randint(0, 3))) + end for _ in range(25))
    text = (chars + chance.choice(["", "error", "b"])).encode()
    for pattern in ("error", "^b", "b$", "^$", "a|é", "[^a]b", r"\s", "", "r{2}", r"^.$", "(?i)ERR", r"\bx"):
        query = Query(
            pattern,
            ignore_case=chance.random() < 0.3,
            before=chance.choice([0, 0, 1, 3]),
            after=chance.choice([0, 0, 1, 3]),
            limit=chance.choice([MAX, MAX, 1, 4]),
        )
        lines, _ = scan(query, cut(text, chance))
        assert [(each.line, each.offset, each.context, each.text) for each in lines] == list(
            model(query, text)
        ), query


def test_shows_which_characters_match() -> None:
    lines, _ = scan(Query("é+x"), ["aéx ééx é\n".encode()])
    assert [each.spans for each in lines] == [((1, 3), (4, 7))]


def test_bytes_that_are_not_text_are_shown_with_replacement_characters() -> None:
    lines, _ = scan(Query("key"), [b"\xff\x00 key\xfe\n"])
    assert lines[0].text == "�\0 key�"
    assert lines[0].spans == ((3, 6),)


def test_continues_after_its_limit_with_the_next_line() -> None:
    text = b"".join(b"hit %d\nmiss\n" % number for number in range(20))
    found, start, line = [], 0, 1
    for _ in range(20):
        query = Query("hit", limit=1, after=1)
        lines, state = scan(query, [text[start:]], State(offset=start, start=start, line=line), last=False)
        found += [each.text for each in lines if not each.context]
        start = Scanner(query, state).next
        line = 1 + text.count(b"\n", 0, start)
    assert found == [f"hit {number}" for number in range(20)]


def test_counts_the_lines_before_its_start_without_searching_them() -> None:
    text = b"hit\nhit\nno\nhit\nhit\n"
    lines, _ = scan(Query("hit", before=2), cut(text, random.Random(1)), State(start=8, skip=1))
    assert [(each.line, each.offset) for each in lines] == [(4, 11), (5, 15)]


def test_a_match_in_a_long_line_is_found_wherever_the_parts_meet() -> None:
    word = b"needle" * 100
    for at in (0, 10, LONG - 300, LONG, LONG * 2 - 300, LONG * 3 - 300, LONG * 3 + 17):
        text = b"first\n" + b"z" * at + word + b"z" * (LONG * 4 - at) + b"\nlast needle\n"
        pieces = [text[begin : begin + LONG] for begin in range(0, len(text), LONG)]
        lines, _ = scan(Query("(needle){100}", before=1, after=1), pieces)
        assert [(each.line, each.offset, each.context, each.cut) for each in lines] == [
            (1, 0, True, False),
            (2, 6, False, True),
            (3, len(text) - 12, True, False),
        ], at
        assert len(lines[1].text) <= SHOWN
        assert lines[1].at is not None
        assert text[lines[1].at :].startswith(lines[1].text.encode())
        assert lines[1].spans, at


def test_a_long_line_is_context_and_its_ends_are_those_of_the_line() -> None:
    long = b"y" * (LONG * 2 + 5)
    text = b"hit\n" + long + b"\nhit\n"
    pieces = [text[begin : begin + 1000] for begin in range(0, len(text), 1000)]
    lines, _ = scan(Query("hit", after=1, before=1), pieces)
    assert [(each.line, each.context, each.cut) for each in lines] == [
        (1, False, False),
        (2, True, True),
        (3, False, False),
    ]
    assert [each.line for each in scan(Query("^y"), pieces)[0]] == [2]
    assert [each.line for each in scan(Query("y$"), pieces)[0]] == [2]
    assert [each.line for each in scan(Query("^y+$"), pieces)[0]] == []  # longer than the overlap


def test_a_line_of_any_length_holds_bounded_memory() -> None:
    state = State()
    for _ in range(200):
        scan(Query("x", before=MAX_CONTEXT), [bytes(LONG)], state, last=False)
        assert len(state.buffer) <= LONG * 2
    lines, state = scan(Query("x"), [b"x"], state)
    assert [(each.line, each.offset) for each in lines] == [(1, 0)]
    assert lines[0].text.endswith("x")


def test_pauses_once_its_output_is_large() -> None:
    state = State()
    scanner = Scanner(Query("."), state)
    assert not scanner.feed(b"0123456789\n" * 100_000)
    assert FULL <= len(scanner.output) <= FULL + 1000
    lines, _ = scan(Query("."), [], state)
    first = len(bytes(scanner.output).splitlines())
    assert lines[0].line == first + 1
    assert first + len(lines) == 100_000


def test_the_begin_of_the_text_is_that_of_the_search_and_its_end_that_of_the_stream() -> None:
    text = b"ab\nab\nab"
    for pieces in ([text], cut(text, random.Random(3))):
        assert [each.line for each in scan(Query(r"\Aab"), pieces)[0]] == [1]
        assert [each.line for each in scan(Query(r"ab\z"), pieces)[0]] == [3]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "parenthesis"),
        (")(", "parenthesis"),
        ("a)|(b", "parenthesis"),
        ("[z-a]", "range"),
        ("*", "repeats nothing"),
        (r"(a)\1", "back-reference"),
        ("(?=a)", "look-around"),
        ("a{1001}", "too often"),
        (r"(\pL+\s?){100}", "too large"),
        ("((a{100}){100}){100}", "too often"),
        ("\udcff", "UTF-8"),
    ],
)
def test_says_in_its_own_words_why_a_pattern_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(InvalidPattern, match=why):
        compile_pattern(pattern, ignore_case=False)

"""Make text from streams and servers safe for a terminal. Owns which control sequences pass.

A stream holds whatever a job printed: its bytes could set the title, write to the clipboard, or overwrite
what was on the screen before. Colours pass, and so do the movements of progress bars: within a line, and up
and down within the lines that the stream itself has written. Every other sequence is left out. What is not a
whole sequence is shown as `less` shows it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from loom.wire.text import Whole, unfinished

MAX_HELD = 4096
"""Characters of an incomplete sequence that are held until its rest arrives."""
MAX_COLUMN = 10_000
"""The last column of a line to which a sequence moves."""
MAX_STYLE = 200
"""Characters of sequences that are kept as the style of a character."""

_BODY = r"[^\x07\x1b\n\x18\x1a]*"
_SEQUENCE = re.compile(
    "|".join(
        (
            r"\x1b\[(?P<arguments>[\d:;<=>?]*)(?P<intermediate>[ -/]*)(?P<final>[@-~])",
            rf"\x1b[\]PX^_]{_BODY}(?:\x07|\x1b\\)",  # a title or a link, for example
            r"\x1b[ -/]+[0-~]",  # a character set
            r"\x1b[0-OQ-WYZ\\`-~]",
            r"[\x0e\x0f]",  # shifts between character sets
        )
    ),
    re.ASCII,
)
_BEGUN = re.compile(rf"\x1b(?:\[[\d:;<=>?]*[ -/]*|[ -/]+|[\]PX^_]{_BODY}\x1b?)?$")
RESET = "\x1b[0m"
_CONTROL = re.compile("[\0-\x07\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


class Screen:
    """The bytes of one stream that begins on a new line of a terminal, made safe.

    If the stream shares the screen with others, it does not move up or down.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._whole = Whole()
        self._held = ""
        self._row = 0
        """The line of the cursor, counted from the first one of the stream. A line that the terminal wraps
        counts as one, so that the cursor is never higher up than this says."""
        self._last = 0
        self._styled = False

    def feed(self, data: bytes) -> bytes:
        """Return the safe form of `data`, after the bytes that were held."""
        text = self._held + self._whole.feed(data).decode(errors="replace")
        begun = _BEGUN.search(text)
        end = begun.start() if begun and len(text) - begun.start() < MAX_HELD else len(text)
        text, self._held = text[:end], text[end:]
        shown = [self._text(piece) + (self._obeyed(found) if found else "") for piece, found in _parts(text)]
        return "".join(shown).encode()

    def rest(self) -> bytes:
        """Return the safe form of what is held, at the end of the stream, and reset colours."""
        held, self._held = self._held + self._whole.held.decode(errors="replace"), ""
        return (_escaped(held) + (RESET if self._styled else "")).encode()

    def _text(self, text: str) -> str:
        self._row += text.count("\n")
        self._last = max(self._last, self._row)
        return _escaped(text)

    def _obeyed(self, found: re.Match[str]) -> str:
        """Return a sequence as far as it is to be obeyed."""
        arguments, final = found["arguments"] or "", found["final"] or ""
        if found["intermediate"] or not final:
            return ""
        if final == "m" and arguments.strip(":;0123456789") == "":
            self._styled = arguments.strip("0") != ""
            return found[0]
        if len(arguments) > 4 or not (arguments.isdigit() or not arguments):
            return ""
        if final in "CDGKPX@`" or (final == "J" and arguments in ("", "0")):
            return found[0]
        if final in "AFBE":
            most = self._row if final in "AF" else self._last - self._row
            rows = 0 if self._shared else min(int(arguments or 1) or 1, most)
            self._row += rows if final in "BE" else -rows
            return f"\x1b[{rows}{final}" if rows else "\r" if final in "EF" else ""
        return ""


def one_line(text: str) -> str:
    """Return a line as a terminal shows it in the end: without movements and what they overwrite.

    For lines after the name of their stream, which a carriage return would overwrite.
    """
    line = _Line()
    for piece, found in _parts(text.rstrip("\r\n")):
        line.write(piece)
        if found and not found["intermediate"] and found["final"]:
            line.obey(found[0], found["arguments"], found["final"])
    return str(line)


class _Line:
    """One line of a terminal. A cell has a character and the sequences that style it."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, str]] = []
        self._at = 0
        self._style = ""

    def __str__(self) -> str:
        shown, style = [], ""
        for each, char in self._cells:
            if each != style:
                shown.append((each and style and RESET) + (each or RESET))
                style = each
            shown.append(char)
        return "".join([*shown, style and RESET])

    def write(self, text: str) -> None:
        """Write text at the cursor."""
        for part in re.split("([\r\b])", text):
            if part == "\r":
                self._at = 0
            elif part == "\b":
                self._at = max(0, self._at - 1)
            elif part:
                cells = [(self._style, char) for char in _escaped(part)]
                self._erase(len(self._cells), self._at)
                self._cells[self._at : self._at + len(cells)] = cells
                self._at += len(cells)

    def obey(self, sequence: str, arguments: str, final: str) -> None:
        """Obey a control sequence that styles, moves within the line or erases a part of it."""
        if final == "m":
            reset = len(self._style) > MAX_STYLE or arguments.split(";")[0].strip("0") == ""
            self._style = ("" if reset else self._style) + ("" if arguments.strip("0") == "" else sequence)
            return
        if arguments.strip("0123456789"):
            return
        count = min(int(arguments[:9] or 0), MAX_COLUMN)
        if final in "CDG`":
            moved = {"C": self._at + (count or 1), "D": self._at - (count or 1)}.get(final, (count or 1) - 1)
            self._at = min(max(moved, 0), max(MAX_COLUMN, self._at))
        elif final == "X":
            self._erase(self._at, min(self._at + (count or 1), len(self._cells)))
        elif final == "P":
            del self._cells[self._at : self._at + (count or 1)]
        elif final == "K" and count == 0:
            del self._cells[self._at :]
        elif final == "K":
            self._erase(0, self._at + 1 if count == 1 else len(self._cells))

    def _erase(self, start: int, stop: int) -> None:
        """Make cells blank, and append those that the line does not have yet."""
        self._cells[start:stop] = [("", " ")] * (stop - start)


def _parts(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield each piece of plain text with the sequence after it, if there is one."""
    start = 0
    for found in _SEQUENCE.finditer(text):
        yield text[start : found.start()], found
        start = found.end()
    yield text[start:], None


def printable(text: str) -> str:
    """Return `text` on one line, with escapes for characters that are not printable."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def shortened(text: str, width: int) -> str:
    """Return `text` with its middle cut out if it has more than `width` characters, 3 at least."""
    cut = len(text) - max(width, 3) + 1
    return text if cut <= 1 else f"{text[: (len(text) - cut) // 2]}…{text[(len(text) + cut) // 2 :]}"


def outcome_text(outcome: str, metadata: object) -> str:
    """Return an outcome, and the exit code of a failure."""
    code = metadata.get("exit_code") if isinstance(metadata, dict) else None
    return f"{outcome} (exit code {code})" if outcome == "failure" and isinstance(code, int) else outcome


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def stamp(time: datetime) -> str:
    """Return a time in RFC 3339, in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_binary(data: bytes) -> bool:
    """Return True if the start of a stream is not text."""
    if b"\0" in data:
        return True
    try:
        data[: len(data) - unfinished(data)].decode()
    except UnicodeDecodeError:
        return True
    return False


def _escaped(text: str) -> str:
    return _CONTROL.sub(_name, text)


def _name(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<{code:X}>"

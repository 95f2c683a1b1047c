"""Make text from streams and servers safe for a terminal. Owns which control sequences pass.

A stream holds whatever a job printed: its bytes could set the title, write to the clipboard, or overwrite
earlier output. Colours pass, and so do CR, backspace and erase-in-line, which progress bars use. Any other
control character is shown as `less` shows it.
"""

import re
from datetime import UTC, datetime

from loom.wire.text import Whole, unfinished

MAX_HELD = 64

_CONTROL = re.compile("[\0-\x07\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
_PASSES = re.compile("\x1b\\[[0-9;:]{0,60}m|\x1b\\[[0-2]?K")
_BEGUN = re.compile("\x1b(\\[[0-9;:]{0,60})?$")


class Shown:
    """The bytes of one stream, made safe. An incomplete sequence is held until the rest arrives."""

    def __init__(self) -> None:
        self._whole = Whole()
        self._held = ""

    def feed(self, data: bytes) -> bytes:
        """Return the safe form of `data`, after the bytes that were held."""
        text = self._held + self._whole.feed(data).decode(errors="replace")
        begun = _BEGUN.search(text)
        end = begun.start() if begun else len(text)
        text, self._held = text[:end], text[end:]
        shown, start = [], 0
        for found in _PASSES.finditer(text):
            shown += [_escaped(text[start : found.start()]), found[0]]
            start = found.end()
        return "".join([*shown, _escaped(text[start:])]).encode()

    def rest(self) -> bytes:
        """Return the safe form of what is held, at the end of the stream."""
        held, self._held = self._held + self._whole.held.decode(errors="replace"), ""
        return _escaped(held).encode()


def printable(text: str) -> str:
    """Return `text` on one line, with escapes for characters that are not printable."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


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

"""What streams and servers say, made fit for a terminal. Owns what may pass and what is shown in its place.

A stream is whatever a job has written: left alone, its bytes could set the title, write the clipboard, or
paint over what stands above. Colours pass, and so do CR, backspace and erase-in-line, which progress bars
use; any other control is shown, as `less` shows it.
"""

import re

from loom.wire.text import Whole, unfinished

MAX_HELD = 64

_CONTROL = re.compile("[\0-\x07\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
_PASSES = re.compile("\x1b\\[[0-9;:]{0,60}m|\x1b\\[[0-2]?K")
_BEGUN = re.compile("\x1b(\\[[0-9;:]{0,60})?$")


class Shown:
    """The bytes of one stream as a terminal may have them. A sequence that is not whole yet waits."""

    def __init__(self) -> None:
        self._whole = Whole()
        self._held = ""

    def feed(self, data: bytes) -> bytes:
        """What of `data`, and of what was held, may be written now."""
        text = self._held + self._whole.feed(data).decode(errors="replace")
        begun = _BEGUN.search(text)
        end = begun.start() if begun else len(text)
        text, self._held = text[:end], text[end:]
        shown, place = [], 0
        for found in _PASSES.finditer(text):
            shown += [_escaped(text[place : found.start()]), found[0]]
            place = found.end()
        return "".join([*shown, _escaped(text[place:])]).encode()

    def rest(self) -> bytes:
        """What was held to the end."""
        held, self._held = self._held + self._whole.held.decode(errors="replace"), ""
        return _escaped(held).encode()


def printable(text: str) -> str:
    """A name or a value on one line, with what is no character to be seen in escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def is_binary(data: bytes) -> bool:
    """True if the start of a stream is nothing that a person could read."""
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

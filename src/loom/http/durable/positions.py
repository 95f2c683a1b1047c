"""Offsets and cursors of Durable Streams (sections 6 and 8.1 of its protocol). Pure.

An offset is two numbers of 16 digits, so that offsets sort as text. The first number is always 0 and the
second is a byte offset of the stream.
"""

import random
import re

from loom.errors import BadRequest

NOW = -1
"""Stands for the end of the stream, in place of a byte offset."""

CURSORS_BEGIN = 1728432000
"""2024-10-09T00:00:00Z: where the intervals of cursors are counted from."""
CURSOR_INTERVAL = 20
"""Seconds."""
FURTHEST = 180
"""Intervals, an hour, by which a cursor that is not old yet is moved on at most."""

_OFFSET = re.compile("0{1,16}_([0-9]{1,16})")
_CURSOR = re.compile("[0-9]{1,18}")


def format_offset(at: int) -> str:
    """Return a byte offset as clients see it."""
    return f"{0:016d}_{at:016d}"


def parse_offset(text: str) -> int:
    """Return the byte offset that a client sent; `-1` is the start, `now` is NOW. Raises BadRequest."""
    if text == "-1":
        return 0
    if text == "now":
        return NOW
    found = _OFFSET.fullmatch(text)
    if found is None:
        raise BadRequest("offset must be -1, now, or an offset that this server sent.")
    return int(found[1])


def next_cursor(given: str, now: float) -> str:
    """Return the cursor of a response, which is always greater than the `given` one of the request."""
    current = int(now - CURSORS_BEGIN) // CURSOR_INTERVAL
    if _CURSOR.fullmatch(given) and int(given) >= current:
        return str(int(given) + random.randint(1, FURTHEST))
    return str(current)

"""X-Stream-Metadata: JSON text in a header. Pure: header values in, the text to keep out.

The text is kept as the producer wrote it, never parsed and written again: number formats, key order and
spaces survive. Only what a header cannot carry is escaped, inside JSON strings, where it means the same.
"""

import json
import re
from collections.abc import Sequence
from typing import NoReturn

from loom.errors import InvalidMetadata

MAX_DEPTH = 100

_UNSAFE = re.compile(r"[\x7f-\U0010ffff]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")


def parse_metadata(values: Sequence[bytes], limit: int) -> str:
    """The metadata to keep: ASCII, `limit` bytes at most. Without the header `{}`. Raises InvalidMetadata."""
    if not values:
        return "{}"
    if len(values) > 1:
        raise InvalidMetadata("X-Stream-Metadata was sent more than once.")
    try:
        text = values[0].decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMetadata("X-Stream-Metadata is not UTF-8.") from None
    if _CONTROL.search(text):
        raise InvalidMetadata("X-Stream-Metadata contains a control character.")
    # Outside a string such a character stays an error: its escape is no JSON there either.
    text = _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text.strip(" \t"))
    if len(text) > limit:
        raise InvalidMetadata(f"X-Stream-Metadata has {len(text)} bytes as returned; {limit} are allowed.")
    _check(text)
    return text


def _check(text: str) -> None:
    try:
        level = [_parse(text)]
    except RecursionError:
        raise InvalidMetadata(f"X-Stream-Metadata is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise InvalidMetadata(f"X-Stream-Metadata is not JSON: {error}.") from None
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
                raise InvalidMetadata(
                    "X-Stream-Metadata has half of a surrogate pair, which is no character."
                )
            if isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise InvalidMetadata(f"X-Stream-Metadata is nested deeper than {MAX_DEPTH} levels.")


def _parse(text: str) -> object:
    """Objects become lists of keys and values, so that a repeated key hides nothing; numbers are not read."""
    return json.loads(
        text,
        parse_constant=_no_constant,
        parse_int=lambda _: 0,
        parse_float=lambda _: 0,
        object_pairs_hook=lambda pairs: [part for pair in pairs for part in pair],
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")

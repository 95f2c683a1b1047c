"""Metadata: JSON text in the header X-Stream-Metadata, and merge patches of it. Pure.

The text is stored as the producer wrote it, so that number formats, the order of keys and spaces are kept.
Only characters that a header cannot have are escaped, inside JSON strings, where the escape means the same. A
merge patch keeps number formats and the order of keys.
"""

import json
import re
from collections.abc import Sequence
from typing import NoReturn

from loom.errors import InvalidMetadata

MAX_DEPTH = 100
HEADER = "X-Stream-Metadata"

_UNSAFE = re.compile(r"[\x7f-\U0010ffff]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")


def parse_metadata(values: Sequence[bytes], limit: int) -> str:
    """Return the metadata to store: ASCII, at most `limit` bytes, `{}` without the header.

    Raises InvalidMetadata.
    """
    if not values:
        return "{}"
    if len(values) > 1:
        raise InvalidMetadata(f"{HEADER} was sent more than once.")
    text = _decoded(values[0], HEADER)
    if _CONTROL.search(text):
        raise InvalidMetadata(f"{HEADER} contains a control character.")
    return _within(_checked(text, HEADER), limit, HEADER)


def parse_merge_patch(body: bytes) -> str:
    """Return a merge patch (RFC 7396) as JSON text in ASCII. Raises InvalidMetadata."""
    return _checked(_decoded(body, "The merge patch"), "The merge patch")


def merge_metadata(metadata: str, patch: str, limit: int) -> str:
    """Apply a merge patch to metadata, both JSON text. Raises InvalidMetadata if the result is too long."""
    merged = _merged(_value(metadata), _value(patch))
    return _within(_text(merged), limit, "The patched metadata")


def _merged(target: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    members = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            members.pop(name, None)
        else:
            members[name] = _merged(members.get(name), value)
    return members


class _Number(str):
    """A JSON number as it is written."""


def _value(text: str) -> object:
    return json.loads(text, parse_int=_Number, parse_float=_Number)


def _text(value: object) -> str:
    """Return JSON text in ASCII on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_text(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return str(value) if isinstance(value, _Number) else json.dumps(value)


def _decoded(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMetadata(f"{name} is not UTF-8.") from None


def _checked(text: str, name: str) -> str:
    """Return JSON text as it can be stored, in ASCII."""
    # Outside a string the character remains an error, since its escape is not JSON there.
    text = _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], text.strip(" \t\r\n"))
    try:
        level = [_parse(text)]
    except RecursionError:
        raise InvalidMetadata(f"{name} is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise InvalidMetadata(f"{name} is not JSON: {error}.") from None
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
                raise InvalidMetadata(f"{name} has half of a surrogate pair, which is not a character.")
            if isinstance(value, list):
                below += value
        if not below:
            return text
        level = below
    raise InvalidMetadata(f"{name} is nested deeper than {MAX_DEPTH} levels.")


def _within(text: str, limit: int, name: str) -> str:
    if len(text) > limit:
        raise InvalidMetadata(f"{name} has {len(text)} bytes as returned; {limit} are allowed.")
    return text


def _parse(text: str) -> object:
    """Parse objects into lists of keys and values, so that a repeated key hides nothing; skip numbers."""
    return json.loads(
        text,
        parse_constant=_no_constant,
        parse_int=lambda _: 0,
        parse_float=lambda _: 0,
        object_pairs_hook=lambda pairs: [part for pair in pairs for part in pair],
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")

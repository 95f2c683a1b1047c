"""The rules for valid metadata, and what readers get in place of stored metadata that is invalid. Pure.

Metadata is JSON text in ASCII. It is stored as the producer wrote it, so that number formats, the order of
keys and spaces are kept. Only characters that a header cannot have are escaped, inside JSON strings, where
the escape means the same.
"""

import json
import math
import re
from typing import Any, NoReturn

from loom.errors import InvalidMetadata
from loom.model import MAX_DIGITS

MAX_DEPTH = 100

_UNSAFE = re.compile(r"[\x7f-\U0010ffff]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile(r"\\u[dD][89a-fA-F]|NaN|Infinity|[^\t\x20-\x7e]")


class Number(str):
    """A JSON number as it is written."""


def check_metadata(text: str, name: str) -> str:
    """Return JSON text as it can be stored, in ASCII. Raises InvalidMetadata, which calls the text `name`."""
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
            if isinstance(value, Number):
                if len(value) > MAX_DIGITS:
                    raise InvalidMetadata(f"{name} has a number of more than {MAX_DIGITS} characters.")
            elif isinstance(value, str) and _SURROGATE.search(value):
                raise InvalidMetadata(f"{name} has half of a surrogate pair, which is not a character.")
            elif isinstance(value, list):
                below += value
        if not below:
            return text
        level = below
    raise InvalidMetadata(f"{name} is nested deeper than {MAX_DEPTH} levels.")


def check_size(text: str, limit: int, name: str) -> str:
    """Return metadata of at most `limit` bytes. Raises InvalidMetadata."""
    if len(text) > limit:
        raise InvalidMetadata(f"{name} has {len(text)} bytes as returned; {limit} are allowed.")
    return text


def readable(text: str) -> str:
    """Return stored metadata as every reader can parse it: the text itself, if it is valid.

    An older version may have stored what `check_metadata` refuses. A number that is too long, NaN and the
    infinities become strings. Half of a surrogate pair becomes U+FFFD. Text that is nested too deeply or is
    not JSON becomes one string.
    """
    # Nearly all metadata is valid and recognized by this, at a fraction of the cost of parsing.
    if (
        len(text) <= MAX_DIGITS
        and text.count("[") + text.count("{") <= MAX_DEPTH
        and not _SUSPECT.search(text)
    ):
        return text
    try:
        return check_metadata(text, "The metadata")
    except InvalidMetadata:
        pass
    try:
        value = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=str)
        return check_metadata(dump(_repaired(value)), "The metadata")
    except (InvalidMetadata, ValueError, RecursionError):
        return json.dumps(_SURROGATE.sub("\ufffd", text))


def decode(text: str | bytes) -> Any:
    """Parse JSON from a server. A number beyond what Python parses or a double holds becomes a string.

    Raises ValueError, also for JSON that is nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_integer, parse_float=_float)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply") from None


def load(text: str) -> object:
    """Parse JSON text that is valid metadata, with numbers as they are written."""
    return json.loads(text, parse_int=Number, parse_float=Number)


def dump(value: object) -> str:
    """Return JSON text in ASCII on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {dump(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(dump, value))}]"
    return str(value) if isinstance(value, Number) else json.dumps(value)


def _parse(text: str) -> object:
    """Parse objects into lists of keys and values, so that a repeated key hides nothing."""
    return json.loads(
        text,
        parse_constant=_no_constant,
        parse_int=Number,
        parse_float=Number,
        object_pairs_hook=lambda pairs: [part for pair in pairs for part in pair],
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _number(text: str) -> str:
    return Number(text) if len(text) <= MAX_DIGITS else text


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= MAX_DIGITS else text


def _float(text: str) -> float | str:
    return value if math.isfinite(value := float(text)) else text


def _repaired(value: object) -> object:
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", name): _repaired(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_repaired(each) for each in value]
    return (
        value if isinstance(value, Number) or not isinstance(value, str) else _SURROGATE.sub("\ufffd", value)
    )

"""Values of HTTP header fields: booleans, integers, digests (RFC 9651), entity tags (RFC 9110). Pure.

The draft on resumable uploads ignores a field of the wrong form. Here such a field is refused: a producer
that is misunderstood would believe that its stream is open, or complete, when it is not.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence

from loom.errors import BadRequest

_PARAMETERS = r"(?: *;.*)?"
_BOOLEAN = re.compile(r"\?([01])" + _PARAMETERS)
_INTEGER = re.compile(r"([0-9]{1,15})" + _PARAMETERS)
_SHA_256 = "sha-256=:"


def parse_boolean(name: str, values: Sequence[bytes]) -> bool | None:
    """Return the value of a field that is `?0` or `?1`, None if it is absent. Raises BadRequest."""
    found = _item(name, values, _BOOLEAN, "?0 or ?1")
    return None if found is None else found == "1"


def parse_integer(name: str, values: Sequence[bytes]) -> int | None:
    """Return the value of a field that is a count, None if it is absent. Raises BadRequest."""
    found = _item(name, values, _INTEGER, "an integer of 0 or more with at most 15 digits")
    return None if found is None else int(found)


def parse_digest(name: str, values: Sequence[bytes]) -> str | None:
    """Return the SHA-256 of a digest field in base64, None if the field is absent.

    Raises BadRequest, also for a field without a SHA-256: a digest that cannot be compared is not ignored.
    """
    if not values:
        return None
    digest = sha256_of(b",".join(values).decode("latin-1"))
    if digest is None:
        raise BadRequest(f"{name} must be sha-256=:<the digest in base64>:")
    return digest


def sha256_of(field: str) -> str | None:
    """Return the SHA-256 in a digest field (RFC 9530 section 2) in base64, None if it has none."""
    members = [member.strip(" \t") for member in field.split(",")]
    # Of a repeated member the last one counts (RFC 9651 section 4.2.2).
    given = [member.removeprefix(_SHA_256) for member in members if member.startswith(_SHA_256)]
    if not given or not given[-1].endswith(":"):
        return None
    try:
        digest = b64decode(given[-1].removesuffix(":"), validate=True)
    except ValueError:
        return None
    return b64encode(digest).decode("ascii") if len(digest) == 32 else None


def digest_field(digest: str) -> str:
    """Return a SHA-256 in base64 as the value of a digest field."""
    return f"{_SHA_256}{digest}:"


def tag_of(key: str) -> str:
    """Return the strong entity tag that stands for a key."""
    return f'"{key}"'


def key_of(tag: str) -> str | None:
    """Return the key that an entity tag stands for, None if it is not a strong tag."""
    return tag[1:-1] if len(tag) > 2 and tag[0] == tag[-1] == '"' else None


def _item(name: str, values: Sequence[bytes], form: re.Pattern[str], wanted: str) -> str | None:
    if not values:
        return None
    found = form.fullmatch(values[0].decode("latin-1").strip(" "))
    if found is None or len(values) > 1:
        raise BadRequest(f"{name} must be {wanted}, once.")
    return found[1]

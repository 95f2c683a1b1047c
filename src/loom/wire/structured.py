"""The few structured field values Loom reads (RFC 9651): a boolean, an integer, a digest. Pure.

The draft on resumable uploads has a field of another form ignored; here it is refused, since a producer that
is misunderstood would believe that its stream goes on, or has ended, when it does not.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence

from loom.errors import BadRequest

_PARAMETERS = r"(?: *;.*)?"
_BOOLEAN = re.compile(r"\?([01])" + _PARAMETERS)
_SHA_256 = b"sha-256=:"
_INTEGER = re.compile(r"([0-9]{1,15})" + _PARAMETERS)


def boolean(name: str, values: Sequence[bytes]) -> bool | None:
    """A field that is `?0` or `?1`; None without it. Raises BadRequest."""
    found = _item(name, values, _BOOLEAN, "?0 or ?1")
    return None if found is None else found == "1"


def integer(name: str, values: Sequence[bytes]) -> int | None:
    """A field that counts something; None without it. Raises BadRequest."""
    found = _item(name, values, _INTEGER, "an integer of 0 or more with 15 digits at most")
    return None if found is None else int(found)


def sha256(name: str, values: Sequence[bytes]) -> str | None:
    """The SHA-256 of a digest field (RFC 9530 section 2) in base64; None without the field.

    Raises BadRequest, also where there are others only: what cannot be compared is not passed over.
    """
    if not values:
        return None
    members = [member.strip(b" \t") for member in b",".join(values).split(b",")]
    given = [member[len(_SHA_256) :] for member in members if member.startswith(_SHA_256)]
    try:
        digest = b64decode(given[-1].removesuffix(b":"), validate=True) if given else b""
    except ValueError:
        digest = b""
    if len(digest) != 32 or not given[-1].endswith(b":"):
        raise BadRequest(f"{name} has to be sha-256=:<the digest in base64>:")
    return b64encode(digest).decode("ascii")


def _item(name: str, values: Sequence[bytes], form: re.Pattern[str], wanted: str) -> str | None:
    if not values:
        return None
    found = form.fullmatch(values[0].decode("latin-1").strip(" "))
    if found is None or len(values) > 1:
        raise BadRequest(f"{name} has to be {wanted}, once.")
    return found[1]

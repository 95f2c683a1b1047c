"""The few structured field values Loom reads (RFC 9651): items that are a boolean or an integer. Pure.

The draft on resumable uploads has a field of another form ignored; here it is refused, since a producer that
is misunderstood would believe that its stream goes on, or has ended, when it does not.
"""

import re
from collections.abc import Sequence

from loom.errors import BadRequest

_PARAMETERS = r"(?: *;.*)?"
_BOOLEAN = re.compile(r"\?([01])" + _PARAMETERS)
_INTEGER = re.compile(r"([0-9]{1,15})" + _PARAMETERS)


def boolean(name: str, values: Sequence[bytes]) -> bool | None:
    """A field that is `?0` or `?1`; None without it. Raises BadRequest."""
    found = _item(name, values, _BOOLEAN, "?0 or ?1")
    return None if found is None else found == "1"


def integer(name: str, values: Sequence[bytes]) -> int | None:
    """A field that counts something; None without it. Raises BadRequest."""
    found = _item(name, values, _INTEGER, "an integer of 0 or more with 15 digits at most")
    return None if found is None else int(found)


def _item(name: str, values: Sequence[bytes], form: re.Pattern[str], wanted: str) -> str | None:
    if not values:
        return None
    found = form.fullmatch(values[0].decode("latin-1").strip(" "))
    if found is None or len(values) > 1:
        raise BadRequest(f"{name} has to be {wanted}, once.")
    return found[1]

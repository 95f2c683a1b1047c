"""Times as text: RFC 3339, and how long before now. Pure."""

import math
from datetime import UTC, datetime

from loom.units import LENGTHS, parse_duration

LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def parse_rfc3339(text: str) -> float:
    """Return seconds since the Unix epoch, NaN if the text is not a time with an offset from UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    seconds = math.nan if time.tzinfo is None else time.timestamp()
    return seconds if seconds <= LATEST else math.nan


def parse_since(text: str, now: float) -> float:
    """Return the time of a text in RFC 3339, or of a duration before `now`: `90s`, `10m`, `1h30m`, `2d`.

    NaN if the text is neither.
    """
    if text[-1:] in LENGTHS:
        try:
            return now - parse_duration(text)
        except ValueError:
            return math.nan
    return parse_rfc3339(text)


def rfc3339(seconds: float) -> str:
    """Return a time in RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

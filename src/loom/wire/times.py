"""Times as text: RFC 3339, and durations before now. Pure."""

import math
import re
from datetime import UTC, datetime

_AGO = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s)?", re.ASCII)
_UNITS = (86400, 3600, 60, 1)
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
    ago = _AGO.fullmatch(text)
    if not text or ago is None:
        return parse_rfc3339(text)
    return now - sum(float(count or 0) * unit for count, unit in zip(ago.groups(), _UNITS, strict=True))


def rfc3339(seconds: float) -> str:
    """Return a time in RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

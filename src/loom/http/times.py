"""Times as text: RFC 3339. Pure."""

import math
from datetime import UTC, datetime

LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def parse_rfc3339(text: str) -> float:
    """Seconds since the Unix epoch; NaN if the text is no time, or one without its offset from UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    seconds = math.nan if time.tzinfo is None else time.timestamp()
    return seconds if seconds <= LATEST else math.nan


def rfc3339(seconds: float) -> str:
    """The time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

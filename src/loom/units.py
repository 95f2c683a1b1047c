"""Durations and sizes as people write them: `7d`, `90s`, `64MiB`. Pure.

Owns both grammars, for flags, settings, variables and queries, and how durations and sizes are printed.
"""

import re
from decimal import Decimal

LENGTHS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
"""Units of durations, in seconds, in the order in which they are written."""
SIZES = {"": 1, "B": 1} | {
    f"{letter}{rest}": base**power
    for power, letter in enumerate("KMGT", 1)
    for rest, base in (("iB", 1024), ("", 1024), ("B", 1000))
}
"""Units of sizes, as GNU coreutils has them: `K` is short for `KiB`, and `KB` is 1000 bytes."""

_DURATION = re.compile("".join(rf"(?:(\d{{1,9}}(?:\.\d{{1,9}})?){unit})?" for unit in LENGTHS), re.ASCII)
_PLAIN = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([A-Z]*)", re.ASCII | re.IGNORECASE)
_BY_UPPER = {unit.upper(): size for unit, size in SIZES.items()}


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `1h30m`, `7d`, or of a plain number of seconds. Raises ValueError."""
    if _PLAIN.fullmatch(text):
        return float(text)
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError("is not a duration such as 90s, 30m, 24h or 7d")
    return sum(float(count or 0) * unit for count, unit in zip(found.groups(), LENGTHS.values(), strict=True))


def parse_size(text: str) -> int:
    """Return the bytes of `64MiB`, `1.5G`, or of a plain number of bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].upper() not in _BY_UPPER:
        raise ValueError("is not a size such as 64MiB")
    return int(Decimal(found[1]) * _BY_UPPER[found[2].upper()])


def duration_text(seconds: float) -> str:
    """Return a duration exactly, in the largest unit of which it is a multiple: `7d`, `90s`, `0.5s`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % LENGTHS[unit] == 0:
            return f"{seconds // LENGTHS[unit]:.0f}{unit}"
    return f"{seconds:.9g}s"


def rough_text(seconds: float) -> str:
    """Return a measured duration, rounded, in at most two units: `0.3s`, `95s`, `5m30s`, `47h`."""
    for unit, part in (("d", "h"), ("h", "m"), ("m", "s")):
        if seconds >= 2 * LENGTHS[unit]:
            count, rest = divmod(seconds, LENGTHS[unit])
            return f"{count:.0f}{unit}" + (f"{rest // LENGTHS[part]:.0f}{part}" if count < 10 else "")
    return f"{max(seconds, 0):.{1 if seconds < 10 else 0}f}s"


def size_text(count: float) -> str:
    """Return a number of bytes in the largest unit that fits, rounded to a tenth: `64MiB`, `1.5KiB`."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f}".removesuffix(".0") + units[0]

"""Find lines in bytes. A line ends with LF. Pure: the searches read through a function they are given."""

from collections.abc import Awaitable, Callable

from loom.store.places import LinePlace

SCAN = 64 << 10
"""The most bytes a search reads at once: few enough not to delay other tasks noticeably."""

Read = Callable[[int, int], Awaitable[bytes]]
"""Return bytes [start, stop) of the content, all of them."""


async def find_line(
    read: Read, number: int, size: int, known: LinePlace, piece: int = SCAN
) -> tuple[int, int]:
    """Return the offset where line `number` begins, and 0; or `size` and how many line ends are missing.

    The search runs forwards from `known`, a place that is not after the line.
    """
    missing, offset = number - known.line, known.offset
    while missing and offset < size:
        data = await read(offset, min(offset + piece, size))
        missing, rest = skip_lines(data, missing)
        offset += len(data) - len(rest)
    return offset, missing


async def find_last_lines(
    read: Read, count: int, size: int, piece: int = SCAN, most: int | None = None
) -> int | None:
    """Return the offset where the last `count` lines of the first `size` bytes begin, searching backwards.

    Returns None if they do not begin within the last `most` bytes.
    """
    missing, offset = count, size
    while count and offset:
        if most is not None and size - offset >= most:
            return None
        start = max(0, offset - piece)
        data = await read(start, offset)
        if offset == size and data.endswith(b"\n"):
            # This LF ends the last line. Each other LF stands before a line.
            missing += 1
        ends = data.count(b"\n")
        if ends >= missing:
            return start + _after_line(data, ends - missing + 1)
        missing -= ends
        offset = start
    return offset


def skip_lines(data: bytes, count: int) -> tuple[int, bytes]:
    """Leave out the first `count` lines of `data`; return how many line ends are missing, and the rest."""
    ends = data.count(b"\n") if count else 0
    if ends < count:
        return count - ends, b""
    return 0, data[_after_line(data, count) :]


def _after_line(data: bytes, count: int) -> int:
    """Return the offset after the `count`th LF of `data`, which must contain it."""
    if not count:
        return 0
    # Halving counts each byte about twice, even where `data` is nothing but line ends.
    low, high = 0, len(data)
    while high - low > 1:
        middle = (low + high) // 2
        ends = data.count(b"\n", low, middle)
        if ends >= count:
            high = middle
        else:
            count -= ends
            low = middle
    return high

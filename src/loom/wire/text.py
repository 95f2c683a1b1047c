"""Where text is and where it is not, in bytes that come in pieces. Pure."""

from bisect import bisect


def unfinished(data: bytes) -> int:
    """How many bytes at the end, 3 at most, begin a UTF-8 character that is longer (RFC 3629 section 4)."""
    for count, byte in enumerate(reversed(data[-3:]), 1):
        if byte & 0xC0 != 0x80:
            length = (1, 2, 3, 4, 1)[bisect(b"\xc2\xe0\xf0\xf5", byte)]
            return count if count < length else 0
    return 0


class Whole:
    """Passes bytes on, but holds back a character until all of it is there."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What was held and `data`, up to the last whole character."""
        data = self.held + data if self.held else data
        end = len(data) - unfinished(data)
        self.held = data[end:]
        return data[:end]


def continuation(data: bytes) -> int:
    """How many bytes at the start belong to a UTF-8 character that began before."""
    return next((count for count, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data))

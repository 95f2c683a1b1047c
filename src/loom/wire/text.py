"""UTF-8 characters in bytes that arrive in pieces. Pure."""

from bisect import bisect


def unfinished(data: bytes) -> int:
    """Return how many bytes at the end, at most 3, begin an incomplete character (RFC 3629 section 4)."""
    for count, byte in enumerate(reversed(data[-3:]), 1):
        if byte & 0xC0 != 0x80:
            length = (1, 2, 3, 4, 1)[bisect(b"\xc2\xe0\xf0\xf5", byte)]
            return count if count < length else 0
    return 0


def split_whole(data: bytes) -> tuple[bytes, bytes]:
    """Return `data` up to the end of the last whole character, and the bytes after it."""
    end = len(data) - unfinished(data)
    return data[:end], data[end:]


class Whole:
    """Passes bytes on, and holds an incomplete character until its last byte arrives."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """Return the held bytes and `data`, up to the end of the last whole character."""
        whole, self.held = split_whole(self.held + data if self.held else data)
        return whole


def continuation(data: bytes) -> int:
    """Return how many bytes at the start belong to a character that began before them."""
    return next((count for count, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data))

"""JSON messages as they are stored and as clients see them. Pure.

A stream of JSON is stored as lines, one message each. A body of a client is one message, or an array of
them; a response is an array. Messages are validated and passed on as they were written, never encoded anew.
"""

import re

import msgspec

from loom.errors import BadRequest, TooLarge

MOST_COMMAS = 1_000_000
"""Commas that an array may have in all. It bounds the memory that splitting takes, to some 100 MB."""

_ONE = msgspec.json.Decoder(msgspec.Raw)
_MANY = msgspec.json.Decoder(list[msgspec.Raw])
_SPACE = b" \t\r\n"
_SPACES = bytes.maketrans(b"\r\n", b"  ")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def lines_of(body: bytes) -> bytes:
    """Return the messages of a body as lines: the elements of an array, or else the one value.

    Raises BadRequest, TooLarge.
    """
    try:
        body.decode()
        messages = _split(body)
    except (ValueError, RecursionError) as error:
        # msgspec's errors are ValueErrors, and say where the text is wrong.
        raise BadRequest(f"The body is not JSON in UTF-8: {error}.") from None
    if b"\n" in body or b"\r" in body:
        # Strings contain no line end, so each is only a space between two tokens.
        messages = [each.translate(_SPACES) for each in messages]
    return b"\n".join([*messages, b""])


def _split(body: bytes) -> list[bytes]:
    # A lone surrogate, which JavaScript sends for half a character, is valid JSON but refused by the decoder.
    # It decodes a copy that has another character of the same length in its place.
    plain = _SURROGATE.sub(rb"\\uFFFD", body) if b"\\u" in body else body
    if not body.lstrip(_SPACE).startswith(b"["):
        _ONE.decode(plain)
        return [body.strip(_SPACE)]
    if body.count(b",") > MOST_COMMAS:
        raise TooLarge(f"A JSON array may have at most {MOST_COMMAS:,} commas. Send it in several requests.")
    messages = [bytes(each) for each in _MANY.decode(plain)]
    return messages if plain is body else _originals(body, plain, messages)


def _originals(body: bytes, plain: bytes, messages: list[bytes]) -> list[bytes]:
    """Return the parts of `body` at the places of `messages` in `plain`, with spaces and commas between."""
    found, at = [], 1
    for message in messages:
        at = plain.index(message, at)
        found.append(body[at : at + len(message)])
        at += len(message)
    return found


class Array:
    """Turns lines, in pieces, into one JSON array."""

    def __init__(self) -> None:
        self._held = b"["

    def feed(self, lines: bytes) -> bytes:
        """Return the text up to the last byte, which is held: no comma follows the last message."""
        text = self._held + lines.replace(b"\n", b",")
        self._held = text[-1:]
        return text[:-1]

    def end(self) -> bytes:
        """Return the rest, after a whole line or none."""
        return self._held.removesuffix(b",") + b"]"


def array_size(size: int) -> int:
    """Return the length of the array for lines of `size` bytes: the last LF is left out."""
    return size + 1 if size else 2

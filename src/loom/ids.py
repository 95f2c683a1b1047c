"""Ids and keys of streams: what a valid id is, and how new ones are made. Pure except for chance."""

import os
import secrets
import unicodedata
import uuid
from urllib.parse import quote, unquote_to_bytes

from loom.errors import InvalidId

MAX_ID_CHARS = 255


def parse_id(raw: bytes) -> str:
    """Return the id in a raw, percent-encoded URL path. Raises InvalidId."""
    if not raw.isascii():
        raise InvalidId("The stream ID in the URL has bytes outside ASCII; percent-encode them.")
    try:
        return check_id(unquote_to_bytes(raw).decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidId("The stream ID is not UTF-8 after percent-decoding.") from None


def check_id(id: str) -> str:
    """Return `id` if it may name a stream. Raises InvalidId, which says what is wrong."""
    if not id:
        raise InvalidId("The stream ID is empty.")
    if len(id) > MAX_ID_CHARS:
        raise InvalidId(f"The stream ID has {len(id)} characters; {MAX_ID_CHARS} are allowed.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in id):
        raise InvalidId("The stream ID contains a control character.")
    if any(segment in ("", ".", "..") for segment in id.split("/")):
        raise InvalidId('The stream ID has a segment between slashes that is empty, "." or "..".')
    return id


def quote_id(id: str) -> str:
    """Return the id for a URL path or a header: ASCII, with all but RFC 3986's pchar and slashes encoded."""
    return quote(id, safe="/!$&'()*+,;=:@~")


def folder_of(id: str, prefix: str) -> str | None:
    """Return the folder under `prefix` that has this id: up to the next slash. None if it is in no folder."""
    end = id.find("/", len(prefix))
    return id[: end + 1] if end >= 0 and id.startswith(prefix) else None


def new_id(now: float) -> str:
    """Return a UUID version 7 (RFC 9562 section 5.7): sorts by creation in milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = int(now * 1000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def new_key(number: int) -> str:
    """Return a key: the stream's number and a random part.

    The number rises with every creation in a store and is used once. The random part keeps keys unique after
    a store was restored from a backup.
    """
    return f"{number:x}-{secrets.token_hex(6)}"


def number_of(key: str) -> int:
    """Return the number in a key, 0 if it is not a key of Loom."""
    number, _, chance = key.partition("-")
    try:
        return int(number, 16) if chance and len(number) < 16 else 0
    except ValueError:
        return 0

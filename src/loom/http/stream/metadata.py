"""Metadata in requests: the header X-Stream-Metadata, and merge patches. Pure."""

import re
from collections.abc import Sequence

from loom.errors import InvalidMetadata
from loom.wire.metadata import check_metadata, check_size, dump, load, readable

HEADER = "X-Stream-Metadata"

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f]")


def parse_metadata(values: Sequence[bytes], limit: int) -> str:
    """Return the metadata to store: ASCII, at most `limit` bytes, `{}` without the header.

    Raises InvalidMetadata.
    """
    if not values:
        return "{}"
    if len(values) > 1:
        raise InvalidMetadata(f"{HEADER} was sent more than once.")
    text = _decoded(values[0], HEADER)
    if _CONTROL.search(text):
        raise InvalidMetadata(f"{HEADER} contains a control character.")
    return check_size(check_metadata(text, HEADER), limit, HEADER)


def parse_merge_patch(body: bytes) -> str:
    """Return a merge patch (RFC 7396) as JSON text in ASCII. Raises InvalidMetadata."""
    return check_metadata(_decoded(body, "The merge patch"), "The merge patch")


def merge_metadata(metadata: str, patch: str, limit: int) -> str:
    """Apply a merge patch to metadata, both JSON text. It keeps number formats and the order of keys.

    Raises InvalidMetadata if the result is too long.
    """
    merged = _merged(load(readable(metadata)), load(patch))
    return check_size(dump(merged), limit, "The patched metadata")


def _merged(target: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    members = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            members.pop(name, None)
        else:
            members[name] = _merged(members.get(name), value)
    return members


def _decoded(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMetadata(f"{name} is not UTF-8.") from None

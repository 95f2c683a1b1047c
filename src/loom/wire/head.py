"""The headers of a response that describe a stream. The server writes a StreamHead; clients read it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

from loom.model import Outcome, State
from loom.wire.fields import digest_field, key_of, sha256_of, tag_of


class Received(Protocol):
    """The headers of a response, by name in any case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header, None if it is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHead:
    """Headers of a response that describe a stream; None stands for an absent one.

    `id` is percent-encoded. `tag` is the key, sent as an entity tag. `start` is the offset of the first byte
    in the body, `size` the durable size, `length` the size that the stream has once it is complete. `digest`
    is the SHA-256 of all its bytes in base64.
    """

    id: str | None = None
    key: str | None = None
    tag: str | None = None
    state: State | None = None
    outcome: Outcome | None = None
    metadata: str | None = None
    start: int | None = None
    size: int | None = None
    complete: bool | None = None
    length: int | None = None
    epoch: int | None = None
    digest: str | None = None

    @classmethod
    def of(cls, fields: Received) -> Self:
        """Read the headers of a response; `key` is taken from the entity tag where it has no header itself.

        Raises ValueError, with the header and its value, for a value that Loom never sends.
        """
        found: dict[str, Any] = {}
        for member, (header, _, read) in HEADERS.items():
            if (text := fields.get(header)) is None:
                continue
            try:
                found[member] = read(text)
            except ValueError:
                raise ValueError(f"{header}: {text[:100]}") from None
        found.setdefault("key", found.get("tag"))
        return cls(**found)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers to send, with names in lower case."""
        return [
            (header.lower().encode(), write(value).encode())
            for member, (header, write, _) in HEADERS.items()
            if (value := getattr(self, member)) is not None
        ]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text} is not a count")
    return int(text)


def _flag(text: str) -> bool:
    return ("?0", "?1").index(text) == 1


HEADERS: dict[str, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    "id": ("X-Stream-Id", str, str),
    "key": ("X-Stream-Key", str, str),
    "tag": ("ETag", tag_of, key_of),
    "state": ("X-Stream-State", str, State),
    "outcome": ("X-Stream-Outcome", str, Outcome),
    "metadata": ("X-Stream-Metadata", str, str),
    "start": ("X-Stream-Offset", str, _count),
    "size": ("Upload-Offset", str, _count),
    "complete": ("Upload-Complete", lambda complete: f"?{complete:d}", _flag),
    "length": ("Upload-Length", str, _count),
    "epoch": ("X-Stream-Epoch", str, _count),
    "digest": ("Repr-Digest", digest_field, sha256_of),
}
"""The header of each member, how its value is written, and how it is read."""

"""A request that appends to a stream, and the lines of progress that answer it. Pure."""

import json
from dataclasses import dataclass
from typing import Self

from loom.model import State
from loom.wire.fields import digest_field, sha256_of, tag_of
from loom.wire.media import PARTIAL_UPLOAD


def append_headers(
    offset: int, *, complete: bool, key: str | None = None, epoch: int | None = None
) -> dict[str, str]:
    """Return the headers of a PATCH that appends at `offset`; `complete` if it ends the stream.

    With `key` and `epoch` the server refuses it for a stream that was replaced or that has another producer.
    """
    headers = {
        "Content-Type": PARTIAL_UPLOAD,
        "Upload-Offset": str(offset),
        "Upload-Complete": f"?{complete:d}",
    }
    if key is not None:
        headers["If-Match"] = tag_of(key)
    if epoch is not None:
        headers["X-Stream-Epoch"] = str(epoch)
    return headers


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of progress: `offset` bytes are durable. The last line has the state and, if known, the
    digest."""

    offset: int
    state: State | None = None
    digest: str | None = None

    def encode(self) -> bytes:
        """Return the line, with its LF."""
        members: dict[str, object] = {"offset": self.offset}
        if self.state is not None:
            members["state"] = self.state
        if self.digest is not None:
            members["digest"] = digest_field(self.digest)
        return json.dumps(members).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Read a line. Raises ValueError if it is not a line of progress."""
        members = json.loads(line)
        if not isinstance(members, dict) or type(members.get("offset")) is not int:
            raise ValueError("not a line of progress")
        state, digest = members.get("state"), members.get("digest")
        return cls(
            members["offset"],
            None if state is None else State(state),
            None if digest is None else sha256_of(str(digest)),
        )

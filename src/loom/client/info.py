"""A change to a stream, as a server reports it. Pure."""

from dataclasses import dataclass

from loom.wire.rows import StreamInfo

__all__ = ["Change", "StreamInfo"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change to a stream: `kind` is created, changed, closed or deleted; `info` is the stream after the
    change, or before it if the stream was deleted. `changed` means that the metadata is new.

    `reset`, without an info, comes first, and whenever changes may have been missed: only a list of the
    streams, requested after it, says which exist.
    """

    kind: str
    info: StreamInfo | None = None

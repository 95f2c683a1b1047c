"""The limits of one connection."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in bytes, times in seconds. A body has no limit: a stream may flow for days."""

    head: int = 64 << 10
    """Size of the request line and the headers together; and again of the trailers, and of a chunk's header.

    A pipelined head may exceed it by what arrived in one read with the end of the request before.
    """
    head_timeout: float = 10.0
    """Time from the first byte of a request to the end of its headers."""
    idle_timeout: float = 75.0
    """Time between two requests, and before the first."""
    crowded_timeout: float = 10.0
    """The same while most of the allowed connections are in use."""
    fields: int = 256
    """Number of headers of a request. Each costs more memory than its bytes."""
    pipelined: int = 2
    """Requests that may wait for the current response. Once more arrive, nothing more is read."""
    waiting: int = 32 << 20
    """Size of all that waits for a response in front or for the rest of a head, of all connections together.
    Above it, the connection that holds most loses what waits."""
    discard: int = 64 << 20
    """Size of request data that is discarded after a response that did not wait for it."""
    discard_timeout: float = 30.0
    """Time for which such data is discarded."""
    dead_timeout: float = 60.0
    """Time without any packet from the client while it owes an acknowledgement."""
    unread_timeout: float = 30.0
    """Time without an acknowledged byte of a response that was sent as a whole, such as an error or JSON.
    Other responses may be read as slowly as the client likes."""
    dead_check: float = 5.0
    """Interval of the checks for dead clients."""
    stalled_timeout: float = 2.0
    """Interval, during a shutdown, of the checks that a client still acknowledges bytes."""
    cut_timeout: float = 30.0
    """Time without an acknowledged byte after which a cut drops the bytes already written."""

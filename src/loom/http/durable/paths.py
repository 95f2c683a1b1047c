"""Which paths name a stream in Durable Streams."""

from loom.errors import StreamNotFound
from loom.http.exchange import Exchange

RESERVED = "__ds"
"""Under this, other servers have subscriptions, which Loom does not have."""


def stream_of(exchange: Exchange) -> str:
    """Return the id of the stream that a path names. Raises InvalidId, and StreamNotFound for RESERVED."""
    id = exchange.stream_id
    if id.split("/")[0] == RESERVED:
        raise StreamNotFound(id)
    return id

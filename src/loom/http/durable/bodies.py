"""The bodies of requests that create or append: collected whole, because a message is stored as a whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from loom.errors import ProducerIdle, TooLarge, TooMany
from loom.http.exchange import Disconnected, Exchange
from loom.http.headers import Fields
from loom.wire.fields import parse_integer

BODIES_AT_ONCE = 8
"""Bodies of the greatest size that fit into memory at once. Smaller ones share that space."""
SILENCE = 30.0
"""Seconds without a byte after which a body is refused, because it occupies memory."""


class Bodies:
    """Collects bodies of at most `limit` bytes each, and bounds what all of them take."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._space = limit * BODIES_AT_ONCE
        self._taken = 0

    @asynccontextmanager
    async def collected(self, exchange: Exchange) -> AsyncIterator[list[bytes]]:
        """Yield the body in the pieces in which it arrived; their memory counts until the block ends.

        Raises TooLarge, TooMany, ProducerIdle, Disconnected.
        """
        self._check_announced(exchange)
        pieces: list[bytes] = []
        with self._counted() as count:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        message = await exchange.receive()
                except TimeoutError:
                    raise ProducerIdle(SILENCE) from None
                if message["type"] == "http.disconnect":
                    raise Disconnected
                if data := message.get("body"):
                    exchange.record.received += len(data)
                    count(len(data))
                    pieces.append(bytes(data))
                if not message.get("more_body", False):
                    break
            yield pieces

    def _check_announced(self, fields: Fields) -> None:
        size = parse_integer("Content-Length", fields.all(b"content-length"))
        if size is not None and size > self._limit:
            raise self._too_large()

    @contextmanager
    def _counted(self) -> Iterator[Callable[[int], None]]:
        size = 0

        def count(added: int) -> None:
            nonlocal size
            if size + added > self._limit:
                raise self._too_large()
            if self._taken + added > self._space:
                raise TooMany(f"The bodies of appends take {self._space} bytes, the limit. Retry later.")
            size += added
            self._taken += added

        try:
            yield count
        finally:
            self._taken -= size

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A message may have at most {self._limit} bytes; send more in several appends.")

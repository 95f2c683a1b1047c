"""How many listings and searches a client has at once: a few run, others wait in order, and more are refused.

A client is the owner of a token; without tokens, an address.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loom.errors import TooManySearches
from loom.http.addresses import network_of
from loom.http.exchange import Exchange
from loom.http.record import client_of

AT_ONCE = 4
WAITING = 60


@dataclass(slots=True)
class Queue:
    """The searches of one client, those included that wait."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    size: int = 0


class Searches:
    """The queues of all clients that search at the moment."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    @asynccontextmanager
    async def turn(self, exchange: Exchange) -> AsyncIterator[None]:
        """Wait for the client's turn and hold it inside the block. Raises TooManySearches.

        Raises Disconnected from the block, too, as soon as the client disconnects.
        """
        async with exchange.attended(), self.unattended_turn(exchange):
            yield

    @asynccontextmanager
    async def unattended_turn(self, exchange: Exchange) -> AsyncIterator[None]:
        """Do as `turn`, for a block that sees a disconnect itself."""
        client = exchange.principal.owner or network_of(client_of(exchange.scope))
        queue = self._queues.setdefault(client, Queue())
        if queue.size >= AT_ONCE + WAITING:
            raise TooManySearches(
                f"This client has {AT_ONCE} listings or searches under way and {WAITING} more that wait."
            )
        queue.size += 1
        try:
            async with queue.turns:
                yield
        finally:
            queue.size -= 1
            if not queue.size:
                del self._queues[client]

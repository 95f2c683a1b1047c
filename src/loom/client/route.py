"""What a push learns about the network path to a server, and the requests that it learns from. Pure but for
time.

A path is assumed to deliver bytes as they are sent. Some do not: a proxy may hold a request back until its
end, or limit its size or its duration. Requests are then short, or end before the limit.
"""

import asyncio

CHUNK_BYTES = 256 * 1024
SHORT_BYTES = 1 << 20
"""Bytes of a short request, at most. Many proxies refuse larger bodies."""
FRUITLESS = 3
"""Long requests in a row that are lost before any byte arrived, until short ones are used."""
SAME_AGE = 0.1
"""Two requests were cut by a time limit if their ages differ by less than this fraction."""


class Request:
    """One PATCH that is being sent: bytes [start, sent) were passed to the connection.

    `length` is set for a short request. `lifetime` limits the seconds that its body may take.
    """

    def __init__(self, start: int, length: int | None, lifetime: float | None) -> None:
        self.start = self.sent = start
        self.length = length
        self.begun = asyncio.get_running_loop().time()
        self.until = None if lifetime is None else self.begun + lifetime
        self.ended: float | None = None
        """When its body ended."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has the exception if its body could not be read."""
        self.checked = (start, start)
        """Bytes sent and confirmed at the last check of its progress."""

    @property
    def most(self) -> int:
        """Bytes that the next chunk may have."""
        return CHUNK_BYTES if self.length is None else min(CHUNK_BYTES, self.start + self.length - self.sent)


class Route:
    """The path to one server. `stall` is as in Pace."""

    def __init__(self, stall: float) -> None:
        self.short = False
        """Requests must be short: the path delivers a request only as a whole, or limits its size."""
        self.lifetime: float | None = None
        """Seconds that a long request may take; None if the path has no known limit."""
        self._stall = stall
        self._fruitless = 0
        self._lost_at_age: float | None = None

    def on_arrival(self) -> None:
        """Bytes of a request were confirmed."""
        self._fruitless = 0

    def on_loss(self, request: Request, *, arrived: bool) -> None:
        """A request was lost; `arrived` says whether any of its bytes were confirmed."""
        if request.length is not None:
            return
        age = asyncio.get_running_loop().time() - request.begun
        if request.sent > request.start and not arrived:
            # One loss may be chance. After several in a row, a proxy is assumed to hold the body until it is
            # cut.
            self._fruitless += 1
            self.short = self._fruitless >= FRUITLESS
        elif age > self._stall:
            # Two losses at the same age are a time limit: end the next requests well before it.
            before, self._lost_at_age = self._lost_at_age, age
            if before is not None and abs(age - before) < SAME_AGE * age:
                self.lifetime = (1 - 2 * SAME_AGE) * min(age, before)

"""What is taken at most. Owns the limits and the sentences that tell of them; 0 is no limit.

Knows the store by its contract, and only how much it holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loom.errors import LoomError, SizeLimit, StorageFull, TooMany
from loom.store.base import Store

REASON = "size limit"
"""Of a stream that was aborted because no more bytes were taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes of one stream, bytes of all, streams with a producer at once, followers at once."""

    stream_bytes: int = 0
    store_bytes: int = 0
    streams_live: int = 0
    followers: int = 0


NO_LIMITS = Limits()


class Room:
    """How much room is left for bytes."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    def fits(self, offset: int, size: int) -> tuple[int, LoomError | None]:
        """How many of `size` more bytes a stream of `offset` bytes may take, and if not all of them, why."""
        stream, total = self._limits.stream_bytes, self._limits.store_bytes
        if self._store.full:
            return 0, StorageFull("Too little disk space is left to take more bytes.")
        error: LoomError | None = None
        if stream and offset + size > stream:
            size, error = max(0, stream - offset), SizeLimit(stream)
        if total and self._store.size + size > total:
            size = max(0, total - self._store.size)
            error = StorageFull(f"This server has the {total} bytes it may keep; delete streams first.")
        return size, error

    def check(self) -> None:
        """Raise StorageFull if there is room for no byte of any stream."""
        _, error = self.fits(0, 1)
        if error is not None:
            raise error

    def check_length(self, length: int | None) -> None:
        """Raise SizeLimit if no stream may be so long."""
        if length is not None and 0 < self._limits.stream_bytes < length:
            raise SizeLimit(self._limits.stream_bytes)


class Places:
    """Up to `limit` of `what` at once."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self.coming = 0
        """Those inside `one`."""

    @contextmanager
    def one(self, present: int = 0) -> Iterator[None]:
        """Count one more in here, beside `present` that are counted elsewhere. Raises TooMany."""
        if self._limit and present + self.coming >= self._limit:
            raise TooMany(f"This server has {self._limit} {self._what}, the most it takes; try again later.")
        self.coming += 1
        try:
            yield
        finally:
            self.coming -= 1

"""Enforce limits on bytes and connections. Owns the limits and their error texts; 0 means no limit.

Knows the store by its contract, and only how much it holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loom.errors import LoomError, SizeLimit, StorageFull, TooMany
from loom.store.base import Store

REASON = "size limit"
"""The reason of a stream that is aborted because a limit on bytes was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most bytes of one stream and of all streams, and the most producers and followers at once."""

    stream_bytes: int = 0
    store_bytes: int = 0
    streams_live: int = 0
    followers: int = 0


NO_LIMITS = Limits()


class Room:
    """Room for more bytes."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    def fits(self, offset: int, size: int) -> tuple[int, LoomError | None]:
        """Return how many of `size` bytes a stream of `offset` bytes may take, and the error if not all."""
        stream, total = self._limits.stream_bytes, self._limits.store_bytes
        if self._store.full:
            return 0, StorageFull("The server's disk is almost full. Retry once streams have been deleted.")
        error: LoomError | None = None
        if stream and offset + size > stream:
            size, error = max(0, stream - offset), SizeLimit(stream)
        if total and self._store.size + size > total:
            size = max(0, total - self._store.size)
            error = StorageFull(
                f"This server reached its storage limit of {total} bytes. Delete streams first."
            )
        return size, error

    def check(self, offset: int = 0, size: int = 1) -> None:
        """Raise SizeLimit or StorageFull if a stream of `offset` bytes may not take `size` more."""
        _, error = self.fits(offset, size)
        if error is not None:
            raise error

    def check_length(self, length: int | None) -> None:
        """Raise SizeLimit if `length` exceeds the maximum size of a stream."""
        if length is not None and 0 < self._limits.stream_bytes < length:
            raise SizeLimit(self._limits.stream_bytes)


class Slots:
    """A limit on how many of something there may be at once. `what` names it, in the plural."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._taken = 0

    @contextmanager
    def take(self, counted: int = 0) -> Iterator[None]:
        """Hold a slot inside the context, besides `counted` that the caller counts. Raises TooMany."""
        if self._limit and counted + self._taken >= self._limit:
            raise TooMany(f"This server reached its limit of {self._limit} {self._what}. Retry later.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

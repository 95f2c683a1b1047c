"""Enforce limits on bytes and connections. Owns the limits and their error texts; 0 means no limit.

Knows the store by its contract, and only how much it holds.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loom.errors import LoomError, SizeLimit, StorageFull, TooMany
from loom.model import Info, NewStream
from loom.store.base import Store
from loom.store.holdings import cost

REASON = "size limit"
"""The reason of a stream that is aborted because a limit on bytes was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most bytes of one stream and of all streams, the most streams, and the most producers and
    followers at once. All streams together also count for their metadata and a fixed cost each.
    """

    stream_bytes: int = 0
    store_bytes: int = 0
    streams: int = 0
    streams_live: int = 0
    followers: int = 0


NO_LIMITS = Limits()


class Room:
    """Room for more streams, metadata and bytes."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._growing = 0

    def fits(self, offset: int, size: int) -> tuple[int, LoomError | None]:
        """Return how many of `size` bytes a stream of `offset` bytes may take, and the error if not all."""
        stream, total = self._limits.stream_bytes, self._limits.store_bytes
        if self._store.full:
            return 0, _disk_full()
        error: LoomError | None = None
        if stream and offset + size > stream:
            size, error = max(0, stream - offset), SizeLimit(stream)
        if total and self.used + size > total:
            size, error = max(0, total - self.used), self._over()
        return size, error

    def check(self, offset: int = 0, size: int = 1) -> None:
        """Raise SizeLimit or StorageFull if a stream of `offset` bytes may not take `size` more."""
        _, error = self.fits(offset, size)
        if error is not None:
            raise error

    def live(self, producing: Iterable[str], besides: str = "") -> int:
        """Return how many streams have a producer or are open, the one with the id `besides` left out.

        `producing` are the ids of those with a producer. Returns 0 if there is no limit.
        """
        if not self._limits.streams_live:
            return 0
        count = self._store.holdings.open_or
        return count({*producing, besides}) - 1 if besides else count(producing)

    @property
    def used(self) -> int:
        """The bytes that count against the limit on all streams."""
        return self._store.size + self._store.holdings.overhead + self._growing

    def admit(self, new: NewStream, old: Info | None) -> int:
        """Return what a new stream, which may replace `old`, counts for besides its bytes.

        Raises StorageFull if there is no room for it.
        """
        if self._store.full:
            raise _disk_full()
        most = self._limits.streams
        if most and old is None and self._store.holdings.streams >= most:
            raise StorageFull(
                f"This server reached its limit of {most} streams. Delete streams first, or let them expire."
            )
        size = cost(new.metadata)
        self.check_growth(size)
        return size

    def check_growth(self, size: int) -> None:
        """Raise StorageFull if the rows of streams may not grow by `size` bytes."""
        if 0 < self._limits.store_bytes < self.used + size and size > 0:
            raise self._over()

    @contextmanager
    def growing(self, size: int) -> Iterator[None]:
        """Count `size` bytes by which a row grows inside the context. Raises StorageFull if there is no room.

        The store counts a change once it is made: many at once would pass the limit together.
        """
        self.check_growth(size)
        held = max(0, size)
        self._growing += held
        try:
            yield
        finally:
            self._growing -= held

    def _over(self) -> StorageFull:
        return StorageFull(
            f"This server reached its limit of {self._limits.store_bytes} stored bytes. Delete streams first."
        )

    def check_length(self, length: int | None) -> None:
        """Raise SizeLimit if `length` exceeds the maximum size of a stream."""
        if length is not None and 0 < self._limits.stream_bytes < length:
            raise SizeLimit(self._limits.stream_bytes)


def _disk_full() -> StorageFull:
    return StorageFull("The server's disk is almost full. Retry once streams have been deleted.")


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

"""Parts that every store shares: the right of a producer to append, and lists of subscribers."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from loom.errors import LoomError
from loom.model import Info, Patch
from loom.store import rules
from loom.store.base import Writer

T = TypeVar("T")


class ProducerWriter(Writer):
    """A Writer without storage: it refuses bytes once it is lost or closed.

    A store's writer stores what `_accept` gets, and ends the stream in `_end`.
    """

    def __init__(self, info: Info, *, replaced: bool = False) -> None:
        self.info = info
        self.replaced = replaced
        self.closed = False
        """True once `close` was called."""
        self.lost: LoomError | None = None
        """The error that this writer was lost to."""
        self._callbacks: list[Callable[[LoomError], None]] = []

    @abstractmethod
    def _accept(self, data: bytes) -> None:
        """Queue bytes; there is at least one."""

    @abstractmethod
    async def _end(self, patch: Patch) -> Info:
        """Store what was accepted, then `patch`; return the stream after it. Raises WriterLost."""

    def append(self, data: bytes) -> None:
        self._check_usable()
        if data:
            self._accept(data)

    async def close(self, patch: Patch) -> Info:
        self._check_usable()
        rules.check_close(patch)
        self.closed = True
        info = await self._end(patch)
        self._callbacks.clear()
        return info

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        if self.lost:
            callback(self.lost)
        else:
            self._callbacks.append(callback)

    def lose(self, error: LoomError) -> None:
        """Revoke the right to append. Only the first error is kept."""
        if not self.lost:
            self.lost = error
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback(error)

    def check(self) -> None:
        """Raise the error that this writer was lost to."""
        if self.lost:
            raise self.lost.with_traceback(None)

    def _check_usable(self) -> None:
        self.check()
        if self.closed:
            raise RuntimeError("the writer was closed")


class Member(Generic[T]):
    """A subscription: `target` is notified while this is one of `members`."""

    def __init__(self, members: "dict[Member[T], None]", target: T) -> None:
        self._members = members
        self.target = target
        members[self] = None

    def close(self) -> None:
        self._members.pop(self, None)


def targets(members: dict[Member[T], None]) -> Iterator[T]:
    """Yield each target. A callback may close the subscription of another, which is left out then."""
    for member in list(members):
        if member in members:
            yield member.target

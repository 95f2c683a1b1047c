"""What a store gives to its users for one stream: the right to append, and access to the bytes.

Part of the contract in `loom.store.base`, whose docstring holds for every method here.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from loom.errors import LoomError
from loom.model import Info, Patch


class Writer(ABC):
    """The right of one producer to append to one stream. Offsets count from the start of the stream.

    A writer is lost when another producer takes the stream over, the stream is deleted, replaced, changed to
    another state or failed, or the store stops. Between the check of this right and the queueing of bytes
    nothing is awaited, so a writer that was fenced never adds a byte.
    """

    info: Info
    """The stream as it was when this writer was created."""
    replaced: bool = False
    """True if the creation replaced an earlier stream of that id."""

    @property
    def key(self) -> str:
        """The stream's key."""
        return self.info.key

    @property
    def epoch(self) -> int:
        """This writer's epoch. A higher epoch fences this writer."""
        return self.info.epoch

    @property
    @abstractmethod
    def accepted(self) -> int:
        """The offset after the last byte that `append` accepted. Meaningless once the writer is lost."""

    @property
    @abstractmethod
    def durable(self) -> int:
        """The offset after the last durable byte."""

    @abstractmethod
    def append(self, data: bytes) -> None:
        """Accept bytes, to be stored in this order. The object is kept, not copied.

        The bytes are not durable when this returns: see `wait_durable`. Raises WriterLost, and RuntimeError
        after `close`.
        """

    @abstractmethod
    async def wait_for_room(self) -> None:
        """Wait until the bytes in flight, of this producer and of all, are below their bounds.

        Bytes are in flight from their acceptance until they are durable. Raises WriterLost.
        """

    @abstractmethod
    async def wait_durable(self, offset: int) -> int:
        """Wait until bytes [0, offset) are durable, and return the durable size. Raises WriterLost."""

    @abstractmethod
    async def close(self, patch: Patch) -> Info:
        """Store all accepted bytes, then `patch`, and return the stream as stored.

        The patch needs a `state` other than `live`. The writer cannot be used after this. Raises WriterLost;
        RuntimeError if `close` was called before; ValueError for a patch without such a state.
        """

    @abstractmethod
    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        """Call `callback` once, when this writer is lost; immediately if it already is.

        The error is the one that the methods of this writer raise from then on. The callback does not run
        after `close` has returned.
        """


class Content(ABC):
    """The bytes of one key, readable through replace and delete until `close`. An async context manager."""

    key: str

    @abstractmethod
    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield bytes [start, stop) in pieces of at most 256 KiB. `stop` is within the durable size.

        Raises StreamDamaged where stored bytes are missing, and never yields others in their place.
        """

    def fileno(self) -> int | None:
        """Return a descriptor for zero-copy reads, or None. It belongs to the content, until `close`."""
        return None

    @property
    def filed(self) -> int:
        """Bytes [0, filed) may be read through `fileno`."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Release the bytes. May be repeated."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""The writer of a stream: the right to append, and waiting for what was appended. Knows no file."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loom.errors import LoomError
from loom.model import Info, Patch
from loom.store.base import Writer
from loom.store.files.commit import Commits
from loom.store.files.stream import Stream


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes may be accepted and not yet durable: of one producer, and of all together."""

    stream: int = 4 << 20
    total: int = 64 << 20


class FilesWriter(Writer):
    """The Writer of the files store."""

    def __init__(
        self,
        stream: Stream,
        commits: Commits,
        bounds: Bounds,
        *,
        info: Info,
        replaced: bool,
        close: "Callable[[FilesWriter, Patch], Awaitable[Info]]",
    ) -> None:
        self.info = info
        self.replaced = replaced
        self.stream = stream
        self.error: LoomError | None = None
        self._commits = commits
        self._bounds = bounds
        self._close = close
        self._closed = False
        self._callbacks: list[Callable[[LoomError], None]] = []

    @property
    def accepted(self) -> int:
        return self.stream.accepted

    @property
    def durable(self) -> int:
        return self.stream.durable

    def append(self, data: bytes) -> None:
        if self.error:
            raise self.error
        if self._closed:
            raise RuntimeError("append after close")
        if data:
            self._commits.append(self.stream, data)

    async def wait_for_room(self) -> None:
        stream = self.stream
        while True:
            if self.error:
                raise self.error
            if stream.accepted - stream.durable >= self._bounds.stream:
                await stream.wait_progress()
            elif self._commits.in_flight >= self._bounds.total:
                await self._commits.wait_cycle()
            else:
                return

    async def wait_durable(self, offset: int) -> int:
        while self.stream.durable < offset:
            if self.error:
                raise self.error
            await self.stream.wait_progress()
        return self.stream.durable

    async def close(self, patch: Patch) -> Info:
        if self.error:
            raise self.error
        if self._closed:
            raise RuntimeError("closed twice")
        self._closed = True
        info = await self._close(self, patch)
        self._callbacks.clear()
        return info

    def on_lost(self, callback: Callable[[LoomError], None]) -> None:
        if self.error:
            callback(self.error)
        else:
            self._callbacks.append(callback)

    def lose(self, error: LoomError) -> None:
        """Take the right to append from this writer; `error` says why."""
        self.error = error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(error)

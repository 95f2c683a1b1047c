"""The writer of a stream: the right to append, and waiting for what was appended. Knows no file."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loom.model import Info, Patch
from loom.store.common import ProducerWriter
from loom.store.files.commit import Commits
from loom.store.files.stream import Stream


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes may be accepted and not yet durable: of one producer, and of all together."""

    stream: int = 4 << 20
    total: int = 64 << 20


class FilesWriter(ProducerWriter):
    """The Writer of the files store."""

    def __init__(
        self,
        stream: Stream,
        commits: Commits,
        bounds: Bounds,
        *,
        info: Info,
        replaced: bool,
        end: "Callable[[FilesWriter, Patch], Awaitable[Info]]",
    ) -> None:
        super().__init__(info, replaced=replaced)
        self.stream = stream
        self._commits = commits
        self._bounds = bounds
        self._end_stream = end

    @property
    def accepted(self) -> int:
        return self.stream.accepted

    @property
    def durable(self) -> int:
        return self.stream.durable

    def _accept(self, data: bytes) -> None:
        self._commits.append(self.stream, data)

    async def wait_for_room(self) -> None:
        stream = self.stream
        while True:
            self.check()
            if stream.accepted - stream.durable >= self._bounds.stream:
                await stream.wait_progress()
            elif self._commits.in_flight >= self._bounds.total:
                await self._commits.wait_cycle()
            else:
                return

    async def wait_durable(self, offset: int) -> int:
        while self.stream.durable < offset:
            self.check()
            await self.stream.wait_progress()
        return self.stream.durable

    async def _end(self, patch: Patch) -> Info:
        return await self._end_stream(self, patch)

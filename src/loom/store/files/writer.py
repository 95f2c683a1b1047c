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


async def wait_for_room(stream: Stream, commits: Commits, bounds: Bounds, check: Callable[[], None]) -> None:
    """Wait until what is in flight is below its bounds. `check` raises if nothing may be appended."""
    while True:
        check()
        if stream.accepted - stream.durable >= bounds.stream or stream.ledger.weight >= commits.most_entries:
            await stream.wait_progress()
        elif commits.in_flight >= bounds.total:
            await commits.wait_cycle()
        else:
            return


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
        await wait_for_room(self.stream, self._commits, self._bounds, self.check)

    async def wait_durable(self, offset: int) -> int:
        while self.stream.durable < offset:
            self.check()
            await self.stream.wait_progress()
        return self.stream.durable

    async def _end(self, patch: Patch) -> Info:
        return await self._end_stream(self, patch)

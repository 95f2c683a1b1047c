"""The state that commit cycles and images share: how far the log has been applied, how
much of it is no longer needed, and whether the disk has space. Belongs to the event loop.
"""

import asyncio


class Checkpoints:
    """Commits request a checkpoint when the log runs full; images make it and report the result."""

    def __init__(self, lsn: int) -> None:
        self.applied = lsn
        """The newest commit that memory shows. The committer thread may be one commit ahead."""
        self.reached = lsn
        """Content files and catalog durably hold everything up to this commit."""
        self.full = False
        """Too little disk space is left: new streams and new producers are refused."""
        self.exhausted = False
        """No disk space is left at all: checkpoints fail, so the log cannot be reused."""
        self.requested = False
        self.work = asyncio.Event()
        """Set when a round of images should not wait for its interval."""
        self._ended = asyncio.Event()

    def request(self) -> None:
        """Request a checkpoint."""
        self.requested = True
        self.work.set()

    async def wait_round(self) -> None:
        """Wait until a round of images ends after this call, or until `wake`."""
        self._ended.clear()
        await self._ended.wait()

    def wake(self) -> None:
        """End `wait_round`: a round has ended, or the store has stopped."""
        self._ended.set()

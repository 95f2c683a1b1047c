"""Whether a store still works: the one owner of its failure and of its end. Belongs to the event loop."""

import asyncio
import logging
from collections.abc import Callable

from loom.errors import LoomError, StoreStopped
from loom.store import rules

logger = logging.getLogger("loom.store")


class StopState:
    """A store stops once, by a failure or by `close`. Every part holds this object and checks it."""

    def __init__(self) -> None:
        self.error: LoomError | None = None
        """What every call raises once the store has stopped."""
        self._closing = False
        self._failed = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call back once the store has stopped, in the order of registration."""
        self._callbacks.append(callback)

    def fail(self, error: BaseException) -> None:
        """Stop the store because of `error`. Any further failure follows from the first and is dropped."""
        if self.error is None:
            logger.critical("the store has stopped", exc_info=error)
            failed = StoreStopped("The store has stopped: it failed.")
            self._stop(error if isinstance(error, LoomError) else failed)
            self._failed.set()

    def begin_close(self) -> None:
        """Refuse every new call. What is being committed is still finished."""
        self._closing = True

    def close(self) -> None:
        """Stop the store after an orderly end. Does nothing if a failure stopped it before."""
        if self.error is None:
            self._stop(rules.closed())

    def _stop(self, error: LoomError) -> None:
        self.error = error
        for callback in self._callbacks:
            callback()

    def check(self) -> None:
        """Raise StoreStopped if the store has stopped or is closing."""
        if self._closing and self.error is None:
            raise StoreStopped("The store is closing.")
        self.check_failure()

    def check_failure(self) -> None:
        """Raise StoreStopped if the store has stopped. A closing store still commits its last changes."""
        if self.error is not None:
            # One error object is raised to many callers; each starts with a traceback of its own.
            raise self.error.with_traceback(None)

    async def wait_stopped(self) -> LoomError:
        """Wait until a failure stops the store, and return it. An orderly `close` is no failure."""
        await self._failed.wait()
        assert self.error is not None
        return self.error

"""A thread that runs calls for the event loop, one after the other, with one wake-up each way.

An executor makes two futures for each call, one with a lock and a condition. Where every acknowledgement
waits for a call, that is a tenth of its cost.
"""

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """A thread, started at once. Belongs to the event loop that runs now."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # As a daemon it does not delay the exit of a process in which a store was not closed.
        Thread(target=self._work, name=name, daemon=True).start()

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run a call after those before it; the future has its result or its error."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """End the thread after the calls that were queued."""
        self._calls.put(None)

    def _work(self) -> None:
        while (queued := self._calls.get()) is not None:
            future, call = queued
            result = error = None
            try:
                result = call()
            except BaseException as raised:
                error = raised
            # If the loop is closed, nobody waits for the result.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

"""What one server has open: its connections, its tasks, and the bytes that wait in all of them together."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A connection, as the registry sees it."""

    waiting: int

    def drop_waiting(self) -> None:
        """Discard what waits."""


Connected = TypeVar("Connected", bound=Waiting)


class Registry(Generic[Connected]):
    """The open connections of one server, and the tasks that set them up and run its app."""

    def __init__(self) -> None:
        self.connections: set[Connected] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._emptied = asyncio.Event()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def remove(self, connection: Connected) -> None:
        """Forget a closed connection."""
        self.connections.discard(connection)
        self._report_empty()

    def count_waiting(self, change: int, most: int) -> None:
        """Count bytes that wait. Above `most`, the connection that holds most of them loses its own."""
        self._waiting += change
        while self._waiting > most:
            max(self.connections, key=lambda each: each.waiting).drop_waiting()

    async def wait_empty(self) -> None:
        """Wait until no connection is open and no task runs."""
        while self.connections or self.tasks:
            self._emptied.clear()
            await self._emptied.wait()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._report_empty()

    def _report_empty(self) -> None:
        if not self.connections and not self.tasks:
            self._emptied.set()

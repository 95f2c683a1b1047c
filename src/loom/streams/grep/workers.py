"""The processes that search: at most a few, started when they are needed, ended when idle.

A worker that dies or takes too long is killed, which only the search of that step notices; the next step
starts another one.
"""

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Coroutine
from typing import Any, TypeVar

from loom.errors import BadRequest, SearchFailed
from loom.streams.grep.steps import HEAD, Result, Step, length, split

IDLE = 30.0
"""Seconds without a step after which a worker ends."""
PATIENCE = 10.0
"""Seconds that one step may take. RE2 needs them only for a pattern that is slow and a line that is long."""
RECEIVED = 256 << 10

T = TypeVar("T")


class Worker:
    """One process."""

    def __init__(self, process: Process, peer: socket.socket) -> None:
        self.process = process
        self.idle: asyncio.TimerHandle | None = None
        self._peer = peer

    @classmethod
    async def start(cls) -> "Worker":
        """Start a process. Raises OSError."""
        peer, other = socket.socketpair()
        with other:
            try:
                peer.setblocking(False)
                process = await asyncio.create_subprocess_exec(
                    # Without -P, modules in the current directory would take precedence.
                    *(sys.executable, "-P", "-m", "loom.streams.grep.worker"),
                    stdin=other.fileno(),
                    stdout=DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    # Ctrl-C in a terminal is meant for the server, which ends its workers itself.
                    start_new_session=True,
                )
            except BaseException:
                peer.close()
                raise
        return cls(process, peer)

    def send(self, step: Step, descriptor: int | None) -> bytes:
        """Send the head of a step with its descriptor, and return what is left to send.

        Does not wait: the descriptor is the caller's only until then.
        """
        message = step.encode()
        descriptors = [] if descriptor is None else [descriptor]
        # Never blocks, because nothing is in the socket between two steps.
        sent = socket.send_fds(self._peer, [message[: HEAD.size]], descriptors)
        return message[sent:]

    async def finish(self, rest: bytes) -> Result:
        """Send the rest of a step and return its result. Raises OSError, EOFError."""
        await asyncio.get_running_loop().sock_sendall(self._peer, rest)
        head = await self._receive(HEAD.size)
        return Result.decode(split(head, await self._receive(length(head))))

    async def _receive(self, size: int) -> bytes:
        loop, data = asyncio.get_running_loop(), bytearray()
        while len(data) < size:
            part = await loop.sock_recv(self._peer, min(RECEIVED, size - len(data)))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    async def end(self) -> None:
        """Kill the process, and wait until it has ended."""
        if self.idle is not None:
            self.idle.cancel()
        self._peer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Workers:
    """At most `most` processes, which take the steps of all searches in turn."""

    def __init__(self, most: int, *, idle: float = IDLE, patience: float = PATIENCE) -> None:
        self._turns = asyncio.Semaphore(most)
        self._free: list[Worker] = []
        self._idle = idle
        self._patience = patience
        self._tasks: set[asyncio.Task[Any]] = set()
        self.running: set[Worker] = set()
        """The workers whose process runs."""

    async def do(self, step: Step, descriptor: int | None = None) -> Result:
        """Let a worker do one step. `descriptor` has to stay open until this returns or is cancelled.

        A step that is cancelled ends by itself. Raises BadRequest for an invalid pattern, SearchFailed.
        """
        await self._turns.acquire()
        try:
            worker = self._idle_worker() or await self._start()
            try:
                rest = worker.send(step, descriptor)
            except OSError:
                await self._end(worker)
                raise SearchFailed("The process that searches has ended. Try again.") from None
        except BaseException:
            self._turns.release()
            raise
        # The caller may be cancelled; the worker must be received from, whoever waits.
        result = await asyncio.shield(self._task(self._finish(worker, rest)))
        if result.invalid:
            raise BadRequest(f"The pattern is not one for RE2: {result.invalid}.")
        return result

    def _idle_worker(self) -> Worker | None:
        """Return a worker that waits for a step, if one has not died meanwhile."""
        while self._free:
            worker = self._free.pop()
            if worker.idle is not None:
                worker.idle.cancel()
            if worker.process.returncode is None:
                return worker
            self._task(self._end(worker))
        return None

    async def _start(self) -> Worker:
        try:
            worker = await Worker.start()
        except OSError:
            raise SearchFailed("No process can be started to search. Try again.") from None
        self.running.add(worker)
        return worker

    async def _finish(self, worker: Worker, rest: bytes) -> Result:
        try:
            async with asyncio.timeout(self._patience):
                result = await worker.finish(rest)
        except TimeoutError:
            await self._end(worker)
            raise SearchFailed(
                f"This pattern takes more than {self._patience:g} s for one part of this stream. "
                "Search for a simpler one."
            ) from None
        except (OSError, EOFError):
            await self._end(worker)
            raise SearchFailed("The process that searched ended early. Try again.") from None
        except BaseException:
            await self._end(worker)
            raise
        else:
            self._free.append(worker)
            worker.idle = asyncio.get_running_loop().call_later(self._idle, self._on_idle, worker)
            return result
        finally:
            self._turns.release()

    def _on_idle(self, worker: Worker) -> None:
        if worker in self._free:
            self._free.remove(worker)
            self._task(self._end(worker))

    async def _end(self, worker: Worker) -> None:
        self.running.discard(worker)
        await worker.end()

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the search that would raise it may have been cancelled

    async def close(self) -> None:
        """End all workers, and the steps that they do."""
        for task in self._tasks:
            task.cancel()
        # A task that had not begun did not end its worker.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*map(self._end, list(self.running)))
        self._free.clear()

"""Log records of a program as a stream. Owns the queue between the program, which never waits, and a push."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from loom.client.client import AsyncClient
from loom.client.errors import ClientError

MAX_BYTES = 4 << 20


class StreamHandler(logging.Handler):
    """Send log records to the stream `id`, one line each, from a thread of its own.

    Logging never waits: records beyond `max_bytes` are dropped and counted in `dropped`, and a line in the
    stream says how many. `close`, which logging calls at the end of the program, waits at most `patience`
    seconds for the records left; if that is too short, the stream stays incomplete. A push that fails for
    good is reported once on standard error. After a fork the child needs a handler of its own: this one
    ignores its records. The other arguments are those of AsyncClient.push.
    """

    def __init__(
        self,
        client: AsyncClient,
        id: str,
        *,
        level: int = logging.NOTSET,
        max_bytes: int = MAX_BYTES,
        patience: float = 5.0,
        metadata: Mapping[str, Any] | None = None,
        force: bool = False,
        ttl: int | None = None,
        spool: Path | None = None,
    ) -> None:
        super().__init__(level)
        self.dropped = 0
        self._client = client
        self._id = id
        self._send = partial(
            client.push, id, metadata=metadata, content_type="text/plain", force=force, ttl=ttl, spool=spool
        )
        self._max_bytes = max_bytes
        self._patience = patience
        self._pid = os.getpid()
        # Logging holds the handler's own lock during `close`, which waits for the thread.
        self._changing = threading.RLock()
        self._queue: list[bytes] = []
        self._size = 0
        self._unreported = 0
        self._ended = False
        self._failed = False
        self._loop = asyncio.new_event_loop()
        self._awakened = asyncio.Event()
        self._pushing: asyncio.Task[int] | None = None
        self._thread = threading.Thread(target=self._run, name="loom-logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it if the queue is full."""
        # Records of the push itself would cause further pushes, and further records.
        if self._pid != os.getpid() or record.thread == self._thread.ident:
            return
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:
            self.handleError(record)
            return
        with self._changing:
            if self._ended or self._failed or self._size + len(line) > self._max_bytes:
                self.dropped += 1
                self._unreported += 1
                return
            self._queue.append(line)
            self._size += len(line)
        self._wake()

    def close(self) -> None:
        """Send the records left, complete the stream and end the thread. May be repeated."""
        super().close()
        if self._ended or self._pid != os.getpid():
            return
        self._ended = True
        self._wake()
        self._thread.join(self._patience)
        if self._thread.is_alive() and self._pushing is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._pushing.cancel)
            self._thread.join(1)

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: the push has ended
            self._loop.call_soon_threadsafe(self._awakened.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._push())
            except asyncio.CancelledError:
                pass
            except ClientError as error:
                self._failed = True
                with suppress(OSError, AttributeError):
                    sys.stderr.write(f"Log records are no longer sent to the stream {self._id}: {error}\n")

    async def _push(self) -> None:
        async with self._client:
            self._pushing = asyncio.ensure_future(self._send(self._lines()))
            await self._pushing

    async def _lines(self) -> AsyncIterator[bytes]:
        while True:
            ended = self._ended
            if lines := self._take():
                yield lines
            elif ended:
                return
            else:
                await self._awakened.wait()
                self._awakened.clear()

    def _take(self) -> bytes:
        with self._changing:
            lines, self._queue, self._size = self._queue, [], 0
            if self._unreported:
                lines.append(b"%d log records were dropped here\n" % self._unreported)
                self._unreported = 0
        return b"".join(lines)

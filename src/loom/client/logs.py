"""A program's log records as a stream. Owns the queue between the program, which never waits, and a push."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from loom.client.client import AsyncClient
from loom.client.errors import ClientError

MAX_BYTES = 4 << 20


class StreamHandler(logging.Handler):
    """Sends records to the stream `id`, a line each, through a thread of its own.

    Logging never waits: records that do not fit in `max_bytes` are dropped, counted in `dropped`, and a line
    in the stream says how many. `close`, which logging calls at the end of the program, waits `patience`
    seconds for what is left; if that is not enough the stream does not become complete. A push that fails for
    good is told once on standard error. After a fork the child logs nothing here: it needs its own handler.
    """

    def __init__(
        self,
        client: AsyncClient,
        id: str,
        *,
        level: int = logging.NOTSET,
        max_bytes: int = MAX_BYTES,
        patience: float = 5.0,
        **options: Any,
    ) -> None:
        super().__init__(level)
        self.dropped = 0
        self._client = client
        self._id = id
        self._options = options
        self._max_bytes = max_bytes
        self._patience = patience
        self._pid = os.getpid()
        # Not the handler's own lock, which logging holds while it closes.
        self._changing = threading.RLock()
        self._queue: list[bytes] = []
        self._size = 0
        self._untold = 0
        self._ended = False
        self._failed = False
        self._loop = asyncio.new_event_loop()
        self._stirred = asyncio.Event()
        self._pushing: asyncio.Task[int] | None = None
        self._thread = threading.Thread(target=self._run, name="loom-logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        # What the push itself logs would be pushed, and logged.
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
                self._untold += 1
                return
            self._queue.append(line)
            self._size += len(line)
        self._stir()

    def close(self) -> None:
        """Send what is left, complete the stream, and end the thread. May be repeated."""
        super().close()
        if self._ended or self._pid != os.getpid():
            return
        self._ended = True
        self._stir()
        self._thread.join(self._patience)
        if self._thread.is_alive() and self._pushing is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._pushing.cancel)
            self._thread.join(1)

    def _stir(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: the push has ended
            self._loop.call_soon_threadsafe(self._stirred.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._push())
            except asyncio.CancelledError:
                pass
            except ClientError as error:
                self._failed = True
                with suppress(OSError, AttributeError):
                    sys.stderr.write(f"Log records do not reach the stream {self._id} any more: {error}\n")

    async def _push(self) -> None:
        async with self._client:
            self._pushing = asyncio.ensure_future(
                self._client.push(self._id, self._lines(), content_type="text/plain", **self._options)
            )
            await self._pushing

    async def _lines(self) -> AsyncIterator[bytes]:
        while True:
            ended = self._ended
            if lines := self._take():
                yield lines
            elif ended:
                return
            else:
                await self._stirred.wait()
                self._stirred.clear()

    def _take(self) -> bytes:
        with self._changing:
            lines, self._queue, self._size = self._queue, [], 0
            if self._untold:
                lines.append(b"%d log records were dropped here\n" % self._untold)
                self._untold = 0
        return b"".join(lines)

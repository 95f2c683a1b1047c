"""Compute the SHA-256 of every stream. Owns which streams are hashed, and how far.

Durable bytes are read back in a thread, which follows the producer at a distance of some MiB. A takeover does
not disturb it. The digest is stored once the stream is complete. No acknowledgement waits for any of this,
except that of a producer that sent a digest to compare. Knows the store by its contract; nothing of HTTP.
"""

import asyncio
import hashlib
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress

import structlog

from loom.errors import (
    Fenced,
    LoomError,
    StoreStopped,
    StreamDamaged,
    StreamFinal,
    StreamGone,
    StreamNotFound,
    VersionMismatch,
)
from loom.model import Change, ChangeKind, Info, Patch, Query, State
from loom.store.base import Content, Store

STEP = 8 << 20
"""A growing stream is hashed whenever this many more bytes are durable."""
SLICE = 4 << 20
"""The thread hashes this much of one stream, then serves the next one."""
PATIENCE = 64 << 20
"""A response waits for a digest if at most this much is left to hash: some tenths of a second."""
PIECE = 256 << 10

logger = structlog.get_logger("loom")


class Hashing:
    """The hash of bytes [0, offset) of one stream. Only the task that holds the lock may advance it."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.offset = 0
        self.lock = asyncio.Lock()
        self.step: asyncio.Task[None] | None = None


class Digests:
    """The hashes of all streams that are being hashed. `run` is its background job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hashings: dict[str, Hashing] = {}
        self._ended: asyncio.Queue[Info] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-digest")
        self._turn = asyncio.Lock()  # held to use the thread for one slice
        self._jobs: set[asyncio.Task[None]] = set()
        self._closed = False

    def on_durable(self, key: str, durable: int) -> None:
        """Hash a growing stream in the background once a step of durable bytes is not hashed yet."""
        # Called after every append: most streams end before their first step and need no entry here.
        if durable < STEP:
            return
        hashing = self._hashings.setdefault(key, Hashing())
        if durable - hashing.offset >= STEP and hashing.step is None and not self._closed:
            hashing.step = asyncio.create_task(self._hash_step(hashing, key, durable))
            self._jobs.add(hashing.step)
            hashing.step.add_done_callback(self._jobs.discard)

    async def of(self, key: str, size: int) -> str:
        """Return the digest of the first `size` bytes, which must be durable.

        Raises Fenced if the hash is already past `size`, and StreamNotFound, StreamDamaged, Busy,
        StoreStopped.
        """
        hashing = self._hashings.setdefault(key, Hashing())
        await self._advance(hashing, key, size)
        # Another producer has appended since: a hash cannot go back.
        if hashing.offset != size:
            raise Fenced("Another producer took over the stream.")
        return text_of(hashing.sha.digest())

    async def known(self, info: Info) -> Info:
        """Return the stream with its digest, or unchanged if it is not complete or hashing would take
        long.
        """
        if info.state is not State.COMPLETE or info.digest is not None:
            return info
        hashing = self._hashings.get(info.key)
        if info.size - (hashing.offset if hashing else 0) > PATIENCE:
            return info
        with suppress(LoomError):
            return await self._settle(info)
        return info

    async def run(self) -> None:
        """Store the digest of every stream that completes, and of those that completed earlier without one.

        Runs until cancelled or the store has stopped.
        """
        # Watch before listing: a stream that completes in between is then in both, never in none.
        watching = self._store.watch(self._on_change)
        backlog = Query(states=frozenset({State.COMPLETE}), undigested=True)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._settle_all(self._store.find(backlog), resting=True))
                both.create_task(self._settle_all(self._endings()))
        finally:
            watching.close()

    def statistics(self) -> int:
        """Return how many streams are being hashed."""
        return len(self._hashings)

    async def close(self) -> None:
        """Stop hashing; return once nothing is being read."""
        self._closed = True
        if self._jobs:
            await asyncio.wait(self._jobs)
        async with self._turn:
            self._thread.shutdown(wait=False)

    def _on_change(self, change: Change) -> None:
        info = change.info
        if change.kind is ChangeKind.CLOSED and info.state is State.COMPLETE and info.digest is None:
            self._ended.put_nowait(info)
        elif change.kind in (ChangeKind.CLOSED, ChangeKind.DELETED):
            self._hashings.pop(info.key, None)

    async def _endings(self) -> AsyncIterator[Info]:
        while True:
            yield await self._ended.get()

    async def _settle_all(self, infos: AsyncIterator[Info], *, resting: bool = False) -> None:
        """Settle each stream. With `resting`, pause after each for as long as it took, to spare the disk."""
        # The store has stopped, or cannot list: the next start lists what is left.
        with suppress(LoomError):
            async for info in infos:
                begun = time.monotonic()
                try:
                    await self._settle(info)
                except StoreStopped:
                    raise
                except (StreamNotFound, StreamGone):
                    pass
                except Exception as error:
                    logger.error(
                        "The digest of a stream could not be computed; the next start retries.",
                        stream=info.id,
                        error=str(error),
                    )
                if resting:
                    await asyncio.sleep(time.monotonic() - begun)

    async def _settle(self, info: Info) -> Info:
        """Compute the digest of a complete stream, store it, and return the stream with it."""
        digest = ""
        while True:
            current = await self._store.info(info.id)
            if current.key != info.key:
                raise StreamGone(f"The stream with ID {info.id} was replaced.")
            # Another request or job may have stored the digest already.
            if current.digest is not None:
                self._hashings.pop(info.key, None)
                return current
            digest = digest or await self.of(info.key, info.size)
            # A change of the stream in between is no failure: look at it again.
            with suppress(VersionMismatch, StreamFinal):
                await self._store.change(info.key, Patch(digest=digest), version=current.version)

    async def _hash_step(self, hashing: Hashing, key: str, durable: int) -> None:
        try:
            await self._advance(hashing, key, durable)
        except LoomError:
            pass  # `of` or `known` meets the same error and reports it
        finally:
            hashing.step = None

    async def _advance(self, hashing: Hashing, key: str, stop: int) -> None:
        # Background steps and requests share one hash: the second waits and finds it advanced.
        async with hashing.lock:
            if hashing.offset >= stop:
                return
            async with await self._store.open(key) as content:
                while hashing.offset < stop:
                    # Streams take turns by slice, so a short one never waits for all of a long one.
                    async with self._turn:
                        if self._closed:
                            raise StoreStopped("The server is stopping.")
                        # Hash on a copy, so that a cancelled or failed slice leaves the state as it was.
                        sha, end = hashing.sha.copy(), min(hashing.offset + SLICE, stop)
                        await hash_range(content, sha, hashing.offset, end, self._thread)
                        hashing.sha, hashing.offset = sha, end


async def hash_range(
    content: Content, sha: "hashlib._Hash", start: int, stop: int, threads: Executor | None = None
) -> None:
    """Feed bytes [start, stop) of the content to a hash, in a thread. Raises StreamDamaged.

    Returns only when the thread is done, even if cancelled: the caller then closes the descriptor it reads.
    """
    loop = asyncio.get_running_loop()
    while start < stop:
        filed = min(content.filed, stop)
        if filed > start and (fd := content.fileno()) is not None:
            job = loop.run_in_executor(threads, _hash_file, sha, fd, start, filed)
            start = filed
        else:
            data = b"".join([piece async for piece in content.read(start, min(stop, start + PIECE))])
            job = loop.run_in_executor(threads, sha.update, data)
            start += len(data)
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait({job})
            raise


def _hash_file(sha: "hashlib._Hash", fd: int, start: int, stop: int) -> None:
    buffer = memoryview(bytearray(PIECE))
    while start < stop:
        try:
            count = os.preadv(fd, [buffer[: stop - start]], start)
        except OSError:
            count = 0
        if not count:
            raise StreamDamaged("Stored bytes are missing.")
        sha.update(buffer[:count])
        start += count


def text_of(digest: bytes) -> str:
    """Return a SHA-256 as stored: in base64."""
    return b64encode(digest).decode("ascii")

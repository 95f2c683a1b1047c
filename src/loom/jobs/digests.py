"""Digests: the SHA-256 of every stream, computed beside it. Owns which stream is hashed, and how far.

What is durable is read back in a thread, some MiB behind the producer, whoever that is by then. The digest is
stored once the stream is complete. Nothing here is in the way of an acknowledgement, but where a producer
wants its bytes compared before the end. Knows the store by its contract; nothing of HTTP.
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
"""A stream that grows is hashed on whenever so many more bytes are durable."""
SLICE = 4 << 20
"""What the thread does at once: nobody waits for all of another stream."""
PATIENCE = 64 << 20
"""How many bytes may be left to hash for an answer that waits for the digest; some tenths of a second."""
PIECE = 256 << 10

logger = structlog.get_logger("loom")


class Hashing:
    """The hash of bytes [0, offset) of one stream. Whoever holds the lock moves it on."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.offset = 0
        self.lock = asyncio.Lock()
        self.following: asyncio.Task[None] | None = None


class Digests:
    """The hashes of all streams that need one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hashings: dict[str, Hashing] = {}
        self._ended: asyncio.Queue[Info] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-digest")
        self._turn = asyncio.Lock()  # to use the thread, for one slice
        self._jobs: set[asyncio.Task[None]] = set()
        self._closed = False

    def on_durable(self, key: str, durable: int) -> None:
        """So many bytes of a stream that is not final are durable: hash on, if it is worth it."""
        if durable < STEP:
            return
        hashing = self._hashings.setdefault(key, Hashing())
        if durable - hashing.offset >= STEP and hashing.following is None and not self._closed:
            hashing.following = asyncio.create_task(self._follow(hashing, key, durable))
            self._jobs.add(hashing.following)
            hashing.following.add_done_callback(self._jobs.discard)

    async def of(self, key: str, size: int) -> str:
        """The digest of the first `size` bytes, which are durable; Fenced if the stream went on meanwhile.

        Raises StreamNotFound, StreamDamaged, Busy, StoreStopped.
        """
        hashing = self._hashings.setdefault(key, Hashing())
        await self._advance(hashing, key, size)
        if hashing.offset != size:
            raise Fenced("Another producer took the stream over.")
        return text_of(hashing.sha.digest())

    async def known(self, info: Info) -> Info:
        """The stream with its digest, if it is complete and that takes but a moment; else as it is."""
        if info.state is not State.COMPLETE or info.digest is not None:
            return info
        hashing = self._hashings.get(info.key)
        if info.size - (hashing.offset if hashing else 0) > PATIENCE:
            return info
        with suppress(LoomError):
            return await self._settle(info)
        return info

    async def run(self) -> None:
        """Settle every stream that ends, and those that ended before without a digest, until cancelled or the
        store has stopped."""
        watching = self._store.watch(self._changed)
        backlog = Query(states=frozenset({State.COMPLETE}), undigested=True)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._settle_all(self._store.find(backlog), resting=True))
                both.create_task(self._settle_all(self._endings()))
        finally:
            watching.close()

    def statistics(self) -> int:
        """How many streams are being hashed."""
        return len(self._hashings)

    async def close(self) -> None:
        """Compute nothing more; returns once nothing is being read."""
        self._closed = True
        if self._jobs:
            await asyncio.wait(self._jobs)
        async with self._turn:
            self._thread.shutdown(wait=False)

    def _changed(self, change: Change) -> None:
        info = change.info
        if change.kind is ChangeKind.CLOSED and info.state is State.COMPLETE and info.digest is None:
            self._ended.put_nowait(info)
        elif change.kind is not ChangeKind.CREATED:
            self._hashings.pop(info.key, None)

    async def _endings(self) -> AsyncIterator[Info]:
        while True:
            yield await self._ended.get()

    async def _settle_all(self, infos: AsyncIterator[Info], *, resting: bool = False) -> None:
        """Settle each, and rest for as long as that took: a start with much to do leaves time to others."""
        with suppress(LoomError):  # the store has stopped, or cannot list: the next start goes on
            async for info in infos:
                begun = time.monotonic()
                try:
                    await self._settle(info)
                except StoreStopped:
                    raise
                except (StreamNotFound, StreamGone):
                    pass
                except Exception as error:
                    logger.error("a stream has no digest yet", stream=info.id, error=str(error))
                if resting:
                    await asyncio.sleep(time.monotonic() - begun)

    async def _settle(self, info: Info) -> Info:
        """Compute the digest of a complete stream and store it; returns the stream as it then is."""
        digest = ""
        while True:
            current = await self._store.info(info.id)
            if current.key != info.key:
                raise StreamGone(f"The stream with ID {info.id} was replaced.")
            if current.digest is not None:
                self._hashings.pop(info.key, None)
                return current
            digest = digest or await self.of(info.key, info.size)
            with suppress(VersionMismatch, StreamFinal):  # somebody was faster: look again
                await self._store.change(info.key, Patch(digest=digest), version=current.version)

    async def _follow(self, hashing: Hashing, key: str, durable: int) -> None:
        try:
            await self._advance(hashing, key, durable)
        except LoomError:
            pass  # whoever needs the digest meets it too
        finally:
            hashing.following = None

    async def _advance(self, hashing: Hashing, key: str, stop: int) -> None:
        async with hashing.lock:
            if hashing.offset >= stop:
                return
            async with await self._store.open(key) as content:
                while hashing.offset < stop:
                    async with self._turn:
                        if self._closed:
                            raise StoreStopped("The server is stopping.")
                        # On a copy: a slice that is not finished leaves nothing behind.
                        sha, end = hashing.sha.copy(), min(hashing.offset + SLICE, stop)
                        await hash_range(content, sha, hashing.offset, end, self._thread)
                        hashing.sha, hashing.offset = sha, end


async def hash_range(
    content: Content, sha: "hashlib._Hash", start: int, stop: int, threads: Executor | None = None
) -> None:
    """Feed bytes [start, stop) of the content to a hash, in a thread. Raises StreamDamaged.

    Does not return before the thread is through, even if cancelled: the descriptor it reads is the content's.
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
    """A SHA-256 as it is kept: in base64."""
    return b64encode(digest).decode("ascii")

"""The inputs of a push. Descriptors are read when they are readable, or in a thread if they are files."""

import asyncio
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import IO, TypeVar

CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


Source = bytes | Path | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]
"""What can be pushed: bytes, the path of a file, an open file or pipe, or an iterable of bytes."""


async def chunks_of(source: Source) -> AsyncIterator[bytes]:
    """Yield the bytes of a source in chunks. Files are read in a thread, iterables in the event loop."""
    if isinstance(source, bytes):
        for at in range(0, len(source), CHUNK_BYTES):
            yield source[at : at + CHUNK_BYTES]
    elif isinstance(source, Path):
        file = await in_thread(lambda: source.open("rb", buffering=0))
        try:
            async for chunk in read_chunks(file.fileno()):
                yield chunk
        finally:
            await in_thread(file.close)
    elif isinstance(source, AsyncIterable):
        async for chunk in source:
            yield chunk
    elif hasattr(source, "fileno"):
        async for chunk in read_chunks(source.fileno()):
            yield chunk
    else:
        for chunk in source:
            yield chunk
            await asyncio.sleep(0)


async def read_chunks(fd: int) -> AsyncIterator[bytes]:
    """Yield what arrives on `fd`, as soon as it arrives, until its end. Read nothing ahead.

    Files, for which an event loop cannot wait, are read in a thread.
    """
    waits = True
    while True:
        try:
            waits = waits and await _wait_readable(fd)
            chunk = os.read(fd, CHUNK_BYTES) if waits else await in_thread(lambda: os.read(fd, CHUNK_BYTES))
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work`, which may wait for a disk, in a thread."""
    return await asyncio.to_thread(work)


async def _wait_readable(fd: int) -> bool:
    """Wait until `fd` has bytes or has ended. Return False if it does not support waiting: it is a file."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:
        return False
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return True


def file_size(fd: int) -> int | None:
    """Return the number of bytes left in a regular file, None for anything else."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))

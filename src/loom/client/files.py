"""Inputs that a push reads: descriptors, awaited where they can be; otherwise read in a thread."""

import asyncio
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import IO, TypeVar

CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


Source = bytes | Path | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]
"""What can be pushed: bytes, a file by its path or open (a pipe, say), or pieces as they come."""


async def chunks_of(source: Source) -> AsyncIterator[bytes]:
    """The bytes of a source, in pieces. An iterable is asked in the event loop, a file is read beside it."""
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
    """What arrives on `fd`, as soon as it arrives and not before it is asked for, until its end.

    Pipes, terminals and sockets are awaited; files, which the loop cannot wait for, are read in a thread.
    """
    waits = True
    while True:
        try:
            waits = waits and await _readable(fd)
            chunk = os.read(fd, CHUNK_BYTES) if waits else await in_thread(lambda: os.read(fd, CHUNK_BYTES))
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk


async def in_thread(work: Callable[[], T]) -> T:
    """Do what may wait for a disk."""
    return await asyncio.to_thread(work)


async def _readable(fd: int) -> bool:
    """Wait until `fd` has bytes or has ended; False if it cannot be waited for."""
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
    """How many bytes are left in a regular file, None if it is another thing."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))

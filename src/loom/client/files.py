"""Inputs that a push reads: descriptors, awaited where they can be; otherwise read in a thread."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


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

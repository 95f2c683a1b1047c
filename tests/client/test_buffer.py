"""Unconfirmed bytes: each can be read until it is released."""

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.client.buffer import PAGE_BYTES, Buffer

DATA = os.urandom(PAGE_BYTES) * 7
PIECES = st.lists(st.integers(1, 3 * PAGE_BYTES // 2), min_size=1, max_size=5)


def files_of(directory: Path) -> int:
    """Return the bytes on disk of unnamed files in `directory` that this process has open."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()).startswith(str(directory)):
                total += os.stat(entry).st_blocks * 512
        except FileNotFoundError:
            continue
    return total


async def drained(buffer: Buffer, offset: int, most: int) -> bytes:
    whole = b""
    while data := await buffer.read(offset + len(whole), most):
        whole += data
    return whole


@given(PIECES, st.integers(0, 2 * PAGE_BYTES), st.integers(1000, 2 * PAGE_BYTES), st.data())
@settings(max_examples=30)
def test_appended_bytes_are_read_unchanged(pieces, start, most, draw):
    async def check():
        buffer = Buffer(start=start, memory=PAGE_BYTES)
        try:
            for size in pieces:
                at = buffer.end - start
                await buffer.append(DATA[at : at + size])
                buffer.release(draw.draw(st.integers(buffer.start, buffer.end)))
                kept = DATA[buffer.start - start : buffer.end - start]
                assert await drained(buffer, buffer.start, most) == kept
                assert await drained(buffer, buffer.end, most) == b""
        finally:
            buffer.close()

    asyncio.run(check())


async def test_bytes_beyond_memory_are_in_an_unnamed_file_whose_space_is_reused(tmp_path):
    buffer = Buffer(memory=PAGE_BYTES, directory=tmp_path)
    await buffer.append(DATA[: 4 * PAGE_BYTES])
    assert list(tmp_path.iterdir()) == []
    size = files_of(tmp_path)
    assert size >= 2 * PAGE_BYTES
    for _ in range(10):
        buffer.release(buffer.start + 2 * PAGE_BYTES)
        await buffer.append(DATA[: 2 * PAGE_BYTES])
    assert files_of(tmp_path) <= size + PAGE_BYTES
    assert await drained(buffer, buffer.end - PAGE_BYTES, 5000) == DATA[PAGE_BYTES : 2 * PAGE_BYTES]
    buffer.close()


async def test_append_waits_at_the_limit_until_bytes_are_released():
    buffer = Buffer(limit=1000)
    await buffer.append(DATA[:1000])
    assert buffer.full
    appending = asyncio.create_task(buffer.append(DATA[1000:1500]))
    await asyncio.sleep(0)
    assert buffer.end == 1000
    buffer.release(300)
    await asyncio.sleep(0.01)
    assert buffer.end == 1300
    buffer.release(1000)
    await appending
    assert await drained(buffer, 1000, 7) == DATA[1000:1500]
    buffer.close()


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Limit files to `size` bytes: EFBIG stands for ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_makes_the_input_wait_and_loses_nothing(tmp_path):
    buffer = Buffer(memory=PAGE_BYTES, directory=tmp_path)
    with small_files(PAGE_BYTES * 3 // 2):
        appending = asyncio.create_task(buffer.append(DATA[: 6 * PAGE_BYTES]))
        got = b""
        while not appending.done() or buffer.size:
            await asyncio.wait({appending}, timeout=0.05)
            assert buffer.size <= 5 * PAGE_BYTES
            piece = await drained(buffer, buffer.start, 100_000)
            got += piece
            buffer.release(len(got))
        await appending
    assert got == DATA[: 6 * PAGE_BYTES]
    buffer.close()


async def test_a_full_disk_is_an_error_once_the_limit_is_lifted(tmp_path):
    buffer = Buffer(memory=PAGE_BYTES, limit=PAGE_BYTES, directory=tmp_path)
    with small_files(PAGE_BYTES // 2):
        appending = asyncio.create_task(buffer.append(DATA))
        buffer.lift_limit()
        with pytest.raises(OSError) as raised:
            await appending
    assert raised.value.errno == errno.EFBIG
    buffer.close()


async def test_a_wait_for_bytes_ends_with_the_input():
    buffer = Buffer()
    waiting = asyncio.create_task(buffer.wait_beyond(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.finish()
    await waiting
    buffer.close()

"""The files with the bytes that a push could not send."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from loom.client import spool

REMAINDER = spool.Remainder(
    server="http://h",
    id="s",
    key=None,
    epoch=0,
    offset=3,
    size=7,
    whole=True,
    digest=None,
    members={"exit_code": 1},
    metadata="{}",
    content_type="x/y",
    force=False,
    resume_window=1,
    idempotency_key="k",
    ttl=86400,
)


async def rest() -> AsyncIterator[bytes]:
    yield b"re"
    yield b"st"


async def failing() -> AsyncIterator[bytes]:
    yield b"re"
    raise OSError(28, "No space left on device")


async def test_a_spool_file_is_read_as_it_was_written(tmp_path):
    path = await spool.save(tmp_path / "new", REMAINDER, rest())
    assert await asyncio.to_thread(spool.find, tmp_path / "new") == [path]
    with await asyncio.to_thread(spool.open_file, path) as spooled:
        assert spooled.remainder == REMAINDER
        assert [piece async for piece in spooled.read(3)] == [b"rest"]
        assert [piece async for piece in spooled.read(5)] == [b"st"]


async def test_a_spool_file_of_an_earlier_release_has_no_ttl(tmp_path):
    path = await spool.save(tmp_path, REMAINDER, rest())
    text = await asyncio.to_thread(path.read_bytes)
    assert b', "ttl": 86400' in text
    await asyncio.to_thread(path.write_bytes, text.replace(b', "ttl": 86400', b""))
    with await asyncio.to_thread(spool.open_file, path) as spooled:
        assert spooled.remainder == replace(REMAINDER, ttl=None)


async def test_a_spool_file_that_cannot_be_written_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(spool.SpoolError, match="No space left"):
        await spool.save(tmp_path, REMAINDER, failing())
    assert list(tmp_path.iterdir()) == []


async def test_a_spool_file_is_opened_by_one_process_at_a_time(tmp_path):
    path = await spool.save(tmp_path, REMAINDER, rest())
    with await asyncio.to_thread(spool.open_file, path):
        with pytest.raises(spool.SpoolError, match="another process"):
            await asyncio.to_thread(spool.open_file, path)


@pytest.mark.parametrize("how", ["cut", "headless", "empty", "foreign", "gone"])
async def test_a_damaged_spool_file_is_refused(tmp_path, how):
    path = await spool.save(tmp_path, REMAINDER, rest())
    content = path.read_bytes()
    damaged = {"cut": content[:-1], "headless": b"{}\nrest", "empty": b"", "foreign": b"[1]\n" + content}
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[how])
    with pytest.raises(spool.SpoolError):
        await asyncio.to_thread(spool.open_file, path)


async def test_a_spool_file_is_flushed_before_it_gets_its_name_and_the_name_after(tmp_path, monkeypatch):
    calls: list[tuple[object, ...]] = []
    sync, rename = os.fsync, os.rename

    def flushed(fd):
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        calls.append(("flush", path.name, path.stat().st_size if path.is_file() else None))
        sync(fd)

    def renamed(old, new):
        calls.append(("rename", Path(old).name, Path(new).name))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    path = await spool.save(tmp_path, REMAINDER, rest())
    part = path.with_suffix(".part").name
    size = (await asyncio.to_thread(path.stat)).st_size
    assert calls == [("flush", part, size), ("rename", part, path.name), ("flush", tmp_path.name, None)]
    assert (await asyncio.to_thread(path.stat)).st_mode & 0o777 == 0o600

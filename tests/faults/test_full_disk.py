"""A file system that is full: streams are read, ended and deleted, and nothing reported is lost."""

import asyncio
import os

import pytest
from tests.support.peers import Content, ask, produce, send, soon
from tests.support.server import LOOM, until
from tests.support.wire import Cut

LINE = 100


def fill(volume) -> None:
    """Fill every block."""
    path = volume.outside / "filler"
    size = 1 << 26
    with open(path, "wb", buffering=0) as file:
        while size >= 512:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
            except OSError:
                size //= 2
        os.fsync(file.fileno())


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.timeout(180)
async def test_on_a_full_file_system_streams_are_read_ended_and_deleted(kind, volume_of, run):
    volume = await asyncio.to_thread(volume_of, kind)
    program = (*volume.enter, *LOOM)
    options = {"program": program, "min_free_bytes": 0, "min_free_inodes": 0, "resume_window": 3600}
    server = await run(volume.path / "data", **options)
    for number in (1, 2):
        async with produce(server, f"/stream/{number}") as wire:
            await send(wire, Content(number), 0, 500_000)
            await wire.chunk(b"")
            await wire.body()
    async with produce(server, "/stream/3") as idle, produce(server, "/stream/4") as eager:
        await send(idle, Content(3), 0, LINE)
        files = volume.outside / "data" / "content"
        await until(
            "its file has the line",
            lambda: any(path.is_file() and path.stat().st_size == LINE for path in files.rglob("*")),
        )
        await asyncio.to_thread(fill, volume)
        assert await soon(grows_until_cut(eager, Content(4)))
        body = await soon(ended(server, "/stream/4"))
        assert "No space left" in (await ask(server, "GET", "/stream/4?info"))[1].decode()
        assert Content(4).holds(0, body)
        assert (await ask(server, "GET", "/stream/1"))[1] == Content(1).at(0, 500_000)
        assert (await ask(server, "DELETE", "/stream/2"))[0].status == 204
        await idle.chunk(b"")
        assert await idle.body() == b""
    assert (await ask(server, "GET", "/readyz"))[0].status == 200
    await server.kill()
    os.unlink(volume.outside / "filler")
    server = await run(volume.path / "data", **options)
    assert (await ask(server, "GET", "/stream/1"))[1] == Content(1).at(0, 500_000)
    assert (await ask(server, "GET", "/stream/2"))[0].status == 404
    assert (await ask(server, "GET", "/stream/3"))[1] == Content(3).at(0, LINE)
    head, after = await ask(server, "GET", "/stream/4?notail")
    assert (head["x-stream-state"], after) == ("aborted", body)
    async with produce(server, "/stream/5") as wire:
        await wire.chunk(b"")
        assert await wire.body() == b""


async def ended(server, target) -> bytes:
    """Wait until the stream is aborted, which is after its producer is cut; return its bytes."""
    while True:
        head, body = await ask(server, "GET", f"{target}?notail")
        if head["x-stream-state"] == "aborted":
            return body
        await asyncio.sleep(0.05)


async def grows_until_cut(wire, content) -> bool:
    """Send until the server refuses; return True if it did."""
    try:
        for offset in range(0, 1 << 30, 1 << 20):
            await send(wire, content, offset, 1 << 20)
    except (ConnectionError, Cut):
        return True
    return False

"""The command `loom bench`. Owns what is measured, and the report.

One client process does everything: with a fast server nearby, the figures show the speed of the client.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from loom.cli import options
from loom.cli.command import declare
from loom.cli.running import with_client, write

if TYPE_CHECKING:
    from loom.client.client import AsyncClient

LINE = b"x" * 99 + b"\n"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates in MiB/s; times in milliseconds, from sending a line until its followers have it."""

    upload: float
    download: float
    line_median: float
    line_99th: float
    fan_out_median: float
    fan_out_99th: float

    def table(self, followers: int) -> str:
        """Return the report for people."""
        return (
            f"upload             {self.upload:8.0f} MiB/s   until all of it is durable\n"
            f"download           {self.download:8.0f} MiB/s\n"
            f"a line, 1 follower {self.line_median:8.1f} ms      99th percentile {self.line_99th:.1f} ms\n"
            f"{f'a line to all {followers}':<18} {self.fan_out_median:8.1f} ms      "
            f"99th percentile {self.fan_out_99th:.1f} ms\n"
        )


@declare("bench", "loom bench --server http://loom.example:3060", "loom bench --json --size 1GiB")
@click.option(
    "--size",
    metavar="SIZE",
    default="256MiB",
    type=options.size,
    help="Send and read back this many bytes.",
)
@click.option(
    "--lines",
    metavar="N",
    default="200",
    type=options.whole(10),
    help="Send N lines of 100 bytes, one after the other.",
)
@click.option(
    "--followers",
    metavar="N",
    default="50",
    type=options.whole(1),
    help="Run the last trial with N followers.",
)
@options.json
@with_client
async def command(client: "AsyncClient", size: int, lines: int, followers: int, as_json: bool) -> None:
    """Measure the speed of a server from here.

    Reports the rate of upload and download, and the time from sending a line until its followers have it.
    Creates streams under loom-bench/ and deletes them: the token has to read, write and replace there.
    """
    prefix = f"loom-bench/{uuid.uuid4().hex}/"
    await client.count(prefix)  # fails early without a server or the right to delete
    try:
        figures = await _measure(client, prefix, size, lines, followers)
    finally:
        await client.delete_all(prefix, confirm=await client.count(prefix))
    report = json.dumps(asdict(figures)) + "\n" if as_json else figures.table(followers)
    write(report.encode())


async def _measure(client: "AsyncClient", prefix: str, size: int, lines: int, followers: int) -> Figures:
    upload, download = await _bulk(client, f"{prefix}bulk", size)
    one = await _lines(client, f"{prefix}line", lines, 1)
    many = await _lines(client, f"{prefix}fan-out", lines, followers)
    return Figures(upload, download, _at(one, 0.5), _at(one, 0.99), _at(many, 0.5), _at(many, 0.99))


async def _bulk(client: "AsyncClient", id: str, size: int) -> tuple[float, float]:
    """Send and read back one stream. Return the rates of upload and download."""

    async def pieces() -> AsyncIterator[bytes]:
        for left in range(size, 0, -MIB):
            yield piece[:left]

    piece = os.urandom(MIB)
    begun = time.perf_counter()
    await client.push(id, pieces())
    sent = time.perf_counter()
    read = 0
    async for piece in client.download(id):
        read += len(piece)
    assert read == size
    return size / MIB / (sent - begun), size / MIB / (time.perf_counter() - sent)


async def _lines(client: "AsyncClient", id: str, count: int, followers: int) -> list[float]:
    """Send lines, each once all followers have the one before. Return the times, sorted."""
    arrived = [0] * followers
    progress = asyncio.Condition()
    took: list[float] = []

    async def wait_for_all(size: int) -> None:
        async with progress:
            await progress.wait_for(lambda: min(arrived) >= size)

    async def source() -> AsyncIterator[bytes]:
        for number in range(1, count + 2):
            begun = time.perf_counter()
            yield LINE
            await wait_for_all(number * len(LINE))
            took.append((time.perf_counter() - begun) * 1000)

    async def follow(number: int) -> None:
        async with client.follow(id) as reading:
            async for piece in reading:
                arrived[number] += len(piece)
                async with progress:
                    progress.notify_all()

    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(client.push(id, source()))
        await _wait_until_created(client, id)
        for number in range(followers):
            group.create_task(follow(number))
        await pushing
    return sorted(took[1:])  # the first time includes connecting


async def _wait_until_created(client: "AsyncClient", id: str) -> None:
    from loom.client.errors import NotFound

    while True:
        try:
            await client.info(id)
            return
        except NotFound:
            await asyncio.sleep(0.01)


def _at(times: list[float], share: float) -> float:
    return round(times[int(share * (len(times) - 1))], 3)

"""Thousands of hostile clients at once: a normal line still reaches a normal reader, in bounded memory, and
everything is released afterwards. `make flood` runs the whole load and checks the time of each line.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.support import flood
from tests.support.peers import connect
from tests.support.server import LOOM, MIB, TRACED, Server, die_with_parent, tell, until

SECONDS = float(os.environ.get("FLOOD_SECONDS", "3"))
SHARE = float(os.environ.get("FLOOD_SHARE", "0.05"))
WHOLE = SHARE >= 1
STREAMS = 2000 if WHOLE else 200
INTERVAL = 0.02
"""Seconds between two lines of the normal producer."""
MOST_SECONDS = 0.05
"""Within this time 99 of 100 lines reach the normal reader; checked by the whole load only."""
RESIDENT = 700 * MIB if WHOLE else 250 * MIB
SOCKETS = 8
"""Sockets of processes that search, which may stay open."""
FILES = 30
"""Files of the catalog, and pipes of processes that search, which may stay open besides content files."""
KEPT = 4 * MIB
"""Python objects that may be left afterwards: tables of the interpreter double at times. The process itself
keeps the memory that it needed once, and uses it again."""


@asynccontextmanager
async def flooding(server: Server, share: float) -> AsyncIterator[dict[str, int]]:
    """Attack the server while the block runs; afterwards the mapping has what the attackers met."""
    script = Path(flood.__file__)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), str(server.port), str(share), "big", "normal"),
        stdin=PIPE,
        stdout=PIPE,
        preexec_fn=become_attackers,
    )
    met: dict[str, int] = {}
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"begun\n"
        yield met
    except BaseException:
        process.kill()
        raise
    finally:
        out, _ = await process.communicate(b"")
    met.update(json.loads(out))


def become_attackers() -> None:
    """In the whole load, let the normal producer and reader run before the attackers. Runs in the child."""
    die_with_parent()
    if WHOLE:
        os.nice(10)


@contextmanager
def own_processor() -> Iterator[None]:
    """Run what starts in the block on one processor, and this process on the others from then on.

    Attackers have machines of their own.
    """
    before = os.sched_getaffinity(0)
    if not WHOLE or len(before) < 2:
        yield
        return
    own = {min(before)}
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before - own)


async def prepare(server: Server) -> None:
    """Store what the attackers read and search."""
    async with connect(server) as wire:
        await wire.request("POST", "/stream/big", b"%0999d\n" % 0 * (40_000 if WHOLE else 4000))
        assert (await wire.answer()).status == 201
        await wire.body()
        for number in range(STREAMS):
            metadata = json.dumps({"kind": "common", "number": number})
            await wire.request("POST", "/stream", b"x\n", upload_complete="?1", x_stream_metadata=metadata)
            assert (await wire.answer()).status == 201
            await wire.body()


async def send_lines(server: Server, seconds: float) -> list[float]:
    """Send lines as a normal producer, read them as a normal reader, and return how long each took."""
    took: list[float] = []
    async with connect(server) as producer, connect(server) as reader:
        await producer.post("/stream/line?force")
        assert (await producer.answer()).status == 201
        await reader.request("GET", "/stream/line")
        assert (await reader.answer()).status == 200
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sent = time.perf_counter()
            line = b"line %d\n" % len(took)
            await producer.chunk(line)
            assert await asyncio.wait_for(reader.take(len(line)), 30) == line
            took.append(time.perf_counter() - sent)
            await asyncio.sleep(INTERVAL)
        await producer.chunk(b"")
        await producer.body()
        assert await reader.body() == b""
    return sorted(took)


async def scraped(server: Server) -> dict[str, str]:
    """Return the metrics of the server."""
    async with connect(server) as wire:
        await wire.request("GET", "/metrics")
        assert (await wire.answer()).status == 200
        lines = (await wire.body()).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith("loom_"))


@pytest.mark.timeout(SECONDS + (240 if WHOLE else 60))
async def test_normal_lines_arrive_among_thousands_of_hostile_clients(serve: Serve):
    # The whole load meets the caps that follow from the limit of open files, a part of it as small ones.
    caps = {} if WHOLE else {"max_connections": int(6000 * SHARE), "max_connections_per_address": 1000}
    program = LOOM if WHOLE else TRACED
    with own_processor():
        server = await serve(program=program, resume_window="1s", log_level="warning", **caps)
    await prepare(server)
    async with connect(server) as live:
        await live.post("/stream/normal")
        assert (await live.answer()).status == 201
        alone = await send_lines(server, 10 if WHOLE else 1)
        before, resting = server.descriptors, server.forget_peak()
        objects = 0 if WHOLE else (await server.traced())[0]
        async with flooding(server, SHARE) as met:
            took = await send_lines(server, SECONDS)
            figures, peak = await scraped(server), server.most_resident
        await live.chunk(b"")
        await live.body()
    sockets = before["socket"] + SOCKETS
    await until("all connections are gone", lambda: server.descriptors["socket"] <= sockets, SECONDS + 30)
    await until("descriptors are back", lambda: besides_content(server) <= before.total() + FILES)
    await send_lines(server, 1)
    kept = 0 if WHOLE else (await server.traced())[0] - objects
    tell(
        f"{len(took)} lines: {times(took)}; without the flood {times(alone)}\n"
        f"connections {figures['loom_connections']}, closed for others "
        f"{figures['loom_closed_connections_total']}, refused {figures['loom_refused_connections_total']}\n"
        f"memory {resting >> 20} MiB before, {peak >> 20} MiB at most; objects {kept / MIB:+.1f} MiB\n"
        f"attackers: {json.dumps(met)}"
    )
    assert peak < RESIDENT
    assert kept < KEPT
    if WHOLE:
        assert percentile(took, 0.99) < MOST_SECONDS
    assert await server.stop() == 0


def besides_content(server: Server) -> int:
    """Return the number of open descriptors without those of content files, which the store keeps."""
    return sum(count for name, count in server.descriptors.items() if "/content/" not in name)


def percentile(took: list[float], share: float) -> float:
    return took[int(len(took) * share)]


def times(took: list[float]) -> str:
    median, p99 = percentile(took, 0.5), percentile(took, 0.99)
    return f"median {median * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, longest {took[-1] * 1e3:.0f} ms"

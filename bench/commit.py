"""Commits of the files store: the time of a cycle by the number of live streams, and of an acknowledgement.

A cycle appends a 100-byte line to each stream and ends when all are durable. It is compared with a flush per
file, and with one write and one flush of the same bytes, which is the limit. The store runs in this process.
"""

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.tools import MIB, many_files, median, percentile, ratio, scratch, show
from loom.model import NewStream, steady_clock
from loom.store.base import Writer
from loom.store.files import FilesStore

LINE = b"x" * 99 + b"\n"
SPACE = 16 * MIB


class Appender:
    """A preallocated file that is overwritten in a circle, like a commit log."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(SPACE))
        self._fd = os.open(path, os.O_RDWR)
        self._offset = 0
        os.fsync(self._fd)

    def write(self, data: bytes) -> None:
        """Write `data` and flush."""
        if self._offset + len(data) > SPACE:
            self._offset = 0
        os.pwrite(self._fd, data, self._offset)
        os.fdatasync(self._fd)
        self._offset += len(data)


async def timed(act: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that `act` takes."""
    begun = time.perf_counter()
    await act()
    return time.perf_counter() - begun


async def cycles(store: FilesStore, directory: Path, count: int, rounds: int) -> tuple[float, float, float]:
    """Return medians for `count` streams: Loom, one flush for each file, one write and flush."""
    writers = [await store.create(NewStream(id=f"{count}/{each}")) for each in range(count)]
    files = [
        os.open(directory / f"{count}-{each}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for each in range(count)
    ]
    single = Appender(directory / "single")

    async def ours() -> None:
        for writer in writers:
            writer.append(LINE)
        for writer in writers:
            await writer.wait_durable(writer.accepted)

    def each_file() -> None:
        for file in files:
            os.write(file, LINE)
        for file in files:
            os.fdatasync(file)

    acts: list[Callable[[], Awaitable[object]]] = [
        ours,
        lambda: asyncio.to_thread(each_file),
        lambda: asyncio.to_thread(single.write, LINE * count),
    ]
    times: list[list[float]] = [[], [], []]
    for turn in range(rounds):
        for kind, act in enumerate(acts):
            if kind != 1 or turn < max(5, 2000 // count):  # fewer rounds, since it is slow
                times[kind].append(await timed(act))
    for file in files:
        os.close(file)
    one, two, three = map(median, times)
    return one, two, three


async def acknowledgements(writer: Writer, single: Appender, count: int) -> tuple[list[float], list[float]]:
    """Return the seconds until one line is durable: by Loom, and by a write and a flush, alternating."""

    async def ours() -> None:
        writer.append(LINE)
        await writer.wait_durable(writer.accepted)

    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        times[0].append(await timed(ours))
        times[1].append(await timed(lambda: asyncio.to_thread(single.write, LINE)))
        await asyncio.sleep(0.002)
    return times


async def upload(store: FilesStore) -> None:
    """Append to one stream as fast as the store accepts, until cancelled."""
    writer = await store.create(NewStream(id="upload"))
    piece = os.urandom(256 << 10)
    while True:
        writer.append(piece)
        await writer.wait_for_room()
        await asyncio.sleep(0)


@contextmanager
def copying(path: Path) -> Iterator[None]:
    """Write and flush 4 MiB at a time in a thread, like another program."""
    stop = threading.Event()
    data = os.urandom(4 * MIB)

    def copy() -> None:
        with path.open("wb", buffering=0) as file:
            while not stop.is_set():
                file.write(data)
                os.fdatasync(file.fileno())

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def by_streams(store: FilesStore, directory: Path, options: argparse.Namespace) -> None:
    """Print the table of cycles."""
    rows = []
    for count in options.streams:
        ours, each, single = await cycles(store, directory, count, options.rounds)
        times = f"{ours * 1e3:.2f} ms", f"{each * 1e3:.2f} ms", f"{single * 1e3:.2f} ms"
        rows.append((count, *times[:2], ratio(ours, each), times[2], ratio(ours, single)))
    show(
        "A 100-byte line for each live stream until all are durable",
        ("streams", "Loom", "a flush for each", "Loom / it", "one write and flush", "Loom / it"),
        rows,
    )


async def by_company(store: FilesStore, directory: Path, count: int) -> None:
    """Print the table of acknowledgements."""
    single = Appender(directory / "single")
    writer = await store.create(NewStream(id="line"))
    found = {"nothing else": await acknowledgements(writer, single, count)}
    uploading = asyncio.create_task(upload(store))
    found["an upload to Loom at full speed"] = await acknowledgements(writer, single, count)
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    with copying(directory / "copy"):
        found["another program writing"] = await acknowledgements(writer, single, count)
    rows = []
    for name, (ours, bare) in found.items():
        row = [name]
        for share in (0.5, 0.99):
            mine, other = percentile(ours, share), percentile(bare, share)
            row += [f"{mine * 1e3:.2f} ms", f"{other * 1e3:.2f} ms", ratio(mine, other)]
        rows.append(row)
    show(
        "One producer, line by line: until its line is acknowledged",
        ("beside", "p50", "write and flush", "Loom / it", "p99", "write and flush", "Loom / it"),
        rows,
    )


async def run(options: argparse.Namespace, directory: Path) -> None:
    """Print both tables."""
    store = await FilesStore.start(directory / "data", clock=steady_clock(), min_free_bytes=0)
    await by_streams(store, directory, options)
    await by_company(store, directory, options.acks)
    await store.close()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--acks", type=int, default=500)
    options = parser.parse_args()
    many_files()
    with scratch() as directory:
        uvloop.run(run(options, directory))


if __name__ == "__main__":
    main()

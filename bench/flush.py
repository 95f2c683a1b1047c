"""Many short streams wait for the flush of their content files: one after the other, and several at once.

Each file has 5 KiB.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.tools import many_files, median, ratio, scratch, show
from loom.store.files.content import FLUSHERS

SIZE = 5 << 10


def timed(directory: Path, count: int, flush: Callable[[list[int]], None]) -> float:
    """Write `count` files, then return the seconds until `flush` has made them durable."""
    directory.mkdir()
    files = [os.open(directory / str(number), os.O_RDWR | os.O_CREAT) for number in range(count)]
    for fd in files:
        os.pwrite(fd, b"x" * SIZE, 0)
    begun = time.perf_counter()
    flush(files)
    taken = time.perf_counter() - begun
    for fd in files:
        os.close(fd)
    return taken


def one_by_one(files: list[int]) -> None:
    """Flush each file once the one before is durable."""
    for fd in files:
        os.fdatasync(fd)


def at_once(files: list[int]) -> None:
    """Flush as many files at the same time as the files store does."""
    with ThreadPoolExecutor(FLUSHERS) as threads:
        for _ in threads.map(os.fdatasync, files):
            pass


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    many_files()
    ways = {"one after the other": one_by_one, f"{FLUSHERS} at once, as Loom": at_once}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with scratch() as directory:
        for number in range(options.rounds):
            for name, flush in ways.items():
                times[name].append(timed(directory / f"{name} {number}", options.files, flush))
    best = median(times[f"{FLUSHERS} at once, as Loom"])
    show(
        f"flush of {options.files} files of {SIZE >> 10} KiB",
        ("way", "per file", "it / several at once"),
        [
            (name, f"{median(taken) / options.files * 1e6:.0f} us", ratio(median(taken), best))
            for name, taken in times.items()
        ],
    )


if __name__ == "__main__":
    main()

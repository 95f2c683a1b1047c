"""One line of 100 bytes at a time, durable, until a follower has it: time and CPU of the server.

Compared with what the machine needs for a write and an fdatasync of as many bytes, and with another source
tree of Loom. All take turns, line by line; two servers of each tree run.
"""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.followers import CHUNK, Crowd, loom_crowd
from bench.tools import loom, median, percentile, ratio, scratch, show

BLOCK = 4096
WARM_UP = 200


def flushing(path: Path) -> Callable[[], float]:
    """Return a function that writes a block to a preallocated file, flushes it, and returns the seconds."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, bytes(BLOCK << 10), 0)
    os.fsync(file)
    at = 0

    def flush() -> float:
        nonlocal at
        begun = time.perf_counter()
        os.pwrite(file, CHUNK, at)
        os.fdatasync(file)
        at = (at + BLOCK) % (BLOCK << 10)
        return time.perf_counter() - begun

    return flush


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--beside", type=Path, help="another source tree of Loom to compare with")
    options = parser.parse_args()
    sources: dict[str, Path | None] = {"Loom": None}
    if options.beside:
        sources[f"Loom in {options.beside}"] = options.beside
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        crowds: list[Crowd] = []
        for number, (name, source) in enumerate([*sources.items()] * 2):
            server = stack.enter_context(loom(directory / str(number), source=source))
            crowds.append(loom_crowd(name, server))
            crowds[-1].gather(1)
            for _ in range(WARM_UP):
                crowds[-1].line()
            crowds[-1].times.clear()
        flush = flushing(directory / "block")
        flushes: list[float] = []
        before = [crowd.server.cpu() for crowd in crowds]
        for _ in range(options.lines):
            flushes.append(flush())
            for crowd in crowds:
                crowd.line()
        cpu = [
            (crowd.server.cpu() - begun) / options.lines for crowd, begun in zip(crowds, before, strict=True)
        ]
        rows = [("write + fdatasync", "", "", *_times(flushes, flushes))]
        ours = 0.0
        for name in sources:
            mine = [number for number, crowd in enumerate(crowds) if crowd.name == name]
            used = sum(cpu[number] for number in mine) / len(mine)
            ours = ours or used
            times = [each for number in mine for each in crowds[number].times]
            rows.append((name, f"{used * 1e6:.0f} us", ratio(ours, used), *_times(times, flushes)))
        head = ("server", "CPU a line", "Loom / it", "p50", "/ flush", "p99", "/ flush")
        show(f"{options.lines} durable lines, one at a time", head, rows)


def _times(times: list[float], flushes: list[float]) -> tuple[str, str, str, str]:
    half, most = median(times), percentile(times, 0.99)
    return (
        f"{half * 1e3:.2f} ms",
        ratio(half, median(flushes)),
        f"{most * 1e3:.2f} ms",
        ratio(most, percentile(flushes, 0.99)),
    )


if __name__ == "__main__":
    main()

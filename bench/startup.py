"""Time from `loom serve` to its first response, and of one create and one read, with few and many streams.

Compared with the time in which Python starts and imports the libraries that Loom needs.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.tools import Process, ask, connect, free_port, loom, median, ratio, running, scratch, show
from loom.model import Info, State
from loom.store.files.catalog import Catalog

LIBRARIES = (
    "import click, httptools, prometheus_client, pydantic, sqlite3, starlette.routing, structlog\n"
    "import uvloop, xxhash, yaml"
)


def fill(data: Path, count: int, state: State = State.COMPLETE) -> None:
    """Add empty streams in one state to the catalog of a stopped server."""

    def rows() -> Iterator[tuple[int, Info]]:
        for number in range(1, count + 1):
            yield (
                number,
                Info(
                    key=f"{number:x}-000000000000",
                    id=f"builds/{number % 1000}/{number}",
                    epoch=1,
                    state=state,
                    created=float(number),
                    ended=float(number) if state.final else None,
                ),
            )

    catalog = Catalog(data / "catalog.sqlite")
    catalog.store(rows(), (), count, checkpoint=catalog.fact("checkpoint"))
    catalog.close()


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that `act` takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def first_answer(data: Path) -> float:
    """Return the seconds from the command to its first response."""
    port = free_port()
    begun = time.perf_counter()
    program = Path(sys.executable).parent / "loom"
    with running(Process(program, "serve", "--port", port, "--data", data)):
        connect(port, patience=30).close()
        ask(port, "GET", "/healthz")
        return time.perf_counter() - begun


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with scratch() as directory:
        few, many, opened = directory / "few", directory / "many", directory / "open"
        fresh = [first_answer(directory / f"fresh{turn}") for turn in range(options.rounds)]
        for data in (few, many, opened):
            first_answer(data)
        fill(few, 10)
        fill(many, options.streams)
        fill(opened, options.streams, State.OPEN)
        again: dict[Path, list[float]] = {few: [], many: [], opened: []}
        python: list[float] = []
        libraries: list[float] = []
        for _ in range(options.rounds):
            for data, times in again.items():
                times.append(first_answer(data))
            python.append(timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True)))
            libraries.append(timed(lambda: subprocess.run([sys.executable, "-c", LIBRARIES], check=True)))
        base = median(libraries)
        rows = [
            ("python -c ''", median(python)),
            ("python, importing the libraries", base),
            ("loom serve, no directory yet", median(fresh)),
            ("loom serve, 10 streams", median(again[few])),
            (f"loom serve, {options.streams:,} streams", median(again[many])),
            (f"loom serve, {options.streams:,} open streams", median(again[opened])),
        ]
        show(
            f"To the first response, {options.rounds} rounds",
            ("", "time", "it / libraries"),
            [(name, f"{took:.2f} s", ratio(took, base)) for name, took in rows],
        )
        requests(few, many, options.streams)


def requests(few: Path, many: Path, count: int) -> None:
    """Print the times of one create and one read on both servers."""
    kinds: dict[str, Callable[[int], tuple[str, str]]] = {
        "create": lambda turn: ("POST", f"/stream/new/{turn}"),
        "read": lambda turn: ("GET", f"/stream/builds/{turn % 10 + 1}/{turn % 10 + 1}"),
    }
    with loom(few) as small, loom(many) as large:
        rows = []
        for name, request in kinds.items():
            times: list[list[float]] = [[], []]
            for turn in range(100):
                for which, server in enumerate((small, large)):
                    times[which].append(timed(lambda: ask(server.port, *request(turn))))  # noqa: B023
            one, two = map(median, times)
            rows.append((name, f"{one * 1e3:.2f} ms", f"{two * 1e3:.2f} ms", ratio(two, one)))
    show(
        "One request on its own connection",
        ("", "10 streams", f"{count:,} streams", "million / ten"),
        rows,
    )


if __name__ == "__main__":
    main()

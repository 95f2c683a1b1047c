"""Uploading 1 GiB of random data: elapsed time, server CPU and peak memory.

Compared with `dd conv=fdatasync` from the same file, and with a PUT to nginx and the flush that nginx omits.
"""

import os
import resource
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.tools import (
    MIB,
    Process,
    ask,
    loom,
    median,
    nginx,
    random_file,
    ratio,
    scratch,
    show,
    transfer_options,
)

Measured = tuple[float, float]
"""Elapsed seconds, seconds of CPU."""


def measured(server: Process, act: Callable[[], None]) -> Measured:
    """Return the elapsed time of `act`, and the CPU it costs the server."""
    cpu, begun = server.cpu(), time.perf_counter()
    act()
    return time.perf_counter() - begun, server.cpu() - cpu


def dd(source: Path, target: Path) -> Measured:
    """Copy the file with dd and flush it."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fdatasync", "status=none"]
    subprocess.run(command, check=True)
    took = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def flush(path: Path) -> None:
    """Flush a file."""
    with path.open("rb+") as file:
        os.fdatasync(file.fileno())


def main() -> None:
    """Run the benchmark."""
    options = transfer_options(__doc__, mib=1024, rounds=3)
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        source = random_file(directory / "source", options.mib * MIB)
        server = stack.enter_context(loom(directory / "data"))
        other = stack.enter_context(
            nginx(directory / "nginx", f"location / {{ root {directory}; dav_methods PUT; }}")
        )

        def post() -> None:
            answer = ask(server.port, "POST", "/stream/upload?force=true", file=source)
            assert b"\r\nupload-complete: ?1\r\n" in answer, "cut"

        def put() -> None:
            assert other
            ask(other.port, "PUT", "/put", file=source)
            flush(directory / "put")

        runs: dict[str, tuple[Process | None, list[Measured]]] = {"Loom": (server, []), "dd": (None, [])}
        if other:
            runs["nginx PUT + fdatasync"] = (other, [])
        for _ in range(options.rounds):
            for name, (process, results) in runs.items():
                os.sync()
                if process is None:
                    results.append(dd(source, directory / "copy"))
                else:
                    results.append(measured(process, post if name == "Loom" else put))
        rows = []
        ours = [median(values) for values in zip(*runs["Loom"][1], strict=True)]
        for name, (process, results) in runs.items():
            wall, cpu = (median(values) for values in zip(*results, strict=True))
            memory = f"{process.memory():.0f} MiB" if process else ""
            rows.append(
                (name, f"{wall:.2f} s", ratio(ours[0], wall), f"{cpu:.2f} s", ratio(ours[1], cpu), memory)
            )
        show(
            f"{options.mib} MiB of random data in one request, {options.rounds} rounds",
            ("", "elapsed", "Loom / it", "CPU", "Loom / it", "peak memory"),
            rows,
        )


if __name__ == "__main__":
    main()

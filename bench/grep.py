"""Searching a stored log with ?grep: speed beside `grep -c` on the same file, and latency of other readers.

The patterns match one line in 10,000. The latency is that of a GET of a small stream, without a search and
beside one that never pauses.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from bench.tools import MIB, ask, loom, median, percentile, ratio, scratch, show, transfer_options

LINE = b"2026-01-31T12:00:%02d.%03dZ info worker-%d GET /api/items/%d status=200 took=%dms\n"
HIT = b"2026-01-31T12:00:00.000Z error worker-7 GET /api/items/1 status=503 took=90ms panic: no space\n"
PATTERNS = {
    "a word": ("panic", "-F"),
    "a word, in any case": ("PANIC", "-Fi"),
    "alternatives": ("panic|fatal|timed out", "-E"),
    "a class and a word": ("status=5[0-9][0-9] took", "-E"),
    "words in a line": ("error.*panic", "-E"),
}
PROBES = 300


def log_file(path: Path, size: int) -> Path:
    """Create a log of about `size` bytes, in the page cache."""
    lines = [LINE % (n % 60, n % 1000, n % 17, n * 7919 % 100_000, n % 500) for n in range(9_999)]
    block = b"".join([*lines, HIT])
    path.write_bytes(block * max(1, size // len(block)))
    return path


def elapsed(act: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds that `act` takes, and its result."""
    begun = time.perf_counter()
    result = act()
    return time.perf_counter() - begun, result


def main() -> None:
    """Run the benchmark."""
    options = transfer_options(__doc__, mib=1024, rounds=3)
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        source = log_file(directory / "source", options.mib * MIB)
        size = source.stat().st_size
        server = stack.enter_context(loom(directory / "data"))
        ask(server.port, "POST", "/stream/log", file=source)
        ask(server.port, "POST", "/stream/small", file=log_file(directory / "small", 0))

        def search(pattern: str, flags: str) -> int:
            flag = "&ignore_case" if "i" in flags else ""
            answer = ask(server.port, "GET", f"/stream/log?grep={quote(pattern)}{flag}")
            end = next(line for line in reversed(answer.splitlines()) if line.startswith(b'{"ended"'))
            return int(json.loads(end)["matches"])

        def grep(pattern: str, flags: str) -> int:
            command = ["grep", "-c", flags, pattern, str(source)]
            env = {**os.environ, "LC_ALL": "C.UTF-8"}
            return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)

        search("panic", "")  # starts the worker
        rows = []
        for name, (pattern, flags) in PATTERNS.items():
            ours, theirs = [], []
            for _ in range(options.rounds):
                took, found = elapsed(lambda p=pattern, f=flags: search(p, f))  # type: ignore[misc]
                ours.append(took)
                took, expected = elapsed(lambda p=pattern, f=flags: grep(p, f))  # type: ignore[misc]
                theirs.append(took)
                assert found == expected, name
            mine, other = median(ours), median(theirs)
            speeds = (f"{size / mine / 1e6:.0f} MB/s", f"{size / other / 1e6:.0f} MB/s")
            rows.append((f"{name}: {pattern}", *speeds, ratio(mine, other)))
        show(
            f"Searching {size / MIB:.0f} MiB of log, {options.rounds} rounds",
            ("", "Loom", "grep -c", "time, Loom / it"),
            rows,
        )

        def latencies() -> list[float]:
            return [elapsed(lambda: len(ask(server.port, "GET", "/stream/small")))[0] for _ in range(PROBES)]

        alone = latencies()
        stop = threading.Event()

        def keep_searching() -> None:
            while not stop.is_set():
                search("error.*panic", "")

        searching = threading.Thread(target=keep_searching)
        searching.start()
        beside = latencies()
        stop.set()
        searching.join()
        show(
            f"Latency of {PROBES} other requests",
            ("", "alone", "beside a search", "beside / alone"),
            [
                (
                    f"{share:.0%}",
                    f"{percentile(alone, share) * 1000:.2f} ms",
                    f"{percentile(beside, share) * 1000:.2f} ms",
                    ratio(percentile(beside, share), percentile(alone, share)),
                )
                for share in (0.5, 0.99)
            ],
        )


if __name__ == "__main__":
    main()

"""Reading a complete stream of 1 GiB with curl: rate, and server CPU.

Compared with nginx, which sends the same file with sendfile.
"""

import subprocess
from contextlib import ExitStack

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


def read(server: Process, path: str, size: int) -> tuple[float, float]:
    """Return MiB per second as curl reports it, and the server's seconds of CPU."""
    cpu = server.cpu()
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download} %{speed_download}"]
    url = f"http://127.0.0.1:{server.port}{path}"
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == size, out
    return float(out[1]) / MIB, server.cpu() - cpu


def main() -> None:
    """Run the benchmark."""
    options = transfer_options(__doc__, mib=1024, rounds=5)
    size = options.mib * MIB
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        server = stack.enter_context(loom(directory / "data"))
        ask(server.port, "POST", "/stream/replay", file=random_file(directory / "source", size))
        (file,) = (path for path in (directory / "data/content").rglob("*") if path.is_file())
        other = stack.enter_context(nginx(directory / "nginx", f"location / {{ alias {file.parent}/; }}"))
        contenders = [("Loom", server, "/stream/replay")]
        if other:
            contenders.append(("nginx, sendfile", other, f"/{file.name}"))
        results: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in contenders}
        for _ in range(options.rounds + 1):
            for name, process, path in contenders:
                results[name].append(read(process, path, size))
        rows = []
        figures = {
            name: [median(values) for values in zip(*runs[1:], strict=True)] for name, runs in results.items()
        }
        ours = figures["Loom"]
        for name, process, _ in contenders:
            rate, cpu = figures[name]
            rows.append(
                (
                    name,
                    f"{rate:.0f} MiB/s",
                    ratio(ours[0], rate),
                    f"{cpu:.3f} s",
                    ratio(ours[1], cpu),
                    f"{process.memory():.0f} MiB",
                )
            )
        show(
            f"A complete stream of {options.mib} MiB read by curl, {options.rounds} rounds",
            ("server", "rate", "Loom / it", "CPU", "Loom / it", "peak memory"),
            rows,
        )


if __name__ == "__main__":
    main()

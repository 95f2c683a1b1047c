"""What the benchmarks share: server processes with their CPU and memory, plain HTTP, tables.

CPU and memory of a server come from the kernel. Clients never run in a server's process.
"""

import argparse
import contextlib
import os
import platform
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SCRATCH = Path(__file__).parent.parent / ".bench"
NGINX = SCRATCH / "nginx"
"""Where scripts/bench unpacks nginx."""
MIB = 1 << 20


class Process:
    """A measured program, its child processes included. Its standard output can be read."""

    def __init__(self, *command: object, source: Path | None = None) -> None:
        words = [str(word) for word in command]
        self._popen = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
            env=None if source is None else os.environ | {"PYTHONPATH": str(source.resolve() / "src")},
        )
        self.port = 0

    def line(self) -> str:
        """Return the next line of its output."""
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            raise SystemExit(f"{self._popen.args!r} has ended.")
        return line

    def cpu(self) -> float:
        """Return the seconds of CPU used so far by all threads."""
        # The number of another process' CPU clock, computed like clock_getcpuclockid(3).
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self._pids())

    def memory(self, what: str = "VmHWM") -> float:
        """Return the resident memory in MiB: the peak, or with VmRSS the present value."""
        total = 0
        for pid in self._pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith(what))
        return total / 1024

    def stop(self) -> None:
        """Stop the program and wait for its end."""
        self._popen.send_signal(signal.SIGTERM)
        self._popen.communicate()

    def _pids(self) -> list[int]:
        pid = self._popen.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def transfer_options(description: str | None, *, mib: int, rounds: int) -> argparse.Namespace:
    """Parse the command line of a benchmark that moves `--mib` MiB in each of `--rounds` rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--mib", type=int, default=mib)
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser.parse_args()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty directory in the source tree: /tmp may be in memory, where a flush costs nothing."""
    SCRATCH.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Yield the process and stop it after the block."""
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def loom(data: Path, *flags: str, source: Path | None = None) -> Iterator[Process]:
    """Run `loom serve` on a free port, from another source tree if `source` is given."""
    program = Path(sys.executable).parent / "loom"
    with running(Process(program, "serve", "--port", 0, "--data", data, *flags, source=source)) as process:
        process.port = int(process.line().split("://")[1].split()[0].rsplit(":", 1)[1])
        yield process


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[Process]:
    """Run a server to compare with: a module that prints its port first."""
    with running(Process(sys.executable, "-m", name, *arguments)) as process:
        process.port = int(process.line())
        yield process


@contextlib.contextmanager
def nginx(directory: Path, locations: str, *, nchan: bool = False) -> Iterator[Process | None]:
    """Run nginx with these locations and one worker; if it is missing, print so and yield None."""
    program = NGINX / "usr/sbin/nginx"
    if not program.exists():
        print("nginx is missing, and so are its figures: scripts/bench downloads it with apt-get.")
        yield None
        return
    port = free_port()
    load = f"load_module {NGINX}/usr/lib/nginx/modules/ngx_nchan_module.so;" if nchan else ""
    owner = "user root;" if os.getuid() == 0 else ""
    directory.mkdir()
    (directory / "nginx.conf").write_text(f"""
        {load} {owner} daemon off; worker_processes 1; pid {directory}/pid; error_log stderr error;
        events {{ worker_connections 16384; }}
        http {{
            access_log off; sendfile on; tcp_nodelay on; client_max_body_size 0;
            client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            server {{ listen 127.0.0.1:{port} backlog=2048; {locations} }}
        }}""")
    with running(Process(program, "-p", directory, "-c", directory / "nginx.conf")) as process:
        process.port = port
        connect(port, patience=5).close()
        yield process


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connect(port: int, *, patience: float = 0) -> socket.socket:
    """Connect; retry for `patience` seconds while the connection is refused."""
    deadline = time.monotonic() + patience
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
        else:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client


def readable(poll: select.epoll) -> list[int]:
    """Return descriptors that can be read; exit if none is ready within 10 seconds."""
    found = poll.poll(10)
    if not found:
        raise SystemExit("A server no longer responds.")
    return [fd for fd, _ in found]


def ask(port: int, method: str, path: str, *headers: str, file: Path | None = None) -> bytes:
    """Send one request, with `file` as body, on its own connection; return the whole response."""
    size = file.stat().st_size if file else 0
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {size}")
    with connect(port) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        if file:
            with file.open("rb") as body:
                client.sendfile(body)
        parts = []
        while data := client.recv(MIB):
            parts.append(data)
    answer = b"".join(parts)
    if answer[9:10] != b"2":
        raise SystemExit(f"{method} {path}: {answer.decode('latin-1')}")
    return answer


def random_file(path: Path, size: int) -> Path:
    """Create a file of random bytes, in the page cache."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return path


def many_files() -> None:
    """Raise the limit of descriptors for this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def ratio(ours: float, other: float) -> str:
    """Return our figure as a multiple of the other one."""
    return f"{ours / other:.2f}x"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose first column is left-aligned."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(["  " + first.strip().ljust(widths[0]), *others]))
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
    print(f"\n  {conditions()}", flush=True)


def conditions() -> str:
    """Describe the machine, as far as figures depend on it."""
    mount = subprocess.run(
        ["stat", "--file-system", "--format=%T", SCRATCH], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"data on {mount}, load {os.getloadavg()[0]:.1f}"
    )

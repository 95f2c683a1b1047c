"""What the benchmarks share: servers as processes with their CPU and memory, plain HTTP, tables.

Figures of a server are taken from outside, from the kernel; clients are other processes than servers.
"""

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
"""Where scripts/bench unpacks it."""
MIB = 1 << 20


class Process:
    """A program under measurement, with the processes it has started. Its standard output can be read."""

    def __init__(self, *command: object) -> None:
        words = [str(word) for word in command]
        self._popen = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
        )
        self.port = 0

    def line(self) -> str:
        """Its next line of output."""
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            raise SystemExit(f"{self._popen.args!r} has ended.")
        return line

    def cpu(self) -> float:
        """Seconds of CPU so far, of all threads."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self._pids())

    def memory(self, what: str = "VmHWM") -> float:
        """Resident memory in MiB: the peak, or with VmRSS what it is now."""
        total = 0
        for pid in self._pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith(what))
        return total / 1024

    def stop(self) -> None:
        """End it and wait for that."""
        self._popen.send_signal(signal.SIGTERM)
        self._popen.communicate()

    def _pids(self) -> list[int]:
        pid = self._popen.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory beside the sources: /tmp may be no disk at all, and would make flushing free."""
    SCRATCH.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """The process, ended with the block."""
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def loom(data: Path, *flags: str) -> Iterator[Process]:
    """`loom serve` as anyone starts it."""
    program = Path(sys.executable).parent / "loom"
    with running(Process(program, "serve", "--port", 0, "--data", data, *flags)) as process:
        process.port = int(process.line().split("://")[1].split()[0].rsplit(":", 1)[1])
        yield process


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[Process]:
    """A server of ours to compare with: a module that prints its port first."""
    with running(Process(sys.executable, "-m", name, *arguments)) as process:
        process.port = int(process.line())
        yield process


@contextlib.contextmanager
def nginx(directory: Path, locations: str, *, nchan: bool = False) -> Iterator[Process | None]:
    """An nginx with these locations and one worker; None, and a line that says so, where there is none."""
    program = NGINX / "usr/sbin/nginx"
    if not program.exists():
        print("nginx is not here (scripts/bench gets it with apt-get download): its figures are missing.")
        yield None
        return
    port = free_port()
    load = f"load_module {NGINX}/usr/lib/nginx/modules/ngx_nchan_module.so;" if nchan else ""
    owner = "user root;" if os.getuid() == 0 else ""
    directory.mkdir()
    (directory / "nginx.conf").write_text(f"""
        {load} {owner} daemon off; worker_processes 1; pid {directory}/pid; error_log stderr error;
        events {{ worker_connections 4096; }}
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
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connect(port: int, *, patience: float = 0) -> socket.socket:
    """A connection, tried again for `patience` seconds while it is refused."""
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
    """Descriptors that have something to read; the end of the program if that takes too long."""
    found = poll.poll(10)
    if not found:
        raise SystemExit("A server has stopped to answer.")
    return [fd for fd, _ in found]


def ask(port: int, method: str, path: str, *headers: str, file: Path | None = None) -> bytes:
    """The whole answer to one request on a connection of its own; `file` is its body."""
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
    """A file of random bytes, in the page cache."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return path


def many_files() -> None:
    """Allow this process, and those it starts, all the descriptors it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def ratio(ours: float, other: float) -> str:
    """How many times the other's figure ours is."""
    return f"{ours / other:.2f}x"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is to the left."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}\n")
    for place, row in enumerate(cells):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(["  " + first.strip().ljust(widths[0]), *others]))
        if not place:
            print("  " + "  ".join("-" * width for width in widths))
    print(f"\n  {conditions()}", flush=True)


def conditions() -> str:
    """The machine, as far as figures depend on it."""
    mount = subprocess.run(
        ["stat", "--file-system", "--format=%T", SCRATCH], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"data on {mount}, load {os.getloadavg()[0]:.1f}"
    )

"""100-byte lines to 500 followers: server CPU per delivery, and time until all followers have a line.

Compared with a bare send() loop, which is the limit in Python, and with nginx and nchan. The servers get a
line in turn, and the next one when all followers have received it. Only Loom makes the line durable first.
"""

import argparse
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.tools import (
    Process,
    connect,
    loom,
    many_files,
    median,
    module,
    nginx,
    ratio,
    readable,
    scratch,
    show,
)

MARK = b"~"
LINE = b"x" * 98 + MARK + b"\n"
CHUNK = b"%x\r\n%b\r\n" % (len(LINE), LINE)
WARM_UP = 20
PAUSE = 0.005
MANY = 3000
"""Followers of each server, above which fewer servers are compared: one process follows all of them."""

NCHAN = """
    location ~ /pub/(.*)$ { nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 10; }
    location ~ /sub/(.*)$ { nchan_subscriber http-raw-stream; nchan_channel_id $1; }
"""


class Crowd:
    """The followers of one server, and its producer."""

    def __init__(self, name: str, server: Process, follow: str, publish: Callable[[], None]) -> None:
        self.name = name
        self.server = server
        self.times: list[float] = []
        self._publish = publish
        self._path = follow
        self._poll = select.epoll()
        self._clients: dict[int, socket.socket] = {}

    def gather(self, count: int, header: str = "") -> None:
        """Connect followers and read the head of each response."""
        for _ in range(count):
            client = connect(self.server.port)
            client.sendall(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
            answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            self._clients[client.fileno()] = client
            self._poll.register(client, select.EPOLLIN)

    def line(self) -> None:
        """Send one line and wait until all followers have it."""
        begun = time.perf_counter()
        self._publish()
        missing = len(self._clients)
        while missing:
            for fd in readable(self._poll):
                data = self._clients[fd].recv(65536)
                assert data, f"{self.name} has disconnected a follower"
                missing -= data.count(MARK)
        self.times.append(time.perf_counter() - begun)


def sender(port: int, head: str, data: bytes, *, answered: bool = False) -> Callable[[], None]:
    """Return a function that sends a line over one connection; if `answered`, as a request of its own."""
    client = connect(port)
    if not answered:
        client.sendall(f"{head}\r\n\r\n".encode())
        client.recv(4096)

    def send() -> None:
        client.sendall(data)
        if answered:
            client.recv(4096)

    return send


def loom_crowd(name: str, server: Process) -> Crowd:
    """Return a Loom with a producer of one live stream."""
    post = "POST /stream/lines HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
    return Crowd(name, server, "/stream/lines", sender(server.port, post, CHUNK))


def crowds(stack: ExitStack, options: argparse.Namespace) -> list[Crowd]:
    """Start every server and its producer."""
    directory = stack.enter_context(scratch())
    found = []
    looms: list[tuple[str, tuple[str, ...], Path | None]] = [("Loom", (), None)]
    if options.beside:
        looms.append((f"Loom in {options.beside}", (), options.beside))
    if not options.events and options.followers <= MANY:
        looms.append(("Loom, durability os", ("--durability", "os"), None))
    for number, (name, flags, source) in enumerate(looms):
        flags = (*flags, "--max-connections-per-address", "20000")
        server = stack.enter_context(loom(directory / str(number), *flags, source=source))
        found.append(loom_crowd(name, server))
    if options.events:
        return found
    server = stack.enter_context(module("bench.bare"))
    found.append(Crowd("bare send() loop", server, "/", sender(server.port, "POST / HTTP/1.1", LINE)))
    if other := stack.enter_context(nginx(directory / "nginx", NCHAN, nchan=True)):
        request = f"POST /pub/lines HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(LINE)}\r\n\r\n"
        publish = sender(other.port, "", request.encode() + LINE, answered=True)
        found.append(Crowd("nginx + nchan", other, "/sub/lines", publish))
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--followers", type=int, default=500)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--events", action="store_true", help="follow as Server-Sent Events, Loom alone")
    parser.add_argument("--beside", type=Path, help="another source tree of Loom to compare with")
    options = parser.parse_args()
    many_files()
    with ExitStack() as stack:
        contenders = crowds(stack, options)
        for crowd in contenders:
            crowd.gather(options.followers, "Accept: text/event-stream\r\n" if options.events else "")
            for _ in range(WARM_UP):
                crowd.line()
            crowd.times.clear()
        before = [crowd.server.cpu() for crowd in contenders]
        for _ in range(options.lines):
            for crowd in contenders:
                crowd.line()
                time.sleep(PAUSE)
        time.sleep(1.5)  # the background work of Loom counts as well
        deliveries = options.followers * options.lines
        cpu = [
            (crowd.server.cpu() - begun) / deliveries for crowd, begun in zip(contenders, before, strict=True)
        ]
        took = [median(crowd.times) for crowd in contenders]
        show(
            f"{options.lines} lines of {len(LINE)} bytes to {options.followers} followers",
            ("server", "CPU per delivery", "Loom / it", "until all have it", "Loom / it"),
            [
                (
                    crowd.name,
                    f"{cost * 1e6:.1f} us",
                    ratio(cpu[0], cost),
                    f"{wait * 1e3:.1f} ms",
                    ratio(took[0], wait),
                )
                for crowd, cost, wait in zip(contenders, cpu, took, strict=True)
            ],
        )


if __name__ == "__main__":
    main()

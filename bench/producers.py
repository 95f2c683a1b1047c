"""Small streams from 200 producers at a time: streams per second, and server CPU per stream.

Compared with the smallest ASGI app under uvicorn, which answers the same requests and stores nothing.
"""

import argparse
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.tools import Process, connect, loom, many_files, median, module, ratio, readable, scratch, show

LINE = b"x" * 99 + b"\n"
CHUNK = b"%x\r\n%b\r\n" % (len(LINE), LINE)
END = b"0\r\n\r\n"


class Producers:
    """Connections to one server that all send the same, one step each in turn."""

    def __init__(self, name: str, server: Process, count: int) -> None:
        self.name = name
        self.server = server
        self.rates: list[float] = []
        self.costs: list[float] = []
        self._clients = [connect(server.port) for _ in range(count)]
        self._poll = select.epoll()
        for client in self._clients:
            self._poll.register(client, select.EPOLLIN)
        self._by_fd: dict[int, socket.socket] = {client.fileno(): client for client in self._clients}

    def streams(self, names: Iterator[int], steps: Sequence[bytes]) -> None:
        """Send one stream on each connection, step by step, and wait until every one is confirmed."""
        cpu, begun = self.server.cpu(), time.perf_counter()
        for number, step in enumerate(steps):
            for client in self._clients:
                client.sendall(step % next(names) if number == 0 else step)
        missing = len(self._clients)
        while missing:
            for fd in readable(self._poll):
                data = self._by_fd[fd].recv(65536)
                assert data.startswith(b"HTTP/1.1 201") or data in (END, END[3:]), data
                missing -= data.endswith(END)
        self.rates.append(len(self._clients) / (time.perf_counter() - begun))
        self.costs.append((self.server.cpu() - cpu) / len(self._clients))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--producers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    many_files()
    head = b"POST /stream/%d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    kinds = {
        "empty streams": [head + END],
        "10 lines, each sent alone": [head, *[CHUNK] * 10, END],
    }
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        for title, steps in kinds.items():
            contenders = [
                Producers(name, server, options.producers)
                for name, server in (
                    ("Loom", stack.enter_context(loom(directory / title))),
                    ("smallest app, uvicorn", stack.enter_context(module("bench.trivial"))),
                )
            ]
            names = iter(range(10**9))
            for _ in range(options.rounds):
                for each in contenders:
                    each.streams(names, steps)
            rate, cost = median(contenders[0].rates), median(contenders[0].costs)
            show(
                f"{options.producers} producers at a time: {title}",
                ("server", "streams per second", "Loom / it", "CPU per stream", "Loom / it"),
                [
                    (
                        each.name,
                        *(f"{median(each.rates):.0f}", ratio(rate, median(each.rates))),
                        *(f"{median(each.costs) * 1e6:.0f} us", ratio(cost, median(each.costs))),
                    )
                    for each in contenders
                ],
            )


if __name__ == "__main__":
    main()

"""Hostile clients, all at once, in a process of their own: `python flood.py PORT SHARE BIG LIVE`.

Attacks the server at PORT with SHARE of the numbers below: reads the streams BIG and LIVE slowly, and so on.
Prints a line once all have begun, and another with what they met once its standard input ends.
"""

import asyncio
import json
import resource
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvloop

SLOW_READERS, HALF_OPEN, PARTIAL_HEADS, SPIES, IDLE, SEARCHERS = 2000, 2000, 2000, 500, 10_000, 20
ADDRESSES = 200
"""Addresses of this machine that attack."""
AT_ONCE = 100
"""Connections that are opened at the same time."""

HOST = b"HTTP/1.1\r\nHost: localhost\r\n"
SEARCHES = (
    b"GET /streams?" + b"&".join(b"meta.k%d=v" % number for number in range(900)),
    b"GET /streams?" + b"&".join(b"meta.k%d=v" % number for number in range(16)),
    b"GET /streams?limit=1000",
    b"GET /streams?meta.kind=common&meta.number=7&limit=1000",
    b"GET /stream/%b?notail&lines=1000000000000000",
    b"GET /stream/%b?notail&line=99999999",
    b"GET /stream/%b?index=1000000000",
    b"GET /stream/%b?notail&grep=(a%%7Cx%%2B%%2B)*b%%5Cz",
    b"GET /stream/%b?notail&grep=nothing&context=100",
    b"DELETE /streams?prefix=x/&dry_run",
)


class Flood:
    """The attackers of one process. Each begins anew when the server ends its connection."""

    def __init__(self, port: int, big: str, live: str) -> None:
        self.met: Counter[str] = Counter()
        self._port = port
        self._big, self._live = big.encode(), live.encode()
        self._opening = asyncio.Semaphore(AT_ONCE)
        self._begun: asyncio.Queue[None] = asyncio.Queue()
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, count: int, attack: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Start so many attackers that do this again and again."""
        for _ in range(count):
            self._number += 1
            self._tasks.append(asyncio.create_task(self._repeat(self._number, attack)))

    async def wait_begun(self) -> None:
        """Wait until each attacker has a connection, or was refused one."""
        for _ in self._tasks:
            await self._begun.get()

    async def stop(self) -> None:
        """End all attacks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, number: int, attack: Callable[[socket.socket], Awaitable[None]]) -> None:
        name = attack.__name__
        loop = asyncio.get_running_loop()
        begun = False
        while True:
            with socket.socket() as sock:
                sock.setblocking(False)
                # Little fits into the buffers of a slow reader.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.bind((f"127.1.{number % ADDRESSES // 100}.{1 + number % 100}", 0))
                try:
                    async with self._opening:
                        await loop.sock_connect(sock, ("127.0.0.1", self._port))
                    if not begun:
                        begun = True
                        self._begun.put_nowait(None)
                    self.met[f"{name} begun"] += 1
                    await attack(sock)
                    self.met[f"{name} ended"] += 1
                except OSError:
                    self.met[f"{name} lost"] += 1
            await asyncio.sleep(1)

    async def _ended(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(sock, 1 << 16):
            pass

    async def idle(self, sock: socket.socket) -> None:
        """Send nothing."""
        await self._ended(sock)

    async def partial_head(self, sock: socket.socket) -> None:
        """Send a head, a byte every few seconds."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"GET /stream/x " + HOST + b"X: ")
        ended = asyncio.create_task(self._ended(sock))
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=3)
                await loop.sock_sendall(sock, b"x")
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    async def half_open(self, sock: socket.socket) -> None:
        """Begin a stream, and leave its body unfinished."""
        head = b"POST /stream " + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n"
        await asyncio.get_running_loop().sock_sendall(sock, head)
        await self._ended(sock)

    async def slow_big(self, sock: socket.socket) -> None:
        """Read a large stream, a little every few seconds."""
        await self._read_slowly(sock, self._big)

    async def slow_live(self, sock: socket.socket) -> None:
        """Follow a live stream, and read a little of it every few seconds."""
        await self._read_slowly(sock, self._live)

    async def _read_slowly(self, sock: socket.socket, id: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"GET /stream/" + id + b" " + HOST + b"\r\n")
        while True:
            if not await loop.sock_recv(sock, 100):
                return
            await asyncio.sleep(3)

    async def spy(self, sock: socket.socket) -> None:
        """Read the bytes of all streams."""
        await asyncio.get_running_loop().sock_sendall(sock, b"GET /spy " + HOST + b"\r\n")
        await self._ended(sock)

    async def search(self, sock: socket.socket) -> None:
        """Send requests that are expensive to answer, one after the other."""
        loop = asyncio.get_running_loop()
        for line in SEARCHES:
            line = line % self._big if b"%b" in line else line
            await loop.sock_sendall(sock, line + b" " + HOST + b"\r\n")
        await loop.sock_sendall(sock, b"GET /healthz " + HOST + b"Connection: close\r\n\r\n")
        await self._ended(sock)


async def main() -> None:
    port, share, big, live = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
    flood = Flood(port, big, live)
    for count, attack in (
        (SLOW_READERS // 2, flood.slow_big),
        (SLOW_READERS // 2, flood.slow_live),
        (HALF_OPEN, flood.half_open),
        (PARTIAL_HEADS, flood.partial_head),
        (SPIES, flood.spy),
        (IDLE, flood.idle),
        (SEARCHERS, flood.search),
    ):
        flood.start(max(1, int(count * share)), attack)
    await flood.wait_begun()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await flood.stop()
    sys.stdout.write(json.dumps(flood.met) + "\n")


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(KeyboardInterrupt):
        uvloop.run(main())

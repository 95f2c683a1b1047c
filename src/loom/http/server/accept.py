"""Accepts connections, as far as the caps and the descriptors of this process allow.

The event loop's own servers report a connection only after the TLS handshake, and accept without limit.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from loom.http.addresses import Proxies, network_of
from loom.http.caps import Caps, Slot
from loom.http.problem import problem
from loom.http.server.response import make_head

AT_ONCE = 16
"""Connections accepted before other work has its turn."""

PAUSE = 0.1
"""Seconds without an attempt to accept, after one failed because of no descriptors or memory."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_STATUS, _HEADERS, _BODY = problem(
    503, "busy", "This server has too many connections. Retry later.", headers=[(b"retry-after", b"10")]
)
FULL = make_head(_STATUS, _HEADERS, method="GET", http_version="1.1", keep_alive=False).data + _BODY

Connect = Callable[[socket.socket, Slot], Coroutine[Any, Any, None]]


class Acceptor:
    """Accepts on a listening socket until it is closed, and starts `connect` for each connection."""

    def __init__(
        self,
        listening: socket.socket,
        caps: Caps,
        proxies: Proxies,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        connect: Connect,
        *,
        secure: bool,
    ) -> None:
        self._listening = listening
        self._caps = caps
        self._proxies = proxies
        self._start = start
        self._connect = connect
        self._secure = secure
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accept no more, and close the listening socket."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Other errors are those of one connection, which is gone (accept(2)).
                if error.errno in EXHAUSTED:
                    self._wait_for_descriptors()
                    return
                continue
            self._admit(sock, address)

    def _wait_for_descriptors(self) -> None:
        """Close an idle connection for the one that waits. If there is none, accept again in a while."""
        if self._caps.make_room():
            return
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(PAUSE, self._resume)

    def _admit(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        peer = address[0] if isinstance(address, tuple) else ""
        # A trusted proxy stands for many clients: their requests are counted instead.
        client = "" if peer in self._proxies else network_of(peer)
        slot = self._caps.take(client, sock.close)
        if slot is None:
            self._refuse(sock)
            return
        slot.close = self._start(self._connect(sock, slot)).cancel

    def _refuse(self, sock: socket.socket) -> None:
        with sock:
            if not self._secure:
                try:
                    sock.send(FULL)
                except OSError:
                    pass

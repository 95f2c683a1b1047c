"""Starting and stopping. Owns the listening socket, the signals and the order of a shutdown."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from starlette.types import ASGIApp

from loom.http.addresses import Proxies
from loom.http.caps import Caps, Slot
from loom.http.server.accept import Acceptor
from loom.http.server.connection import Connection
from loom.http.server.limits import Limits
from loom.http.server.registry import Registry

BACKLOG = 2048
AT_ONCE = 50
"""Connections that are checked or closed before other work has its turn."""
GRACE = 1.0
"""Seconds that cancelled work has to end."""

SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Small writes leave at once; a client that vanished is noticed after a minute (seconds, seconds, probes).

Connections inherit the options of the socket that accepts them.
"""


async def _do_nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """Serve in this event loop while the block runs, and yield the URL. Takes Server's options."""
    server = Server(app, host=host, port=port, **options)
    task = asyncio.create_task(server.serve_until_stopped())
    try:
        yield server.url
    finally:
        server.stop()
        await task


class Server:
    """An app at an address. Clients can connect once it is made, and are served while it runs.

    `listening` is a socket that already listens at `host` and `port`. `on_listening` is called with the URL.
    `caps` limits the connections, `proxies` are those whose connections stand for many clients.
    Port 0 picks a free port. Raises OSError if it cannot listen.

    A stop closes the listening socket, waits for `on_stop`, then waits for the current responses. It cuts
    those whose clients acknowledge nothing more, and all that remain `shutdown_timeout` seconds after the
    stop, or at a second `stop`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        on_listening: Callable[[str], None] = lambda url: None,
        on_stop: Callable[[], Awaitable[None]] = _do_nothing,
        shutdown_timeout: float = 10.0,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        listening: socket.socket | None = None,
        caps: Caps | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self.registry = Registry[Connection]()
        self.caps = caps or Caps()
        self._proxies = proxies or Proxies()
        self._app = app
        self._limits = limits or Limits()
        self._tls = tls
        self._on_listening = on_listening
        self._on_stop = on_stop
        self._shutdown_timeout = shutdown_timeout
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._socket = listening or listen(host, port)
        for option in SOCKET_OPTIONS:
            self._socket.setsockopt(*option)
        name = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{name}:{self._socket.getsockname()[1]}"

    async def serve(self) -> None:
        """Run until SIGINT or SIGTERM; a second signal forces the stop."""
        with self._signals_handled():
            await self.serve_until_stopped()

    async def serve_until_stopped(self) -> None:
        """Run until `stop`; ignore signals."""
        loop = asyncio.get_running_loop()
        start, secure = self.registry.start, self._tls is not None
        acceptor = Acceptor(self._socket, self.caps, self._proxies, start, self._connect, secure=secure)
        try:
            self._on_listening(self.url)
            await self._check_until_stopped()
        finally:
            acceptor.close()
        await self._shut_down(loop.time() + self._shutdown_timeout)

    def stop(self) -> None:
        """Begin to stop. A second call ends the remaining responses immediately."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def _connect(self, sock: socket.socket, slot: Slot) -> None:
        """Make a connection of an accepted socket. With TLS the handshake comes first."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self._app, self._limits, self.registry, self.caps, slot),
                sock,
                **self._tls_options(),
            )
        except OSError:
            self.caps.release(slot)  # the handshake failed, or took too long; the transport is closed
        except asyncio.CancelledError:
            self.caps.release(slot)
            raise

    def _tls_options(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        # asyncio's limit of a shutdown includes the time until the last bytes have left.
        return {
            "ssl": self._tls,
            "ssl_handshake_timeout": self._limits.head_timeout,
            "ssl_shutdown_timeout": self._limits.idle_timeout,
        }

    @contextlib.contextmanager
    def _signals_handled(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _check_until_stopped(self) -> None:
        """Close the connections of dead clients, at intervals."""
        while not self._stopping.is_set():
            for number, connection in enumerate(list(self.registry.connections)):
                if connection in self.registry.connections:  # still open
                    connection.check()
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)
            await self._relieve()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.dead_check):
                    await self._stopping.wait()

    async def _relieve(self) -> None:
        """While most connections are in use, close those that have been idle for some seconds."""
        more = True
        while more and self.caps.crowded:
            more = self.caps.close_idle(self._limits.crowded_timeout, AT_ONCE)
            await asyncio.sleep(0)

    async def _shut_down(self, deadline: float) -> None:
        stopping = asyncio.ensure_future(self._on_stop())
        await self._wait_unless_forced(stopping, deadline)
        closing = asyncio.create_task(self._close_connections())
        await self._wait_unless_forced(asyncio.ensure_future(self.registry.wait_empty()), deadline)
        closing.cancel()
        for task in self.registry.tasks:
            task.cancel()
        for connection in list(self.registry.connections):
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.registry.wait_empty(), GRACE)
        if not stopping.cancelled():
            stopping.result()

    async def _wait_unless_forced(self, work: asyncio.Future[None], deadline: float) -> None:
        """Wait for `work` until the deadline or a second `stop`, then cancel it."""
        forced = asyncio.create_task(self._forced.wait())
        timeout = deadline - asyncio.get_running_loop().time()
        either: set[asyncio.Future[Any]] = {work, forced}
        await asyncio.wait(either, timeout=max(timeout, 0), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=GRACE)

    async def _close_connections(self) -> None:
        """Close each connection after its response, or once its client stops acknowledging bytes.

        A client that does not read could otherwise hold up the shutdown for its whole time. The checks repeat
        also for connections that were accepted before the listening socket closed, and opened after.
        """
        before: dict[Connection, bytes | None] = {}
        while True:
            now: dict[Connection, bytes | None] = {}
            for connection in list(self.registry.connections):
                now[connection] = acknowledged = connection.channel.acknowledged()
                connection.shutdown()
                if acknowledged is not None and before.get(connection) == acknowledged:
                    connection.transport.abort()
            before = now
            await asyncio.sleep(self._limits.stalled_timeout)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; `::` accepts IPv4 too. Raises OSError."""
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        dualstack_ipv6=host == "::",
        backlog=BACKLOG,
    )

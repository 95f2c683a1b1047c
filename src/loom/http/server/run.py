"""Starting and stopping. Owns the listening socket, the signals and the order of the end."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from loom.errors import ConfigError
from loom.http.server.config import Config, Limits
from loom.http.server.protocol import Connection

TICK = 1.0
"""How often the Date header is renewed, in seconds."""
BACKLOG = 2048
POLL = 0.01
LAST_WORDS = 1.0
"""How long cancelled answers have to end, in seconds."""


async def nothing() -> None:
    """What a server does when it stops, if it was not told otherwise."""


async def serve(app: ASGIApp, *, host: str, port: int, **options: Any) -> None:
    """Serve until SIGINT or SIGTERM, then stop in order; a second signal forces. Options as Server's."""
    await Server(app, host=host, port=port, **options).serve()


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """Serve in this event loop while the block runs; gives the URL. Options as Server's."""
    server = Server(app, host=host, port=port, **options)
    task = asyncio.create_task(server.serve_until_stopped())
    try:
        yield server.url
    finally:
        server.stop()
        await task


class Server(uvicorn.Server):
    """`app` on an address: clients can connect from now on, and are served once it runs.

    `listening` is a socket that listens already, for `host` and `port`. `on_listening` is told the URL then.
    Raises ConfigError if it cannot listen; port 0 picks a free one.
    Stopping closes the listening socket, runs `on_stop`, lets the answers being given come to their end, cuts
    those of which nothing arrives any more, and those left when `shutdown_timeout` seconds have passed since
    the stop, or at a second `stop`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        on_listening: Callable[[str], None] = lambda url: None,
        on_stop: Callable[[], Awaitable[None]] = nothing,
        shutdown_timeout: float = 10.0,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._limits = limits or Limits()
        super().__init__(Config(app, Connection, self._limits, tls))
        self._on_listening = on_listening
        self._on_stop = on_stop
        self._shutdown_timeout = shutdown_timeout
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._socket = listening or listen(host, port)
        name = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{name}:{self._socket.getsockname()[1]}"

    async def serve_until_stopped(self) -> None:
        """Run without regard to signals."""
        await self._serve([self._socket])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until a signal. The handlers return when it ends: what is closed afterwards ends with them."""
        with self.capture_signals():
            await self.serve_until_stopped()

    def stop(self) -> None:
        """Begin to stop; called again, end now what is left."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's it does not raise the signal again: the store is still to be closed."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.stop)
        try:
            yield
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)

    async def main_loop(self) -> None:
        self._on_listening(self.url)
        now = asyncio.get_running_loop().time
        interval = self._limits.dead_check
        next_check = now() + interval
        while not self._stopping.is_set():
            await self.on_tick(0)  # renews the Date header
            if now() >= next_check:
                next_check = now() + interval
                for connection in self._connections():
                    connection.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(TICK, interval)):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        deadline = asyncio.get_running_loop().time() + self._shutdown_timeout
        for server in self.servers:
            server.close()
        stopping = asyncio.ensure_future(self._on_stop())
        await self._unless_forced(stopping, deadline)
        for connection in self._connections():
            connection.shutdown()
        cutting = asyncio.create_task(self._cut_stalled())
        await self._unless_forced(asyncio.ensure_future(self._all_ended()), deadline)
        cutting.cancel()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in self._connections():
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended(), LAST_WORDS)
        if not stopping.cancelled():
            stopping.result()

    async def _unless_forced(self, work: asyncio.Future[None], deadline: float) -> None:
        """Wait for `work`, at most to the deadline or a second `stop`; then it is cancelled."""
        forced = asyncio.create_task(self._forced.wait())
        timeout = deadline - asyncio.get_running_loop().time()
        either: set[asyncio.Future[Any]] = {work, forced}
        await asyncio.wait(either, timeout=max(timeout, 0), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=LAST_WORDS)

    async def _all_ended(self) -> None:  # uvicorn's sets tell nobody when they are empty
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(POLL)

    async def _cut_stalled(self) -> None:
        """End connections whose peer does not take what it is sent: a reader that stands still can go on
        standing still for ever."""
        before: dict[Connection, bytes | None] = {}
        while True:
            now = {connection: connection.wire.delivered() for connection in self._connections()}
            for connection, delivered in now.items():
                if delivered is not None and before.get(connection) == delivered:
                    connection.transport.abort()
            before = now
            await asyncio.sleep(self._limits.stalled_timeout)

    def _connections(self) -> list[Connection]:
        """Those open now; all are ours."""
        return list(self.server_state.connections)  # type: ignore[arg-type]


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. `::` takes IPv4 too. Raises ConfigError."""
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            dualstack_ipv6=host == "::",
            backlog=BACKLOG,
        )
    except OSError as error:
        raise ConfigError(f"Cannot listen on {host} port {port}: {error.strerror}.") from error

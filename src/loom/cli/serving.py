"""The process of `loom serve`: signals, its limits, its one line of output, and its exit codes.

The server itself is built by `loom.assembly`. Standard output gets one line, once the server listens; the
rest is logged.
"""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog
import uvloop

from loom import __version__, logs
from loom.access.auth import Auth
from loom.access.keys import reload_auth
from loom.assembly import Opener, assemble, open_store
from loom.cli import systemd
from loom.cli.exit_codes import OK, STORE_FAILED
from loom.cli.ports import cannot_listen
from loom.config import Settings
from loom.errors import ConfigError, LoomError
from loom.http.middleware import tracing
from loom.http.server import Server
from loom.http.server.tls import Certificate
from loom.store.base import Health
from loom.wire.hosts import is_any, is_loopback

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

logger = structlog.get_logger("loom")

ReadSettings = Callable[[], Settings]


def serve(read: ReadSettings) -> int:
    """Serve with the settings that `read` returns; return the exit code. Raises ConfigError."""
    settings = read()
    logs.configure(settings.log_level, settings.log_format, settings.secrets)
    keep_large_buffers()
    raise_file_limit()
    gc.freeze()  # spares every later collection the modules loaded so far
    listening = systemd.inherited(os.environ)
    if listening is not None:
        host, port = listening.getsockname()[:2]
        settings = settings.model_copy(update={"host": host, "port": port})
    return uvloop.run(run(settings, read, listening))


async def run(
    settings: Settings,
    read: ReadSettings,
    listening: socket.socket | None = None,
    *,
    opener: Opener = open_store,
) -> int:
    """Serve until a signal or a failure of the store, then return the exit code.

    `listening` is a socket that already listens, in place of the settings' address. `opener` is for tests.
    """
    certificate = Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    spans = tracing.provider(os.environ)
    try:
        async with assemble(settings, opener=opener, spans=spans) as loom:
            failing = asyncio.create_task(loom.store.wait_stopped())
            _reload_on_hangup(loom.auth, certificate, read)

            async def drain() -> None:
                systemd.notify("STOPPING=1")
                await loom.drain()

            try:
                server = Server(
                    loom.app,
                    host=settings.host,
                    port=settings.port,
                    on_listening=lambda url: _announce(url, settings, loom.store.health()),
                    on_stop=drain,
                    shutdown_timeout=settings.shutdown_timeout,
                    tls=certificate.context if certificate else None,
                    listening=listening,
                    caps=loom.caps,
                    proxies=loom.proxies,
                )
            except OSError as error:
                raise ConfigError(cannot_listen(settings.host, settings.port, error)) from None
            failing.add_done_callback(lambda _: server.stop())
            await server.serve()
    finally:
        if spans is not None:
            await tracing.close(spans)
    # The last flush may have failed during the close; a turn of the event loop delivers that.
    await asyncio.wait({failing}, timeout=0)
    if failing.done():
        logger.error("The store failed, so the server stopped.", reason=str(failing.result()))
        return STORE_FAILED
    failing.cancel()
    logger.info("The server stopped.")
    return OK


def _reload_on_hangup(auth: Auth, certificate: Certificate | None, read: ReadSettings) -> None:
    """Reload tokens and certificate at each SIGHUP, one that arrived earlier and is held back included."""
    # One thread: of two reloads, the later one must have the last word.
    thread = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, lambda: thread.submit(reload, auth, certificate, read))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def reload(auth: Auth, certificate: Certificate | None, read: ReadSettings) -> None:
    """Replace tokens, signing keys and certificate by the present ones; other settings wait for a start.

    What cannot be replaced, for any reason, stays as it was; the other is replaced all the same.
    """
    failed = certificate is not None and not _reload_certificate(certificate)
    try:
        settings = read()
        reload_auth(auth, settings)
    except Exception as error:
        # Another error than ours may quote the file, which holds tokens.
        reason = str(error) if isinstance(error, LoomError) else type(error).__name__
        auth.stale = True
        logger.error("The tokens were not reloaded.", reason=reason)
        logs.audit("tokens.reload_failed", reason=reason)
        return
    auth.stale = failed
    logs.configure(settings.log_level, settings.log_format, settings.secrets)
    logger.info("The tokens were reloaded.", tokens=len(settings.tokens))
    logs.audit("tokens.reloaded", tokens=len(settings.tokens))


def _reload_certificate(certificate: Certificate) -> bool:
    try:
        certificate.reload()
    except LoomError as error:
        logger.error("The certificate was not reloaded.", reason=str(error))
        logs.audit("certificate.reload_failed", reason=str(error))
        return False
    logger.info("The certificate was reloaded.")
    logs.audit("certificate.reloaded")
    return True


def _announce(url: str, settings: Settings, health: Health) -> None:
    """Print where the server listens, for people and scripts, and warn of what may surprise."""
    page = url
    if is_any(settings.host):
        page = f"{url.partition(':')[0]}://localhost:{url.rpartition(':')[2]}"
    stored = f"in {health.store}; nothing is kept when the server stops"
    if settings.directory:
        stored = f"{settings.directory.absolute()} (durability: {health.durability})"
    with suppress(OSError):
        sys.stdout.write(f"Loom {__version__} listens on {url}\nPage: {page}/ui/\nData: {stored}\n")
        sys.stdout.flush()
    systemd.notify("READY=1")
    if not settings.tokens and not is_loopback(settings.host):
        logger.warning(
            "ANYONE WHO REACHES THIS ADDRESS CAN READ, WRITE AND REPLACE EVERY STREAM: no tokens are set.",
            host=settings.host,
        )
    if health.durability == "os":
        logger.warning("Power loss can lose acknowledged bytes: durability is os.")


def keep_large_buffers() -> None:
    """Let glibc's malloc reuse large buffers instead of returning each to the system."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)


def raise_file_limit() -> None:
    """Raise the limit of open files to its maximum: each connection and each stream being read needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

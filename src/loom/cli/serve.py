"""The command `loom serve` and the composition root: here alone are concrete parts picked and put together.

Owns the order of start and stop, and the exit codes. Standard output gets one line, once the server listens;
all else is logged.
"""

import asyncio
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import typer
import uvloop

from loom import config, logs
from loom.access.auth import Auth
from loom.cli import flags, systemd
from loom.cli.access import open_auth, reload_auth, secrets_of
from loom.config import Settings
from loom.errors import LoomError
from loom.http.app import build_app
from loom.http.middleware import tracing
from loom.http.middleware.guard import is_loopback
from loom.http.server import Server
from loom.http.service.listing import row
from loom.jobs.sweeper import Sweeper
from loom.metrics import Metrics
from loom.model import Clock, steady_clock
from loom.store.base import Store
from loom.streams.hub import Hub
from loom.streams.limits import Limits
from loom.streams.service import Service
from loom.streams.spy import Spy

if TYPE_CHECKING:
    from loom.jobs.webhooks import Webhooks

OK, CANNOT_START, STORE_FAILED, INTERRUPTED = 0, 2, 70, 130

EXITS = f"""Exit codes: {OK} stopped as asked (SIGTERM, SIGINT), {CANNOT_START} cannot start as told,
{STORE_FAILED} the store failed and took the server down."""

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

logger = structlog.get_logger("loom")


Reread = Callable[[], Settings]


def serve(read: Reread) -> int:
    """Serve until told to stop, by the settings that `read` gives; the exit code. Raises ConfigError."""
    settings = read()
    logs.configure(settings.log_level, settings.log_format, secrets_of(settings))
    keep_large_buffers()
    raise_file_limit()
    gc.freeze()  # what is loaded stays: no collection needs to look through it again
    listening = systemd.inherited(os.environ)
    if listening is not None:
        host, port = listening.getsockname()[:2]
        settings = settings.model_copy(update={"host": host, "port": port})
    return uvloop.run(_open_and_run(settings, read, listening))


async def _open_and_run(settings: Settings, read: Reread, listening: socket.socket | None) -> int:
    clock = steady_clock()
    metrics = Metrics()
    return await run(await _open_store(settings, clock, metrics), settings, clock, metrics, read, listening)


async def run(
    store: Store,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    read: Reread,
    listening: socket.socket | None = None,
) -> int:
    """Serve what `store` keeps until a signal or the store's failure, then close it; the exit code.

    `listening` is a socket that listens already, in place of the settings' address.
    """
    failing = asyncio.create_task(store.wait_stopped())
    try:
        auth = await asyncio.to_thread(open_auth, settings, time.time)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, reload, auth, read))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        await _serve(store, auth, settings, clock, metrics, failing, listening)
    finally:
        await store.close()
        # The last flush may have failed too; its news is on the way.
        await asyncio.wait({failing}, timeout=0)
        failing.cancel()
    if failing.done():
        logger.error("The store failed, so the server stopped.", reason=str(failing.result()))
        return STORE_FAILED
    logger.info("The server stopped.")
    return OK


async def _serve(
    store: Store,
    auth: Auth,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    failing: asyncio.Task[LoomError],
    listening: socket.socket | None,
) -> None:
    spans = tracing.provider(os.environ)
    hub = Hub(store)
    service = Service(
        store,
        hub,
        clock,
        resume_window=settings.resume_window,
        open_window=settings.open_window,
        retention=settings.retention,
        limits=limits_of(settings),
        scrub_interval=settings.scrub_interval,
        scrub_rate=settings.scrub_rate,
    )

    async def drain() -> None:
        systemd.notify("STOPPING=1")
        await service.drain(clock() + settings.shutdown_timeout)

    server = Server(
        build_app(service, Spy(store, hub), auth, settings, metrics, spans),
        host=settings.host,
        port=settings.port,
        on_listening=lambda url: _announce(url, settings),
        on_stop=drain,
        shutdown_timeout=settings.shutdown_timeout,
        listening=listening,
    )
    failing.add_done_callback(lambda _: server.stop())
    beside = [asyncio.create_task(each) for each in (Sweeper(store, clock).run(), service.digests.run())]
    if settings.scrub_interval:
        beside.append(asyncio.create_task(service.scrub.run()))
    if settings.webhooks:
        beside.append(asyncio.create_task(_open_webhooks(store, settings, clock).run()))
    try:
        await server.serve()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await service.close()
        if spans is not None:
            await tracing.close(spans)


def reload(auth: Auth, read: Reread) -> None:
    """Take tokens and signing key as they now stand in the settings; the rest holds until the next start."""
    try:
        settings = read()
        reload_auth(auth, settings)
    except LoomError as error:
        logger.error("The tokens stay as they are.", reason=str(error))
        return
    logs.configure(settings.log_level, settings.log_format, secrets_of(settings))
    logger.info("The tokens were read again.", tokens=len(settings.tokens))


def _open_webhooks(store: Store, settings: Settings, clock: Clock) -> "Webhooks":
    # Its HTTP client takes longer to load than a start has time for.
    from loom.jobs.webhooks import Hook, Webhooks

    hooks = [Hook(each.url, each.prefix, each.key) for each in settings.webhooks]
    path = None if settings.store == "memory" else settings.data / "webhooks.json"
    return Webhooks(store, hooks, row, path, clock)


def limits_of(settings: Settings) -> Limits:
    """What is taken at most."""
    return Limits(
        stream_bytes=settings.max_stream_bytes,
        store_bytes=settings.max_store_bytes,
        streams_live=settings.max_streams_live,
        followers=settings.max_followers,
    )


async def _open_store(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
    # Only the store that is used is loaded.
    if settings.store == "memory":
        from loom.store.memory import MemoryStore

        return MemoryStore(clock)
    from loom.store.files import FilesStore

    return await FilesStore.start(
        settings.data,
        durability=settings.durability,
        clock=clock,
        min_free_bytes=settings.min_free_bytes,
        min_free_inodes=settings.min_free_inodes,
        on_commit=metrics.commit,
    )


def _announce(url: str, settings: Settings) -> None:
    """Tell where the server listens, for people and scripts, and log what may surprise."""
    kept = (
        "in memory"
        if settings.store == "memory"
        else f"data in {settings.data}, durability {settings.durability}"
    )
    with suppress(OSError):
        sys.stdout.write(f"Loom listens on {url} ({kept})\n")
        sys.stdout.flush()
    systemd.notify("READY=1")
    if not settings.tokens and not is_loopback(settings.host):
        logger.warning(
            "ANYONE WHO REACHES THIS ADDRESS CAN READ, WRITE AND REPLACE EVERY STREAM: no tokens are set.",
            host=settings.host,
        )
    if settings.store == "files" and settings.durability == "os":
        logger.warning("What is acknowledged may be lost with the power: durability is os.")


def keep_large_buffers() -> None:
    """Let malloc reuse large buffers instead of returning each to the system, where it can be told so."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)


def raise_file_limit() -> None:
    """Allow as many open files as this process may: every connection and every stream being read is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def command(files: list[Path], **given: str | None) -> None:
    """Run the server until it is told to stop.

    Settings come from flags, then from environment variables, then from the files of --config, a later one
    winning over an earlier one.
    """
    try:
        told = {name: value for name, value in given.items() if value is not None}
        code = serve(lambda: config.load(files, os.environ, told))
    except LoomError as error:
        sys.stderr.write(f"loom serve: {error}\n")
        code = CANNOT_START
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


def main(arguments: list[str]) -> None:
    """The command with these arguments; leaves with its exit code."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    command.__signature__ = flags.signature()  # type: ignore[attr-defined]
    app.command(epilog=EXITS)(command)
    app(arguments, prog_name="loom serve")

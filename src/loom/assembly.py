"""Build Loom from its settings: store, streams, background jobs, access and the ASGI app. Public.

The only place that picks a store. Embed Loom in a program of your own like this::

    from loom.assembly import assemble
    from loom.config import Settings
    from loom.http.server import serving

    async def main() -> None:
        async with assemble(Settings(store="file:./data")) as loom:
            async with serving(loom.app, port=3060, on_stop=loom.drain, caps=loom.caps) as url:
                print(f"Loom listens on {url}")
                await loom.store.wait_stopped()  # or other work of this program

Any other ASGI server may run `loom.app`. Owns the order in which the parts start and stop. Knows nothing of
the process: signals, exit codes and output belong to `loom.cli.serving`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from loom.access.auth import Auth
from loom.access.ids import Ids
from loom.access.keys import open_auth
from loom.config import Settings
from loom.errors import ConfigError
from loom.http.addresses import Proxies
from loom.http.app import build_app
from loom.http.caps import Caps
from loom.jobs.digests import Digests
from loom.jobs.scrub import Scrub
from loom.jobs.sweeper import Sweeper
from loom.metrics import Metrics
from loom.model import Clock, steady_clock
from loom.patterns import InvalidPattern
from loom.store.base import Store
from loom.streams.grep.search import Bounds, Grep
from loom.streams.grep.workers import Workers
from loom.streams.hub import Hub
from loom.streams.limits import Limits
from loom.streams.redaction import Redactions, Rule
from loom.streams.service import Service
from loom.streams.spy import Spy

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

Opener = Callable[[Settings, Clock, Metrics], Awaitable[Store]]
"""Opens a store. Raises ConfigError with a sentence that says what to do."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A running Loom: `app` for an ASGI server, and the parts that its owner may call."""

    app: ASGIApp
    service: Service
    grep: Grep
    store: Store
    auth: Auth
    caps: Caps
    """For `loom.http.server`, which counts connections in it."""
    proxies: Proxies
    shutdown_timeout: float

    async def drain(self) -> None:
        """Refuse new work, interrupt producers and disconnect followers; takes `shutdown_timeout` at most.

        The owner awaits this before the server stops.
        """
        await self.service.drain(self.service.now() + self.shutdown_timeout)


async def open_memory(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
    """Open the store of `memory:`, which is empty and lasts until it is closed."""
    from loom.store.memory import MemoryStore

    return MemoryStore(clock)


async def open_files(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
    """Open the store of `file:`, a data directory, and recover it."""
    from loom.store.files import FilesStore

    assert settings.directory is not None
    return await FilesStore.start(
        settings.directory,
        durability=settings.durability,
        clock=clock,
        min_free_bytes=settings.min_free_bytes,
        min_free_inodes=settings.min_free_inodes,
        on_commit=metrics.commit,
    )


STORES: dict[str, Opener] = {"file": open_files, "memory": open_memory}
"""The stores by the scheme of their URL. Each opener imports its store, so that no other one is loaded."""


async def open_store(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
    """Open the store that `settings.store` names. Raises ConfigError."""
    if settings.scheme not in STORES:
        known = " and ".join(f"{each}:" for each in STORES)
        # Quotes only the scheme, because the URL of a database may contain a password.
        raise ConfigError(f"The setting store cannot begin with {settings.scheme}: (known are {known}).")
    return await STORES[settings.scheme](settings, clock, metrics)


@asynccontextmanager
async def assemble(
    settings: Settings,
    *,
    opener: Opener = open_store,
    clock: Clock | None = None,
    sleep: Sleep = asyncio.sleep,
    spans: "TracerProvider | None" = None,
) -> AsyncIterator[Assembly]:
    """Open the store and start the background jobs; at the end stop the jobs and close the store.

    The caller serves `app` inside the block and drains it before its server stops. `opener` opens the store,
    `clock` is the time of deadlines, `sleep` is the pause between two runs of the sweeper, and requests are
    traced with `spans` if given. Raises ConfigError.
    """
    clock, metrics = clock or steady_clock(), Metrics()
    store = await opener(settings, clock, metrics)
    try:
        auth = await asyncio.to_thread(open_auth, settings, time.time)
        hub = Hub(store)
        digests = Digests(store)
        scrub = Scrub(store, interval=settings.scrub_interval, rate=settings.scrub_rate)
        service = _service(settings, store, hub, clock, digests, scrub)
        grep = _grep(settings, service)
        caps = Caps.derived(settings.max_connections, settings.max_connections_per_address)
        proxies = Proxies(settings.trusted_proxies)
        app = build_app(service, Spy(store, hub), grep, auth, settings, metrics, spans, caps)
        jobs = [asyncio.create_task(each) for each in _jobs(settings, store, service, clock, sleep)]
        try:
            yield Assembly(app, service, grep, store, auth, caps, proxies, settings.shutdown_timeout)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)
            await service.close()
            await grep.workers.close()
            await digests.close()
    finally:
        await store.close()


def _service(
    settings: Settings, store: Store, hub: Hub, clock: Clock, digests: Digests, scrub: Scrub
) -> Service:
    return Service(
        store,
        hub,
        clock,
        digests,
        scrub,
        resume_window=settings.resume_window,
        open_window=settings.open_window,
        retention=settings.retention,
        redactions=_redactions(settings),
        limits=Limits(
            stream_bytes=settings.max_stream_bytes,
            store_bytes=settings.max_store_bytes,
            streams=settings.max_streams,
            streams_live=settings.max_streams_live,
            followers=settings.max_followers,
        ),
    )


def _grep(settings: Settings, service: Service) -> Grep:
    bounds = Bounds(settings.max_search_time, settings.max_search_bytes)
    return Grep(service, Workers(settings.search_workers), bounds)


def _redactions(settings: Settings) -> Redactions:
    rules = [
        Rule(Ids.of_prefix(each.prefix).__contains__, each.literals, each.patterns)
        for each in settings.redact
    ]
    try:
        return Redactions(rules)
    except InvalidPattern:
        raise ConfigError("The rules of the setting redact are too large together; use fewer.") from None


def _jobs(
    settings: Settings, store: Store, service: Service, clock: Clock, sleep: Sleep
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield the background jobs; each runs until cancelled."""
    yield Sweeper(store, clock, service.lifetimes, sleep=sleep).run()
    yield service.digests.run()
    if settings.scrub_interval:
        yield service.scrub.run()
    if settings.webhooks:
        # Only here, because the HTTP client of webhooks takes longer to load than the rest of a start.
        from loom.jobs.webhooks import Hook, Webhooks

        hooks = [Hook(each.url, each.prefix, each.key) for each in settings.webhooks]
        path = settings.directory and settings.directory / "webhooks.json"
        yield Webhooks(store, hooks, path, clock).run()

"""GET /metrics: figures for Prometheus. Owns where each figure comes from."""

import asyncio
from contextlib import suppress
from typing import Any

from loom import __version__
from loom.access.auth import Action
from loom.errors import StoreStopped
from loom.http.caps import Caps
from loom.http.exchange import Exchange
from loom.http.record import Traffic
from loom.metrics import Metrics, Snapshot
from loom.streams.grep.search import Grep
from loom.streams.service import Service


class Scrape:
    """The handler of /metrics."""

    def __init__(self, service: Service, grep: Grep, traffic: Traffic, metrics: Metrics, caps: Caps) -> None:
        self._service = service
        self._grep = grep
        self._traffic = traffic
        self._metrics = metrics
        self._caps = caps
        health = service.health()
        metrics.describe(__version__, health.store, health.durability)

    async def read(self, exchange: Exchange) -> None:
        """GET /metrics, for a token that may read every stream.

        Of a stopped store, streams and bytes are not reported.
        """
        exchange.require(Action.READ, None)
        stored: dict[str, Any] = {}
        with suppress(StoreStopped):
            usage = await self._service.usage()
            stored = {"streams": usage.streams, "stored": usage.size, "free": usage.free}
        load = self._service.load()
        received, sent = self._traffic.total()
        self._metrics.show(
            Snapshot(
                producers=load.producers,
                followers=load.followers,
                lagging=load.lagging,
                lag=load.lag,
                held=load.held,
                received=received,
                sent=sent,
                connections=self._caps.open,
                refused=self._caps.refused,
                closed=self._caps.closed,
                searches=self._grep.counts.ended,
                searched=self._grep.counts.searched,
                searching=len(self._grep.workers.running),
                ready=self._service.health().ready,
                charged=self._service.room.used,
                **stored,
            )
        )
        accept = ",".join(value.decode("latin-1") for value in exchange.all(b"accept"))
        body, content_type = await asyncio.to_thread(self._metrics.render, accept)
        await exchange.respond_content(content_type, body)

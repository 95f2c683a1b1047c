"""/healthz and /readyz: for those who run Loom. Both without a token, so both say little."""

import json
from typing import Any

from loom import __version__
from loom.http.exchange import Exchange
from loom.http.headers import NO_STORE, NOSNIFF
from loom.http.problem import problem
from loom.streams.service import Service


class Ops:
    """The handlers of the probes."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def alive(self, exchange: Exchange) -> None:
        """GET /healthz: this process answers; a stopped store is told, but is no reason to restart it."""
        health = self._service.health()
        status = "ok" if health.ready else "stopped"
        body = json.dumps({"status": status, **self._facts()}).encode() + b"\n"
        length = (b"content-length", b"%d" % len(body))
        await exchange.respond(200, [(b"content-type", b"application/json"), length, NO_STORE, NOSNIFF], body)

    async def ready(self, exchange: Exchange) -> None:
        """GET /readyz: 200 if new work is taken, 503 if not any more."""
        health = self._service.health()
        if health.ready:
            await self.alive(exchange)
        else:
            detail = health.detail or "This server is stopping."
            await exchange.respond(*problem(503, "not_ready", detail, **self._facts()))

    def _facts(self) -> dict[str, Any]:
        health = self._service.health()
        facts = {"version": __version__, "store": health.store, "durability": health.durability}
        damaged = self._service.scrub.damaged
        return {**facts, "damaged": damaged} if damaged else facts

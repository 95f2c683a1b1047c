"""GET /healthz and /readyz, for operators. Neither needs a token, so both reveal little."""

import json
from typing import Any

from loom import __version__
from loom.access.auth import Auth
from loom.http.exchange import Exchange
from loom.http.problem import problem
from loom.streams.service import Service


class Probes:
    """The handlers of the probes."""

    def __init__(self, service: Service, auth: Auth) -> None:
        self._service = service
        self._auth = auth

    async def alive(self, exchange: Exchange) -> None:
        """GET /healthz: answer 200, also for a stopped store, which is no reason to restart this process."""
        status = "ok" if self._service.health().ready else "stopped"
        await exchange.respond_json(json.dumps({"status": status, **self._facts()}))

    async def ready(self, exchange: Exchange) -> None:
        """GET /readyz: answer 200 while the server accepts new work, else 503."""
        health = self._service.health()
        if health.ready:
            await self.alive(exchange)
        else:
            detail = health.detail or "This server is stopping."
            await exchange.respond(*problem(503, "not_ready", detail, **self._facts()))

    def _facts(self) -> dict[str, Any]:
        health = self._service.health()
        facts = {"version": __version__, "store": health.store, "durability": health.durability}
        optional = {"damaged": self._service.scrub.damaged, "reload": self._auth.stale and "failed"}
        return facts | {name: value for name, value in optional.items() if value}

"""What a server is told: the numbers of a connection, and what of uvicorn is off."""

import asyncio
import ssl
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. Bodies have no limit: a stream may flow for days."""

    head: int = 64 << 10
    """Request line and headers together; trailers for themselves."""
    head_timeout: float = 10.0
    """From a request's first byte to the end of its headers."""
    idle_timeout: float = 75.0
    """Between two requests, and before the first."""
    pipelined: int = 32
    """Requests that wait behind the one being answered; with more the connection ends after these."""
    discard: int = 64 << 20
    """What is thrown away after an answer that did not wait for the whole request."""
    discard_timeout: float = 30.0
    dead_timeout: float = 60.0
    """How long sent bytes may stay without any sign of life from the other end."""
    dead_check: float = 5.0
    """Between two looks at that."""
    stalled_timeout: float = 2.0
    """While the server stops: how long sent bytes may stay without any of them arriving, up to twice that."""
    cut_timeout: float = 1.0
    """What a cut leaves to bytes already handed over, before it drops them."""


class Config(uvicorn.Config):
    """One app on one protocol. Whatever reads the environment, logs or rewrites requests is off."""

    def __init__(
        self, app: ASGIApp, protocol: type[asyncio.Protocol], limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(
            app,
            http=protocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            workers=1,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
        )
        self.limits = limits

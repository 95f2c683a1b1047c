"""Traces: a span for each request, where OpenTelemetry is installed and told where to send them.

Owns what a span says: method, path without its query, status, the stream, its bytes; no header and no token.
The caller's `traceparent` (W3C Trace Context) makes the span its child. Nothing of OpenTelemetry is imported
before `provider` or `Tracing` is called.
"""

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loom import __version__
from loom.errors import ConfigError
from loom.http.middleware.access_log import RECORD, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as Exporting
    from opentelemetry.trace import TracerProvider

TOLD_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CONTEXT = ("traceparent", "tracestate")
LAST_SECONDS = 3.0

logger = structlog.get_logger("loom")


def provider(environ: Mapping[str, str]) -> "Exporting | None":
    """What OpenTelemetry's own variables ask for; None if they ask for nothing. Raises ConfigError."""
    if not any(map(environ.get, TOLD_BY)) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(
            "Traces are asked for in the environment, but OpenTelemetry is not installed: pip install "
            "'loom-streams[otel]'."
        ) from None
    name = environ.get("OTEL_SERVICE_NAME", "loom")
    made = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


async def close(provider: "Exporting") -> None:
    """Send what is left, in LAST_SECONDS: a collector that does not answer does not hold up the stop."""
    # A thread that nothing waits for at the process' end, unlike those of asyncio.
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    await asyncio.to_thread(sending.join, LAST_SECONDS)
    if sending.is_alive():
        logger.warning("The last spans are lost: their collector did not answer in time.")


class Tracing:
    """Middleware: a span for each request, from its head to its end. Stands inside the access log."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("loom", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER
        self._failed = StatusCode.ERROR

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        carrier = {name: sent[name] for name in CONTEXT if name in sent}
        method, path = scope["method"], scope["path"]
        span = self._tracer.start_span(
            f"{method} /{path.split('/')[1]}",
            context=self._propagator.extract(carrier),
            kind=self._kind,
            attributes={"http.request.method": method, "url.path": path},
        )
        record: Record = scope[RECORD]
        try:
            await self._app(scope, receive, send)
        finally:
            if record.status is not None:
                span.set_attribute("http.response.status_code", record.status)
            told: dict[str, str | int] = {"stream": record.stream, "state": record.state, "cut": record.cut}
            told |= {"received": record.received, "sent": record.sent}
            for name, value in told.items():
                if value:
                    span.set_attribute(f"loom.{name}", value)
            # Who follows a live stream leaves when it likes.
            broken = record.cut not in ("", "the client left")
            if broken or (record.status is not None and record.status >= 500):
                span.set_status(self._failed, record.cut)
            span.end()

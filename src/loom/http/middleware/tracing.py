"""Traces: a span for each request, where OpenTelemetry is installed and has an endpoint.

Owns what a span contains: method, path without query, status, the stream, its bytes; no header and no token.
The caller's `traceparent` (W3C Trace Context) makes the span its child. OpenTelemetry is imported only when
`provider` or `Tracing` is called.
"""

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from loom import __version__
from loom.errors import ConfigError
from loom.http.record import CLIENT_LEFT, RECORD, Record
from loom.logs import MAX_PATH, mask_signed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as Exporting
    from opentelemetry.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CONTEXT = ("traceparent", "tracestate")
LAST_SECONDS = 3.0

logger = structlog.get_logger("loom")


def provider(environ: Mapping[str, str]) -> "Exporting | None":
    """Return the provider that OpenTelemetry's variables configure, None if they set no endpoint.

    Raises ConfigError.
    """
    if not any(map(environ.get, ENDPOINTS)) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
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
            "The environment asks for traces, but OpenTelemetry is not installed: pip install "
            "'loom-streams[otel]'."
        ) from None
    name = environ.get("OTEL_SERVICE_NAME", "loom")
    made = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


async def close(provider: "Exporting") -> None:
    """Send the remaining spans within LAST_SECONDS, so that a silent collector does not delay the stop."""
    # Unlike the threads of asyncio, a daemon thread does not delay the exit of the process.
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    await asyncio.to_thread(sending.join, LAST_SECONDS)
    if sending.is_alive():
        logger.warning("The last spans are lost: the collector did not answer in time.")


class Tracing:
    """Middleware: record a span for each request. The access log must be around it."""

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
        method, path = scope["method"], mask_signed(scope["path"])[:MAX_PATH]
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
            facts: dict[str, str | int] = {"stream": record.stream, "state": record.state, "cut": record.cut}
            facts |= {"received": record.received, "sent": record.sent}
            for name, value in facts.items():
                if value:
                    span.set_attribute(f"loom.{name}", value)
            # A follower of a live stream may disconnect at any time: that is not a failure.
            broken = record.cut not in ("", CLIENT_LEFT)
            if broken or (record.status is not None and record.status >= 500):
                span.set_status(self._failed, record.cut)
            span.end()

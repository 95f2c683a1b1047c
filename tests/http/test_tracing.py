"""Spans of requests, as OpenTelemetry's SDK receives them; OpenTelemetry is imported only on demand."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.support.running import Lines, Loom, running

from loom.config import Settings
from loom.errors import ConfigError
from loom.http.middleware.tracing import provider

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Spans(InMemorySpanExporter):
    def one(self) -> ReadableSpan:
        [span] = self.get_finished_spans()
        self.clear()
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def loom(lines: Lines, spans: Spans) -> AsyncIterator[Loom]:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(spans))

    async with running(Settings(store="memory"), lines, spans=made) as loom:
        yield loom
    made.shutdown()


async def test_reading_and_writing_are_spans_of_the_callers_trace(loom: Loom, spans: Spans):
    ended = loom.logged(method="POST")
    await loom.stored("/stream/a/b", b"hello", traceparent=f"00-{TRACE}-{PARENT}-01")
    await ended
    span = spans.one()
    assert (span.name, span.kind) == ("POST /stream", SpanKind.SERVER)
    assert span.parent
    assert span.context
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/stream/a/b",
        "http.response.status_code": 201,
        "loom.stream": "a/b",
        "loom.state": "complete",
        "loom.received": 5,
    }
    ended = loom.logged(method="GET")
    await (await loom.get("/stream/a/b?notail")).body()
    await ended
    span = spans.one()
    assert span.parent is None
    assert span.attributes
    assert (span.attributes["loom.sent"], span.attributes["url.path"]) == (5, "/stream/a/b")
    assert span.status.status_code is StatusCode.UNSET


async def test_a_refusal_is_not_a_failure_and_a_cut_response_is_one(loom: Loom, spans: Spans):
    ended = loom.logged(method="GET")
    await (await loom.get("/stream/none")).body()
    await ended
    assert spans.one().status.status_code is StatusCode.UNSET
    await loom.live("/stream/a", b"x")
    spans.clear()
    follower = await loom.get("/stream/a")
    await follower.take(1)
    ended = loom.logged(method="GET", cut="gone")
    await loom.store.delete((await loom.service.info("a")).key)
    await ended
    gets = [each for each in spans.get_finished_spans() if each.name.startswith("GET")]
    assert gets
    for span in gets:  # one of them is that of `loom.live`, which disconnects
        cut = (span.attributes or {})["loom.cut"]
        assert (span.status.status_code is StatusCode.ERROR) == (cut == "gone")


async def test_an_invalid_traceparent_begins_a_new_trace(loom: Loom, spans: Spans):
    ended = loom.logged(method="GET")
    await (await loom.get("/healthz", traceparent="00-nonsense")).body()
    await ended
    assert spans.one().parent is None


def test_nothing_is_traced_without_an_endpoint_in_the_environment():
    assert provider({"OTEL_SERVICE_NAME": "loom"}) is None
    assert provider({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is None


def test_traces_without_opentelemetry_are_refused_with_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(ConfigError, match="otel"):
        provider({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})


def test_opentelemetry_is_not_imported_without_an_endpoint():
    code = "import sys, loom.cli.serving; print([each for each in sys.modules if 'opentelemetry' in each])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""Traces of the real server as a collector receives them over OTLP."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.cli.test_serve import served

from loom.cli.exit_codes import OK

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Receives spans; if `silent`, it never responds."""

    def __init__(self) -> None:
        self.spans: asyncio.Queue[Span] = asyncio.Queue()
        self.services: set[str] = set()
        self.called = asyncio.Event()
        self.silent = False
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        received = ExportTraceServiceRequest.FromString(await request.read())
        self.called.set()
        if self.silent:
            await asyncio.Event().wait()
        for group in received.resource_spans:
            self.services |= {
                each.value.string_value for each in group.resource.attributes if each.key == "service.name"
            }
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.put_nowait(span)
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as server:
        collector.url = str(server.make_url("/"))
        yield collector


def environment(collector: Collector, delay: int) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": str(delay)}


@pytest.mark.parametrize("delay", [50, 3_600_000], ids=["as they end", "at the stop"])
async def test_spans_reach_the_collector(collector: Collector, delay):
    async with served(env=environment(collector, delay)) as server:
        await server.get("/stream/none", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        if delay < 1000:
            await asyncio.wait_for(collector.called.wait(), 20)
        server.process.signal(signal.SIGTERM)
        assert (await server.process.ended())[0] == OK
    span = collector.spans.get_nowait()
    assert (span.name, span.trace_id.hex(), collector.services) == ("GET /stream", TRACE, {"loom"})


@pytest.mark.parametrize("how", ["silent", "gone"])
async def test_a_collector_that_does_not_respond_delays_nothing(collector: Collector, how):
    collector.silent = how == "silent"
    if how == "gone":
        collector.url = "http://127.0.0.1:1"
    async with served(env=environment(collector, 50)) as server:
        for _ in range(100):
            assert (await server.get("/stream/none"))[0].status == 404
        if collector.silent:
            await asyncio.wait_for(collector.called.wait(), 20)
        server.process.signal(signal.SIGTERM)
        code, logged = await asyncio.wait_for(server.process.ended(), 20)
        assert (code, "The last spans are lost" in logged) == (OK, True)

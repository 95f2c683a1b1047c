"""GET /metrics: figures, formats, and the token that they need."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Wire

from loom import __version__
from loom.metrics import Metrics
from loom.model import State

ROOT = Path(__file__).parents[2]
Figures = dict[tuple[str, ...], float]


async def figures(loom: Loom, **headers: Any) -> Figures:
    """Return every sample by its name and its label values, ordered by the names of the labels."""
    wire = await loom.get("/metrics", **headers)
    assert wire.head.status == 200
    text = (await wire.body()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def families() -> set[str]:
    """Return the names of Loom's own metrics, as samples have them."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
        if family.name.startswith("loom_")
    }


async def test_producers_and_followers_are_counted(loom: Loom):
    producer = await loom.live("/stream/a", b"hello")
    reader = await loom.get("/stream/a")
    assert await reader.take(5) == b"hello"
    now = await figures(loom)
    assert now["loom_producers",] == now["loom_followers",] == 1
    assert now["loom_streams", "live"] == 1
    assert now["loom_stored_bytes",] == now["loom_received_bytes_total",] == 5
    assert now["loom_sent_bytes_total",] >= 10
    assert now["loom_follower_lag_bytes",] == now["loom_followers_behind",] == 0

    gone = loom.logged(path="/stream/a", method="GET")
    await reader.close()
    await gone
    await producer.chunk(b"")
    assert await producer.body() == b""
    await loom.until("a", State.COMPLETE)
    now = await figures(loom)
    assert now["loom_producers",] == now["loom_followers",] == 0
    assert now["loom_received_bytes_total",] == 5


async def test_a_stopped_store_is_reported(loom: Loom):
    await loom.store.close()
    wire = await loom.get("/metrics")
    assert wire.head.status == 200
    assert b"loom_ready 0.0" in await wire.body()


@ONE_STORE
async def test_refusals_are_counted_by_their_code(loom: Loom):
    await loom.stored("/stream/a", b"")
    codes = []
    for method, target in (("POST", "/stream/a"), ("GET", "/stream/b"), ("PUT", "/spy"), ("GET", "/no")):
        ended = loom.logged(method=method, path=target)
        wire = await loom.ask(method, target)
        codes.append(json.loads(await wire.body())["code"])
        await ended
    now = await figures(loom)
    assert all(now["loom_rejections_total", code] == 1 for code in codes), codes
    assert now["loom_requests_total", "GET", "404"] == 2
    assert now["loom_requests_total", "POST", "201"] == 1


@ONE_STORE
async def test_a_cut_response_is_counted_with_its_cause(loom: Loom):
    await loom.live("/stream/a", b"x")
    reader = await loom.get("/stream/a")
    await reader.take(1)
    both = [loom.logged(method=method, cut="gone") for method in ("GET", "POST")]
    await loom.ask("DELETE", "/stream/a")
    await asyncio.gather(*both)
    assert (await figures(loom))["loom_cut_answers_total", "gone"] == 2


@pytest.mark.parametrize("store_kind", ["files"], indirect=True)
async def test_commits_are_timed(loom: Loom):
    await loom.stored("/stream/a", b"x")
    now = await figures(loom)
    assert now["loom_commit_seconds_count",] >= 2
    assert now["loom_disk_free_bytes",] > 0


@ONE_STORE
async def test_unknown_methods_do_not_add_series(loom: Loom):
    for method in ("PROPFIND", "MKCOL"):
        ended = loom.logged(method=method)
        await loom.ask(method, "/spy")
        await ended
    assert (await figures(loom))["loom_requests_total", "other", "405"] == 2


@ONE_STORE
async def test_openmetrics_is_sent_on_request(loom: Loom):
    wire = await loom.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert wire.head["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics((await wire.body()).decode())}
    assert {"loom_producers", "loom_received_bytes"} <= names


@ONE_STORE
async def test_metrics_need_a_token_where_there_are_tokens(serve):
    loom = await serve(tokens=["secret"])
    assert (await loom.get("/metrics")).head.status == 401
    now = await figures(loom, authorization="Bearer secret")
    assert now["loom_build_info", "none", "memory", __version__] == 1
    assert now["loom_rejections_total", "unauthorized"] == 1


@ONE_STORE
async def test_a_slow_follower_shows_as_lag(loom: Loom):
    producer = await loom.live("/stream/a")
    follower = Wire(*await asyncio.open_connection(loom.host, loom.port, limit=1 << 10))
    loom.wires.append(follower)
    await follower.request("GET", "/stream/a")
    await follower.answer()
    size = 16 << 20  # more than the sockets between them hold
    for _ in range(size >> 20):
        await producer.chunk(bytes(1 << 20))
    while (await loom.service.info("a")).size < size:
        await (await loom.ask("HEAD", "/stream/a")).close()
    now = await figures(loom)
    assert now["loom_follower_lag_bytes",] > 1 << 20
    assert now["loom_followers_behind",] == 1
    assert 0 < now["loom_tail_bytes",] <= 2 << 20


def test_every_metric_is_documented_and_no_other():
    documented = {
        line.split("`")[1].partition("{")[0]
        for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
        if line.startswith("| `loom_")
    }
    assert documented == families()


def test_nothing_is_registered_where_other_libraries_look():
    from prometheus_client import REGISTRY

    Metrics()
    assert not [family for family in REGISTRY.collect() if family.name.startswith("loom")]

"""Probes, unknown paths, unsupported methods, and errors that reveal nothing."""

import json

import pytest
from tests.support.running import ONE_STORE, Loom

from loom import __version__
from loom.model import Info


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_report_version_store_and_durability(loom: Loom, store_kind, path):
    wire = await loom.get(path)
    assert (wire.head.status, wire.head["content-type"]) == (200, "application/json")
    members = json.loads(await wire.body())
    assert members == {
        "status": "ok",
        "version": __version__,
        "store": store_kind,
        "durability": loom.service.health().durability,
    }


async def test_a_server_that_is_stopping_is_alive_but_not_ready(loom: Loom):
    await loom.service.close()
    alive, ready = await loom.get("/healthz"), await loom.get("/readyz")
    assert (alive.head.status, ready.head.status) == (200, 503)
    assert json.loads(await alive.body())["status"] == "stopped"
    problem = json.loads(await ready.body())
    assert (problem["code"], problem["version"]) == ("not_ready", __version__)


@ONE_STORE
@pytest.mark.parametrize(
    "path", ["/streamed", "/stream%2Fa", "/%73tream/a", "//stream/a", "/spy/", "/healthz/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_other_paths_are_404(loom: Loom, method, path):
    wire = await loom.ask(method, path)
    assert (wire.head.status, wire.head["content-type"]) == (404, "application/problem+json")
    assert json.loads(await wire.body())["code"] == "no_such_path"


@ONE_STORE
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/stream", "OPTIONS, POST"),
        ("DELETE", "/stream/", "OPTIONS, POST"),
        ("PUT", "/stream/a", "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("POST", "/spy", "GET, HEAD, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("DELETE", "/readyz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_an_unsupported_method_is_405_with_allow(loom: Loom, method, path, allow):
    wire = await loom.ask(method, path)
    assert (wire.head.status, wire.head["allow"]) == (405, allow)
    assert json.loads(await wire.body())["code"] == "method_not_allowed"
    options = await loom.ask("OPTIONS", path)
    assert (options.head.status, options.head["allow"]) == (204, allow)


@ONE_STORE
async def test_a_bug_is_500_without_its_message(loom: Loom, monkeypatch):
    async def broken(*_: object) -> Info:
        raise RuntimeError("secret")

    monkeypatch.setattr(loom.service, "locate", broken)
    wire = await loom.ask("HEAD", "/stream/a")
    assert wire.head.status == 500
    monkeypatch.setattr(loom.service, "read", broken)
    wire = await loom.get("/stream/a")
    assert (wire.head.status, wire.head["content-type"]) == (500, "application/problem+json")
    body = await wire.body()
    assert json.loads(body)["code"] == "internal"
    assert b"secret" not in body
    assert b"Traceback" not in body

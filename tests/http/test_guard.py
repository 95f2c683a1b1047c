"""The guard refuses hostile web pages, and admits allowed ones."""

import json
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve

pytestmark = ONE_STORE

TOKEN = "one-token"
BEARER: dict[str, Any] = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:3060", "127.1.2.3", "[::1]:3060", "a.localhost"]
)
async def test_loopback_names_are_answered(loom: Loom, host):
    assert (await loom.ask("GET", "/healthz", host=host)).head.status == 200


@pytest.mark.parametrize(
    "host",
    ["", ":3060", "evil.example", "evil.example:3060", "localhost.evil.example", "10.0.0.1", "0.0.0.0"],
)
@pytest.mark.parametrize("target", ["/healthz", "/stream/a", "/spy"])
async def test_on_loopback_without_tokens_no_other_host_is_answered(loom: Loom, host, target):
    wire = await loom.ask("GET", target, host=host)
    assert (wire.head.status, json.loads(await wire.body())["code"]) == (421, "misdirected")


async def test_with_tokens_any_host_is_answered(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    assert (await loom.ask("GET", "/healthz", host="loom.example")).head.status == 200


async def test_listening_elsewhere_addresses_are_answered(serve: Serve):
    loom = await serve(host="0.0.0.0")
    assert (await loom.ask("GET", "/healthz", host="10.0.0.1")).head.status == 200


@pytest.mark.parametrize("tokens", [{}, {"tokens": [TOKEN]}])
async def test_allowed_hosts_are_the_only_ones_besides_loopback(serve: Serve, tokens):
    loom = await serve(allowed_hosts=["Loom.example:443"], **tokens)
    statuses = {
        host: (await loom.ask("GET", "/healthz", host=host)).head.status
        for host in ("loom.example:80", "localhost", "evil.example")
    }
    assert statuses == {"loom.example:80": 200, "localhost": 200, "evil.example": 421}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8080", "sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
    ],
)
async def test_without_tokens_a_page_of_another_origin_may_not_write(loom: Loom, headers):
    wire = await loom.ask("POST", "/stream/a", b"", **headers)
    assert (wire.head.status, json.loads(await wire.body())["code"]) == (403, "forbidden")
    assert (await loom.get("/stream/a", **headers)).head.status == 404


@pytest.mark.parametrize(
    "headers", [{"origin": "http://localhost"}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}]
)
async def test_a_page_of_the_server_itself_may_write(loom: Loom, headers):
    assert (await loom.ask("POST", "/stream/a", b"", **headers)).head.status == 201


async def test_with_tokens_every_origin_is_allowed(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    headers = {"origin": "https://other.example", "sec_fetch_site": "cross-site"}
    assert (await loom.ask("POST", "/stream/a", b"", **headers, **BEARER)).head.status == 201


async def test_cors_is_off_unless_set(loom: Loom):
    await loom.stored("/stream/a", b"")
    wire = await loom.get("/stream/a", origin="https://app.example")
    assert not [name for name in wire.head.headers if name.startswith("access-control-")]


async def test_an_allowed_origin_may_read_write_and_see_the_headers(serve: Serve):
    loom = await serve(cors_origins=["https://app.example"])
    page = {"origin": "https://app.example", "sec_fetch_site": "cross-site"}
    written = await loom.ask("POST", "/stream/a", b"", **page)
    read, missing = await loom.get("/stream/a", **page), await loom.get("/stream/b", **page)
    for wire, status in ((written, 201), (read, 200), (missing, 404)):
        assert wire.head.status == status
        assert wire.head["access-control-allow-origin"] == "https://app.example"
        assert "Origin" in wire.head["vary"]
        exposed = {name.strip() for name in wire.head["access-control-expose-headers"].split(",")}
        assert {
            "X-Stream-Id",
            "X-Stream-State",
            "Upload-Offset",
            "Location",
            "Content-Range",
            "ETag",
        } <= exposed
    other = await loom.ask("POST", "/stream/c", b"", origin="https://evil.example")
    assert (other.head.status, "access-control-allow-origin" in other.head) == (403, False)


async def test_a_preflight_needs_no_token(serve: Serve):
    loom = await serve(cors_origins=["https://app.example"], tokens=[TOKEN])
    asked: dict[str, Any] = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,x-stream-metadata",
    }
    allowed = await loom.ask("OPTIONS", "/stream/a", origin="https://app.example", **asked)
    assert allowed.head.status == 200
    assert allowed.head["access-control-allow-origin"] == "https://app.example"
    assert allowed.head["access-control-allow-headers"] == "authorization,x-stream-metadata"
    assert "POST" in allowed.head["access-control-allow-methods"]
    refused = await loom.ask("OPTIONS", "/stream/a", origin="https://evil.example", **asked)
    assert (refused.head.status, refused.head["content-type"]) == (403, "application/problem+json")
    assert "access-control-allow-origin" not in refused.head
    unauthorized = await loom.get("/stream/a", origin="https://app.example")
    assert unauthorized.head.status == 401
    assert unauthorized.head["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/stream/a"),
        ("HEAD", "/stream/a"),
        ("POST", "/stream/a"),
        ("POST", "/stream"),
        ("GET", "/spy"),
        ("GET", "/x"),
    ],
)
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic one-token", "one-token", "Bearer"])
async def test_with_tokens_nothing_is_open(serve: Serve, method, target, given):
    loom = await serve(tokens=["other", TOKEN])
    wire = await loom.ask(method, target, **({} if given is None else {"authorization": given}))
    assert (wire.head.status, wire.head["www-authenticate"]) == (401, "Bearer")
    assert wire.head["content-type"] == "application/problem+json"
    if method != "HEAD":
        assert json.loads(await wire.body())["code"] == "unauthorized"


async def test_with_tokens_probes_and_options_are_open(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    for method, target, status in (
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("OPTIONS", "/stream/a", 204),
    ):
        assert (await loom.ask(method, target)).head.status == status


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_any_token_opens_with_the_scheme_in_any_case(serve: Serve, scheme):
    loom = await serve(tokens=["other", TOKEN])
    assert (
        await loom.ask("POST", "/stream/a", b"data", authorization=f"{scheme} {TOKEN}")
    ).head.status == 201
    assert await (await loom.get("/stream/a", authorization=f"{scheme} other")).body() == b"data"


async def test_a_producer_is_refused_before_its_body(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    wire = await loom.connect()
    await wire.post("/stream/a")
    assert (await wire.answer()).status == 401

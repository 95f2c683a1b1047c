"""What a page of another origin cannot do through the browser of a user who reaches the server."""

import json
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve

pytestmark = ONE_STORE


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/stream/a"), ("DELETE", "/streams?prefix=&dry_run"), ("GET", "/streams")]
)
async def test_without_tokens_a_name_that_resolves_to_the_server_is_refused_on_every_address(
    serve: Serve, method, target
):
    loom = await serve(host="0.0.0.0")
    rebound: dict[str, Any] = {"host": "rebound.example", "origin": "http://rebound.example"}
    wire = await loom.ask(method, target, b"" if method == "POST" else None, **rebound)
    assert (wire.head.status, json.loads(await wire.body())["code"]) == (421, "misdirected")


@pytest.mark.parametrize("host", ["192.0.2.7:3060", "[2001:db8::7]:3060", "localhost:3060", "127.0.0.1"])
async def test_without_tokens_addresses_and_loopback_names_are_served_on_every_address(serve: Serve, host):
    loom = await serve(host="0.0.0.0")
    assert (await loom.ask("POST", "/stream/a", b"", host=host)).head.status == 201


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_without_tokens_an_empty_or_malformed_host_is_refused(serve: Serve, host):
    loom = await serve(host=host)
    statuses = {
        given: (await loom.get("/streams", host=given)).head.status for given in ("", "a:b", "@", ":80")
    }
    assert set(statuses.values()) <= {400, 421}, statuses


async def test_without_tokens_allowed_hosts_are_served_on_every_address(serve: Serve):
    loom = await serve(host="0.0.0.0", allowed_hosts=["loom.example"])
    assert (await loom.get("/streams", host="loom.example")).head.status == 200
    assert (await loom.get("/streams", host="rebound.example")).head.status == 421


async def test_with_tokens_any_name_is_served(serve: Serve):
    loom = await serve(host="0.0.0.0", tokens=["a-token-of-the-test"])
    assert (await loom.get("/healthz", host="any.example")).head.status == 200


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/stream/script.js", {}),
        ("/stream/script.js", {"range": "bytes=0-3"}),
        ("/stream/script.js", {"accept": "text/event-stream"}),
        ("/events", {}),
        ("/spy", {}),
    ],
)
async def test_no_other_origin_can_load_a_stream_as_a_script_or_a_style(loom: Loom, target, headers):
    await loom.stored("/stream/script.js", b"secret = 1", content_type="text/javascript")
    head = (await loom.get(target, **headers)).head
    assert (head.status // 100, head["cross-origin-resource-policy"]) == (2, "same-origin")


async def test_a_stream_that_did_not_change_cannot_be_loaded_by_another_origin_either(loom: Loom):
    await loom.stored("/stream/a", b"bytes")
    tag = (await loom.get("/stream/a")).head["etag"]
    head = (await loom.get("/stream/a", if_none_match=tag)).head
    assert (head.status, head["cross-origin-resource-policy"]) == (304, "same-origin")

"""Guesses of tokens, floods of requests, and lies about the address of a client."""

import json
from typing import Any

from tests.support.running import ONE_STORE, Loom, Serve

pytestmark = ONE_STORE

TOKEN, ANOTHER = "token-of-the-test", "another-token-of-the-test"
PROXIED = {"tokens": [TOKEN, ANOTHER], "trusted_proxies": ["127.0.0.0/8"]}


async def asked(loom: Loom, token: str, client: str = "", target: str = "/streams") -> int:
    headers: dict[str, Any] = {"x_forwarded_for": client} if client else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    wire = await loom.get(target, **headers)
    code: int = wire.head.status
    if code == 429:
        assert 0 < int(wire.head["retry-after"]) <= 10
        assert json.loads(await wire.body())["code"] == "throttled"
    await wire.close()
    return code


async def test_an_address_that_guesses_tokens_is_throttled_and_no_other(serve: Serve):
    loom = await serve(**PROXIED)
    assert await asked(loom, ANOTHER, "192.0.2.1") == 200
    refused = [await asked(loom, f"guess-{number}", "192.0.2.1") for number in range(15)]
    assert refused == [401] * 10 + [429] * 5
    assert await asked(loom, TOKEN, "192.0.2.1") == 429, "a guess finds nothing out"
    assert await asked(loom, ANOTHER, "192.0.2.1") == 200, "it was right there before"
    assert await asked(loom, "", "192.0.2.1") == 401
    assert await asked(loom, "", "192.0.2.1", "/healthz") == 200
    assert await asked(loom, TOKEN, "192.0.2.2") == 200
    assert await asked(loom, TOKEN, "6.6.6.6, 192.0.2.1") == 429, "a client may claim to be another"


async def test_addresses_of_one_network_of_ipv6_are_throttled_together(serve: Serve):
    loom = await serve(**PROXIED)
    for number in range(10):
        assert await asked(loom, "guess", f"2001:db8:1:2::{number:x}") == 401
    assert await asked(loom, "guess", "2001:db8:1:2:ffff::1") == 429
    assert await asked(loom, "guess", "2001:db8:1:3::1") == 401


async def test_without_trusted_proxies_the_header_changes_no_address(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    logged = loom.logged(event="request")
    refused = [await asked(loom, "guess", f"192.0.2.{number}") for number in range(15)]
    assert refused == [401] * 10 + [429] * 5
    assert (await logged)["client"] == "127.0.0.1"


async def test_the_log_names_the_client_behind_a_trusted_proxy(serve: Serve):
    loom = await serve(**PROXIED)
    logged, audited = loom.logged(event="request"), loom.logged(event="access.refused")
    assert await asked(loom, "guess", "6.6.6.6, 192.0.2.7") == 401
    assert ((await logged)["client"], (await audited)["client"]) == ("192.0.2.7", "192.0.2.7")


async def test_refused_guesses_are_audited(serve: Serve):
    loom = await serve(**PROXIED)
    for _ in range(10):
        await asked(loom, "guess", "192.0.2.1")
    audited = loom.logged(event="access.refused", code="throttled")
    assert await asked(loom, "guess", "192.0.2.1") == 429
    assert (await audited)["client"] == "192.0.2.1"


async def test_requests_are_limited_for_each_token_and_each_address(serve: Serve):
    loom = await serve(**PROXIED, rate_limit=0.2)
    assert [await asked(loom, TOKEN, f"192.0.2.{number}") for number in range(3)] == [200, 200, 429]
    assert [await asked(loom, ANOTHER, "192.0.2.9") for _ in range(3)] == [200, 200, 429]
    assert [await asked(loom, "", "192.0.2.10", "/ui/") for _ in range(3)] == [200, 200, 429]
    assert [await asked(loom, "", "192.0.2.9", "/healthz") for _ in range(20)] == [200] * 20


async def test_without_a_rate_requests_are_not_limited(serve: Serve):
    loom = await serve(tokens=[TOKEN])
    assert {await asked(loom, TOKEN) for _ in range(100)} == {200}


async def test_without_tokens_no_request_is_a_guess(loom: Loom):
    assert {await asked(loom, "any") for _ in range(30)} == {200}

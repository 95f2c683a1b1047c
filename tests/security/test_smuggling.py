"""Nothing hides in a request: what a proxy forwards as one request is one request for Loom, and the reverse.

The corpus goes to Loom directly, and through nginx and HAProxy as the files in deploy/ set them up. What the
proxies log as forwarded is compared with what Loom logs, while others use the same connections of the proxy.
"""

import asyncio
import json
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.deploy.test_proxies import PROXIES, proxied
from tests.security.corpus import CASES, Case, mutated
from tests.support.server import Server, tell
from tests.support.wire import Wire

MUTATIONS = int(os.environ.get("LOOM_SMUGGLING", "200"))
"""Cases of the corpus that are changed at random and sent as well."""
AT_ONCE = 30
SILENCE = 0.5
"""Seconds after which no response follows any more; a request that is not whole gets none."""

LOGGED = {
    "nginx": {
        "upstream loom {": (
            "log_format seen 'forwarded=$upstream_addr|$request_method|$request_uri|$upstream_status|';\n"
            "upstream loom {"
        ),
        "limit_conn loom 200;": "access_log forwarded.log seen;",
    },
    "haproxy": {
        "defaults\n": (
            "global\n    log stdout format raw local0 info\ndefaults\n    log global\n"
            "    log-format forwarded=%si|%HM|%HU|%ST|\n"
        )
    },
}
"""What makes each proxy log the requests that it forwarded."""


async def send(port: int, case: Case) -> bytes:
    """Send a case on a connection of its own, and return what is received."""
    received = b""
    wire = await Wire.open("127.0.0.1", port)
    with suppress(ConnectionError, TimeoutError):
        await wire.send(case.raw)
        while piece := await asyncio.wait_for(wire.reader.read(1 << 16), SILENCE):
            received += piece
    await wire.close()
    return received


async def send_all(port: int, cases: Iterable[Case]) -> dict[str, bytes]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(case: Case) -> tuple[str, bytes]:
        async with turns:
            return case.name, await send(port, case)

    return dict(await asyncio.gather(*map(in_turn, cases)))


def path_of(target: str) -> str:
    """Return the path in a target, without what a proxy and Loom log differently."""
    found = re.search(r"/stream/(?:front|next|other)-[-\w.]+", target)
    return found[0] if found else target


def lines_of(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def seen_by_loom(log: Path) -> Counter[str]:
    """Return how often each path was requested, as Loom saw it."""
    return Counter(path_of(str(line["path"])) for line in lines_of(log) if line["event"] == "request")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = await Server.start(tmp_path / "data", tmp_path / "server.log", store="memory:")
    yield server
    await server.kill()


async def test_directly_each_request_is_seen_as_the_standard_says(server: Server, tmp_path: Path):
    received = await send_all(server.port, CASES)
    assert await server.stop() == 0
    seen = seen_by_loom(tmp_path / "server.log")
    for case in CASES:
        front, after = seen[f"/stream/front-{case.name}"], seen[f"/stream/next-{case.name}"]
        assert front + after == case.seen, case
        if case.seen == 0:
            assert received[case.name].startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), case
            assert received[case.name].count(b"\r\ndate: ") == 1, case


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_behind_a_proxy_nobody_sees_another_request_than_the_proxy(
    server: Server, tmp_path: Path, tool: Callable[[str], str], name: str
):
    assert name in PROXIES
    seed = random.randrange(1 << 32)
    tell(f"seed {seed}")
    draw = random.Random(seed)
    cases = [*CASES, *(mutated(draw, number) for number in range(MUTATIONS))]
    async with proxied((name, tool(name)), server.port, tmp_path, LOGGED[name]) as port:
        attacking = asyncio.create_task(send_all(port, cases))
        others = 0
        while not attacking.done():
            # Someone else, whose requests use the connections between the proxy and Loom that attacks used.
            others += 1
            await someone_else(port, f"/stream/other-{others}")
        for _ in range(50):
            others += 1
            await someone_else(port, f"/stream/other-{others}")
    assert await server.stop() == 0
    logged = next(log for log in (tmp_path / "forwarded.log", tmp_path / "proxy.log") if log.exists())
    found = re.findall(r"forwarded=[\d.:]+\|[^|]*\|([^|]*)\|", logged.read_text())
    forwarded, seen = Counter(map(path_of, found)), seen_by_loom(tmp_path / "server.log")
    del seen["/readyz"], forwarded["/readyz"]
    assert seen - forwarded == Counter(), "Loom saw what the proxy did not forward"
    refused = sum(line["event"] == "request refused" for line in lines_of(tmp_path / "server.log"))
    assert sum((forwarded - seen).values()) <= refused, forwarded - seen
    assert sum(count for path, count in seen.items() if "/other-" in path) == 2 * others
    assert len(seen) > len(CASES) // 3, "the proxy forwards some"


async def someone_else(port: int, target: str) -> None:
    """Send a stream and read it: the responses are those of these requests."""
    wire = await Wire.open("127.0.0.1", port)
    body = target.encode()
    await wire.request("POST", target, body)
    assert (await wire.answer()).status == 201, target
    assert wire.head["location"] == target
    await wire.body()
    await wire.request("GET", target)
    assert (await wire.answer()).status == 200
    assert await wire.body() == body
    await wire.close()

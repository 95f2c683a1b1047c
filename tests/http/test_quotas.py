"""The quotas of one token, beside the limits of the server."""

import json

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut

from loom.model import State
from loom.store.holdings import cost

pytestmark = ONE_STORE

CI = "Bearer ci"
FREE = 100
DAILY = cost("{}") + FREE
"""The quota of a day: one stream without metadata, and some bytes."""


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    entry = {"token": "ci", "scopes": ["admin"], "max_streams_live": 1, "max_bytes_per_day": DAILY}
    return await serve(tokens=["root", entry])


async def test_one_stream_too_many_is_refused_and_not_created(serve: Serve):
    loom = await serve(tokens=["root", {"token": "ci", "scopes": ["admin"], "max_streams_live": 1}])
    producer = await loom.live("/stream/first", authorization=CI)
    refused = await loom.ask("POST", "/stream/second", b"", authorization=CI)
    assert (refused.head.status, json.loads(await refused.body())["code"]) == (429, "quota_exceeded")
    assert int(refused.head["retry-after"]) > 0
    assert (await loom.ask("HEAD", "/stream/second", authorization=CI)).head.status == 404
    assert (await loom.ask("POST", "/stream/other", b"", authorization="Bearer root")).head.status == 201
    await producer.chunk(b"")
    assert await producer.body() == b""
    assert (await loom.ask("POST", "/stream/second", b"", authorization=CI)).head.status == 201


async def test_a_takeover_is_allowed_at_the_limit_of_one_stream(loom: Loom):
    await loom.live("/stream/s", authorization=CI)
    resumed = await loom.ask(
        *("PATCH", "/stream/s", b"end"), authorization=CI, upload_offset=0, upload_complete="?1"
    )
    assert resumed.head.status == 204


async def test_bytes_beyond_the_daily_quota_are_refused_and_earlier_ones_kept(loom: Loom):
    producer = await loom.live("/stream/s", authorization=CI)
    await producer.chunk(b"x" * 60)
    await producer.chunk(b"y" * 60)
    with pytest.raises(Cut):
        await producer.body()
    info = await loom.until("s", State.INTERRUPTED)
    assert info.size == 100
    refused = await loom.ask(
        *("PATCH", "/stream/s", b"y" * 60), authorization=CI, upload_offset=100, upload_complete="?1"
    )
    assert refused.head.status == 429
    assert 0 < int(refused.head["retry-after"]) <= 86400 * 60 // 100


async def test_a_signed_token_uses_the_quota_of_its_owner(loom: Loom):
    wanted = {"scopes": ["write"], "prefix": "", "expires_in": 60}
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted).encode(), authorization=CI)
    signed = f"Bearer {json.loads(await wire.body())['token']}"
    assert (await loom.ask("POST", "/stream/a", b"x" * 60, authorization=signed)).head.status == 201
    assert (
        await loom.ask("POST", "/stream/b", b"x" * 60, authorization=CI, forwarded="x")
    ).head.status == 429

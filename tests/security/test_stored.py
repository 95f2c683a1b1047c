"""Limits count what is stored: streams, their metadata and their rows, and not only bytes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve

from loom.model import Query
from loom.store.holdings import ROW_COST

CI: dict[str, Any] = {"authorization": "Bearer ci"}
ROOT: dict[str, Any] = {"authorization": "Bearer root"}
OPEN: dict[str, Any] = {"upload_complete": "?0"}
MERGE: dict[str, Any] = {"content_type": "application/merge-patch+json"}
LARGE = json.dumps({"text": "x" * 4000})


async def outcome(loom: Loom, method: str, target: str, body: bytes = b"", **headers: Any) -> tuple[int, str]:
    """Send a request; return the status, and the code of a problem."""
    wire = await loom.ask(method, target, body, **headers)
    content = b"" if wire.head.status == 204 else await wire.body()
    return wire.head.status, json.loads(content)["code"] if wire.head.status >= 400 else ""


async def with_quota(serve: Serve, **quota: Any) -> Loom:
    return await serve(tokens=["root", {"token": "ci", "scopes": ["admin"], **quota}])


@ONE_STORE
async def test_empty_streams_with_large_metadata_fill_the_store(serve: Serve):
    loom = await serve(max_store_bytes=1 << 20)
    made = [
        await outcome(loom, "POST", f"/stream/{number}", x_stream_metadata=LARGE) for number in range(300)
    ]
    stored = made.index((507, "storage_full"))
    assert set(made[stored:]) == {(507, "storage_full")}
    assert stored == (1 << 20) // (ROW_COST + len(LARGE))
    assert (await outcome(loom, "DELETE", "/stream/0"))[0] == 204
    assert (await outcome(loom, "POST", "/stream/again", x_stream_metadata=LARGE))[0] == 201


async def test_metadata_that_grows_by_patches_fills_the_store_and_may_shrink(serve: Serve):
    loom = await serve(max_store_bytes=2 * ROW_COST + 1000)
    await loom.ask("POST", "/stream/a", b"", **OPEN)
    await loom.ask("POST", "/stream/b", b"", **OPEN)
    patch = json.dumps({"text": "x" * 900}).encode()
    assert await outcome(loom, "PATCH", "/stream/a", patch, **MERGE) == (204, "")
    assert await outcome(loom, "PATCH", "/stream/b", patch, **MERGE) == (507, "storage_full")
    assert (await loom.service.info("b")).metadata == "{}"
    assert await outcome(loom, "PATCH", "/stream/a", b'{"text": "short"}', **MERGE) == (204, "")
    assert await outcome(loom, "PATCH", "/stream/b", patch, **MERGE) == (204, "")


async def test_many_patches_at_once_do_not_pass_the_limit_together(serve: Serve):
    loom = await serve(max_store_bytes=20 * ROW_COST + 3000)
    for number in range(20):
        await loom.ask("POST", f"/stream/{number}", b"", **OPEN)
    patch = json.dumps({"text": "x" * 900}).encode()
    made = await asyncio.gather(
        *(outcome(loom, "PATCH", f"/stream/{number}", patch, **MERGE) for number in range(20))
    )
    assert set(made) == {(204, ""), (507, "storage_full")}
    assert loom.service.room.used <= 20 * ROW_COST + 3000


async def test_the_number_of_streams_is_limited_exactly(serve: Serve):
    loom = await serve(max_streams=5)
    made = await asyncio.gather(*(outcome(loom, "POST", f"/stream/{number}", b"x") for number in range(12)))
    assert sorted(made) == [(201, "")] * 5 + [(507, "storage_full")] * 7
    taken = [info.id async for info in loom.store.find(Query())]
    assert len(taken) == 5
    assert await outcome(loom, "POST", f"/stream/{taken[0]}", b"x") == (409, "exists")
    assert await outcome(loom, "POST", f"/stream/{taken[0]}?force", b"y") == (201, ""), "adds no stream"
    assert await outcome(loom, "POST", "/stream/more?force", b"y") == (507, "storage_full")
    assert (await outcome(loom, "DELETE", f"/stream/{taken[1]}"))[0] == 204
    assert await outcome(loom, "POST", "/stream/more", b"y") == (201, "")


async def test_a_token_keeps_no_more_streams_than_its_own_limit(serve: Serve):
    loom = await with_quota(serve, max_streams=3)
    made = await asyncio.gather(
        *(outcome(loom, "POST", f"/stream/{number}", b"x", **CI) for number in range(8))
    )
    assert sorted(made) == [(201, "")] * 3 + [(429, "quota_exceeded")] * 5
    mine = [info.id async for info in loom.store.find(Query())]
    assert await outcome(loom, "POST", "/stream/other", b"x", **ROOT) == (201, "")
    assert await outcome(loom, "POST", f"/stream/{mine[0]}?force", b"x", **CI) == (201, "")
    assert await outcome(loom, "POST", "/stream/other?force", b"x", **CI) == (429, "quota_exceeded")
    assert (await outcome(loom, "DELETE", f"/stream/{mine[0]}", **ROOT))[0] == 204
    assert await outcome(loom, "POST", "/stream/9", b"x", **CI) == (201, "")


@ONE_STORE
async def test_a_signed_token_creates_streams_at_the_cost_of_its_owner(serve: Serve):
    loom = await with_quota(serve, max_streams=2)
    wanted = {"scopes": ["write"], "prefix": "", "expires_in": 60}
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted).encode(), **CI)
    signed: dict[str, Any] = {"authorization": f"Bearer {json.loads(await wire.body())['token']}"}
    assert await outcome(loom, "POST", "/stream/a", b"x", **signed) == (201, "")
    assert await outcome(loom, "POST", "/stream/b", b"x", **CI) == (201, "")
    assert await outcome(loom, "POST", "/stream/c", b"x", **signed) == (429, "quota_exceeded")


@ONE_STORE
async def test_creations_a_minute_are_limited_and_refused_ones_are_free(serve: Serve):
    loom = await with_quota(serve, max_creations_per_minute=2)
    assert await outcome(loom, "POST", "/stream/a", b"x", **CI) == (201, "")
    for _ in range(5):
        assert await outcome(loom, "POST", "/stream/a", b"x", **CI) == (409, "exists")
    assert await outcome(loom, "POST", "/stream/b", b"x", **CI) == (201, "")
    refused = await loom.ask("POST", "/stream/c", b"x", **CI)
    assert (refused.head.status, json.loads(await refused.body())["code"]) == (429, "quota_exceeded")
    assert 20 <= int(refused.head["retry-after"]) <= 30
    assert await outcome(loom, "PATCH", "/stream/b", b'{"a": 1}', **CI, **MERGE) == (204, "")
    assert await outcome(loom, "POST", "/stream/c", b"x", **ROOT) == (201, "")


@ONE_STORE
async def test_open_streams_count_among_the_live_ones_of_a_token(serve: Serve):
    loom = await with_quota(serve, max_streams_live=2)
    for id in ("a", "b"):
        assert await outcome(loom, "POST", f"/stream/{id}", b"x", **CI, **OPEN) == (201, "")
    assert await outcome(loom, "POST", "/stream/c", b"x", **CI) == (429, "quota_exceeded")
    append: dict[str, Any] = {
        "content_type": "application/partial-upload",
        "upload_offset": 1,
        "upload_complete": "?1",
    }
    assert await outcome(loom, "PATCH", "/stream/a", b"y", **CI, **append) == (204, "")
    assert await outcome(loom, "POST", "/stream/c", b"x", **CI) == (201, "")


@ONE_STORE
@pytest.mark.parametrize("ended", [False, True])
async def test_metadata_counts_against_the_bytes_of_a_day_at_creation_and_in_patches(
    serve: Serve, ended: bool
):
    loom = await with_quota(serve, max_bytes_per_day=2 * ROW_COST + len(LARGE) + 3000)
    assert await outcome(loom, "POST", "/stream/a", x_stream_metadata=LARGE, **CI) == (201, "")
    headers: dict[str, Any] = {} if ended else OPEN
    assert await outcome(loom, "POST", "/stream/b", b"", **CI, **headers) == (201, "")
    patch = json.dumps({"text": "y" * 2900}).encode()
    assert await outcome(loom, "PATCH", "/stream/b", patch, **CI, **MERGE) == (204, "")
    # Metadata that stays the same is free.
    assert await outcome(loom, "PATCH", "/stream/b", patch, **CI, **MERGE) == (204, "")
    if not ended:
        longer = json.dumps({"text": "z" * 100}).encode()
        assert await outcome(loom, "PATCH", "/stream/b", longer, **CI, **MERGE) == (429, "quota_exceeded")
    assert await outcome(loom, "POST", "/stream/c", b"", **CI) == (429, "quota_exceeded")
    assert (await loom.ask("HEAD", "/stream/c", **CI)).head.status == 404


@pytest.mark.parametrize("store_kind", ["files"], indirect=True)
async def test_the_counts_are_right_at_once_after_a_restart(serve: Serve, tmp_path: Path):
    settings = {"max_streams": 4, "max_store_bytes": 20_000}
    tokens = ["root", {"token": "ci", "scopes": ["admin"], "max_streams": 2, "max_streams_live": 1}]
    loom = await serve(tokens=tokens, **settings)
    assert await outcome(loom, "POST", "/stream/a", b"x" * 100, x_stream_metadata=LARGE, **CI) == (201, "")
    assert await outcome(loom, "POST", "/stream/b", b"x", **CI, **OPEN) == (201, "")
    assert await outcome(loom, "POST", "/stream/c", b"x", **ROOT) == (201, "")
    used = loom.service.room.used
    await loom.store.close()
    loom = await serve(tokens=tokens, data=tmp_path / "0", **settings)
    assert loom.service.room.used == used
    assert await outcome(loom, "POST", "/stream/d", b"x", **CI) == (429, "quota_exceeded")
    assert await outcome(loom, "POST", "/stream/d", b"x", **ROOT) == (201, "")
    assert await outcome(loom, "POST", "/stream/e", b"x", **ROOT) == (507, "storage_full")
    assert (await outcome(loom, "DELETE", "/stream/a", **CI))[0] == 204
    assert await outcome(loom, "POST", "/stream/e", b"x", **CI) == (429, "quota_exceeded"), "one is open"

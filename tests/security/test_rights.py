"""What a token allows, and what it does not reveal."""

import json
from typing import Any

from tests.support.running import ONE_STORE, Loom, Serve

pytestmark = ONE_STORE

ROOT = "root-token-of-the-test"
WRITER = "writer-token-of-the-test"


async def status(loom: Loom, token: str, method: str, target: str, body: bytes | None = None) -> int:
    wire = await loom.ask(method, target, body, authorization=f"Bearer {token}")
    code: int = wire.head.status
    await wire.close()
    return code


async def test_a_merge_patch_shows_the_metadata_only_to_a_token_that_may_read(serve: Serve):
    loom = await serve(tokens=[ROOT, {"token": WRITER, "scopes": ["write"]}])
    await loom.stored("/stream/a", b"", authorization=f"Bearer {ROOT}", x_stream_metadata='{"key": "hidden"}')
    patch: dict[str, Any] = {"content_type": "application/merge-patch+json"}
    shown = {}
    for token in (WRITER, ROOT):
        wire = await loom.ask("PATCH", "/stream/a", b"{}", authorization=f"Bearer {token}", **patch)
        assert wire.head.status == 204
        shown[token] = wire.head.headers.get("x-stream-metadata")
    assert shown == {WRITER: None, ROOT: '{"key": "hidden"}'}


async def test_put_is_refused_with_the_method_to_use(loom: Loom):
    wire = await loom.ask("PUT", "/stream/a", b"bytes")
    assert (wire.head.status, "POST" in wire.head["allow"]) == (405, True)
    assert "use POST" in json.loads(await wire.body())["detail"]


async def test_a_prefix_ends_at_the_border_of_a_segment(serve: Serve):
    entry = {"token": WRITER, "scopes": ["read", "write", "replace"], "prefix": "build"}
    loom = await serve(tokens=[ROOT, entry])
    for id, created, read in [("build", 201, 200), ("build/1", 201, 200), ("build-evil", 403, 404)]:
        assert await status(loom, WRITER, "POST", f"/stream/{id}", b"") == created
        await status(loom, ROOT, "POST", f"/stream/{id}", b"")
        assert await status(loom, WRITER, "GET", f"/stream/{id}") == read
    wire = await loom.get("/streams", authorization=f"Bearer {WRITER}")
    assert {row["id"] for row in json.loads(await wire.body())["streams"]} == {"build", "build/1"}
    assert await status(loom, WRITER, "DELETE", "/streams?prefix=build&dry_run") == 403
    assert await status(loom, WRITER, "DELETE", "/streams?prefix=build/&dry_run") == 200


async def test_a_prefix_with_a_star_covers_every_id_that_begins_with_it(serve: Serve):
    loom = await serve(tokens=[{"token": WRITER, "prefix": "build-*"}])
    for id, expected in [("build-1", 201), ("build-1/log", 201), ("build/1", 403), ("build", 403)]:
        assert await status(loom, WRITER, "POST", f"/stream/{id}", b"") == expected


async def test_a_signed_prefix_ends_at_the_border_of_a_segment_and_is_a_text(serve: Serve):
    loom = await serve(tokens=[{"token": WRITER, "prefix": "build"}])

    async def signed(prefix: str) -> int:
        wanted = {"scopes": ["write"], "prefix": prefix, "expires_in": 60}
        return await status(loom, WRITER, "POST", "/tokens", json.dumps(wanted).encode())

    codes = {prefix: await signed(prefix) for prefix in ("build", "build/", "build/1", "build/*")}
    assert set(codes.values()) == {201}
    codes = {prefix: await signed(prefix) for prefix in ("", "*", "build*", "build-evil", "buil")}
    assert set(codes.values()) == {403}
    assert await signed("build/\ud800") == 400

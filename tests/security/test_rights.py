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

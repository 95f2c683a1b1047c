"""PATCH /stream/{id} with application/merge-patch+json: changes of metadata."""

import asyncio
import json
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Wire

from loom.model import State

TYPE = "application/merge-patch+json"


async def amend(loom: Loom, patch: object, **headers: Any) -> Wire:
    body = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
    fields = {"content_type": TYPE, **headers}
    return await loom.ask("PATCH", "/stream/a", body, **fields)


async def refused(wire: Wire) -> tuple[int, str]:
    members = json.loads(await wire.body())
    assert members["status"] == wire.head.status
    return wire.head.status, members["code"]


async def metadata(loom: Loom) -> Any:
    return json.loads((await loom.ask("HEAD", "/stream/a")).head["x-stream-metadata"])


async def test_metadata_changes_without_effect_on_the_producer(loom: Loom):
    producer = await loom.live("/stream/a", b"one ", x_stream_metadata='{"commit": "3f2", "try": 1}')
    wire = await amend(loom, {"host": "ci-7", "try": None})
    assert wire.head.status == 204
    assert json.loads(wire.head["x-stream-metadata"]) == {"commit": "3f2", "host": "ci-7"}
    assert wire.head["etag"] == producer.head["etag"]
    assert (await loom.service.info("a")).state is State.LIVE
    await producer.chunk(b"two")
    await producer.chunk(b"")
    assert await producer.body() == b""
    assert await (await loom.get("/stream/a")).body() == b"one two"
    assert await metadata(loom) == {"commit": "3f2", "host": "ci-7"}


async def test_metadata_is_completed_once_after_the_end(loom: Loom):
    await loom.stored("/stream/a", b"data", x_stream_metadata='{"commit": "3f2"}')
    ended = (await loom.service.info("a")).ended
    assert (await amend(loom, {"exit_code": 2})).head.status == 204
    assert (await amend(loom, {"exit_code": 2})).head.status == 204, "it says what is so already"
    assert await refused(await amend(loom, {"exit_code": 3})) == (409, "final")
    assert await metadata(loom) == {"commit": "3f2", "exit_code": 2}
    info = await loom.service.info("a")
    assert (info.state, info.ended, info.amended) == (State.COMPLETE, ended, True)


async def test_patches_at_once_are_all_merged(loom: Loom):
    producer = await loom.live("/stream/a", b"x")
    wires = await asyncio.gather(*(amend(loom, {f"n{number}": number}) for number in range(30)))
    assert {wire.head.status for wire in wires} == {204}
    assert await metadata(loom) == {f"n{number}": number for number in range(30)}
    await producer.chunk(b"")
    assert await producer.body() == b""


async def test_if_match_refuses_another_stream(loom: Loom):
    old = (await loom.stored("/stream/a", b"old")).head["etag"]
    new = (await loom.stored("/stream/a?force=true", b"new")).head["etag"]
    assert await refused(await amend(loom, {"a": 1}, if_match=old)) == (412, "precondition_failed")
    assert await metadata(loom) == {}
    assert (await amend(loom, {"a": 1}, if_match=new)).head.status == 204


@ONE_STORE
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'"\\ud800"'])
async def test_invalid_json_is_refused(loom: Loom, body):
    await loom.stored("/stream/a", b"data")
    assert await refused(await amend(loom, body)) == (400, "invalid_metadata")
    assert await metadata(loom) == {}


@ONE_STORE
async def test_metadata_stays_within_its_limit(serve: Serve):
    loom = await serve(max_metadata_bytes=100)
    await loom.stored("/stream/a", b"data", x_stream_metadata=json.dumps({"a": "x" * 80}))
    assert await refused(await amend(loom, {"b": "x" * 80})) == (400, "invalid_metadata")
    assert (await amend(loom, {"a": None, "b": "x" * 80})).head.status == 204
    assert await refused(await amend(loom, {"a": "x" * 9000})) == (413, "too_large")


@ONE_STORE
async def test_a_patch_without_its_end_changes_nothing(loom: Loom):
    await loom.stored("/stream/a", b"data")
    wire = await loom.connect()
    await wire.request("PATCH", "/stream/a", content_type=TYPE, content_length=100)
    await wire.send(b'{"a": 1}')
    logged = loom.logged(method="PATCH")
    wire.reset()
    assert (await logged)["status"] is None
    assert await metadata(loom) == {}


@ONE_STORE
async def test_an_unknown_stream_has_no_metadata(loom: Loom):
    assert await refused(await amend(loom, {})) == (404, "not_found")


@ONE_STORE
async def test_options_and_the_refusal_of_other_types_name_every_patch_type(loom: Loom):
    await loom.stored("/stream/a", b"data")
    options = await loom.ask("OPTIONS", "/stream/a")
    refusal = await amend(loom, {}, content_type="application/json")
    assert (options.head.status, refusal.head.status) == (204, 415)
    for wire in (options, refusal):
        assert (
            wire.head["accept-patch"]
            == f"application/partial-upload, application/offset+octet-stream, {TYPE}"
        )


async def test_a_token_that_may_not_write_may_not_patch(serve: Serve):
    loom = await serve(tokens=["secret"])
    assert await refused(await amend(loom, {})) == (401, "unauthorized")

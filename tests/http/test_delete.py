"""DELETE /stream/{id}: the stream is deleted for all clients, immediately and permanently."""

import json

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire


async def missing(wire: Wire, id: str) -> bool:
    members = json.loads(await wire.body())
    return wire.head.status == 404 and members["error"] == f"The stream with ID {id} does not exist"


async def test_a_deleted_stream_is_not_found_and_its_id_is_free(loom: Loom):
    await loom.stored("/stream/team/a%20b", b"old")
    wire = await loom.ask("DELETE", "/stream/team/a%20b")
    assert (wire.head.status, wire.head["cache-control"]) == (204, "no-store, no-transform")
    assert "content-length" not in wire.head
    assert wire.unread() == b""
    for method in ("GET", "DELETE"):
        assert await missing(await loom.ask(method, "/stream/team/a%20b"), "team/a b")
    await loom.stored("/stream/team/a%20b", b"new")
    assert await (await loom.get("/stream/team/a%20b")).body() == b"new"


async def test_the_connection_can_be_used_again(loom: Loom):
    await loom.stored("/stream/a", b"")
    wire = await loom.ask("DELETE", "/stream/a")
    await wire.request("GET", "/stream/a")
    assert (await wire.answer()).status == 404


async def test_producer_and_followers_of_a_deleted_stream_are_cut(loom: Loom):
    producer = await loom.live("/stream/a", b"some")
    follower = await loom.get("/stream/a")
    assert await follower.take(4) == b"some"
    assert (await loom.ask("DELETE", "/stream/a")).head.status == 204
    for wire in (producer, follower):
        with pytest.raises(Cut) as cut:
            await wire.body()
        assert not cut.value.args[0]
    await loom.stored("/stream/a", b"new")


async def test_a_reader_of_a_deleted_final_stream_gets_all_of_it(loom: Loom):
    data = bytes(range(256)) * (32 << 10)
    await loom.stored("/stream/a", data)
    reader = await loom.get("/stream/a")
    assert (await loom.ask("DELETE", "/stream/a")).head.status == 204
    assert await reader.body() == data


async def test_of_two_deletions_at_once_one_deletes(loom: Loom):
    await loom.stored("/stream/a", b"bytes")
    wires = [await loom.connect() for _ in range(2)]
    for wire in wires:
        await wire.request("DELETE", "/stream/a")
    assert sorted([(await wire.answer()).status for wire in wires]) == [204, 404]


@ONE_STORE
async def test_the_guard_counts_a_delete_as_a_write(serve: Serve):
    open_to_all, closed = await serve(), await serve(tokens=["token"])
    for loom, headers in ((open_to_all, {}), (closed, {"authorization": "Bearer token"})):
        await loom.stored("/stream/a", b"", **headers)
    foreign = await open_to_all.ask("DELETE", "/stream/a", origin="https://evil.example")
    assert foreign.head.status == 403
    assert (await closed.ask("DELETE", "/stream/a")).head.status == 401
    assert (await open_to_all.ask("DELETE", "/stream/a%00")).head.status == 400
    assert (await closed.ask("DELETE", "/stream/a", authorization="Bearer token")).head.status == 204


@ONE_STORE
async def test_if_match_deletes_only_the_named_stream(loom: Loom):
    old = (await loom.stored("/stream/a", b"old")).head["etag"]
    new = (await loom.stored("/stream/a?force=true", b"new")).head["etag"]
    assert (await loom.ask("DELETE", "/stream/a", if_match=old)).head.status == 412
    assert (await loom.store.info("a")).size == 3
    assert (await loom.ask("DELETE", "/stream/a", if_match=new)).head.status == 204


async def test_a_server_that_stops_deletes_nothing(loom: Loom):
    await loom.stored("/stream/a", b"bytes")
    await loom.service.drain(0)
    assert (await loom.ask("DELETE", "/stream/a")).head.status == 503
    assert (await loom.store.info("a")).size == 5

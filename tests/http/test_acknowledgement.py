"""Nothing is confirmed before it is durable, and what cannot become durable is never a success."""

import json

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Cut

from loom.store.memory import MemoryStore

pytestmark = ONE_STORE


@pytest.fixture
def store(loom: Loom) -> MemoryStore:
    assert isinstance(loom.store, MemoryStore)
    return loom.store


async def test_201_waits_until_the_stream_is_durable(loom: Loom, store: MemoryStore):
    wire = await loom.connect()
    with store.held():
        await wire.post("/stream/a")
        assert (await loom.get("/stream/a")).head.status == 404
        assert wire.unread() == b""
    assert (await wire.answer()).status == 201


async def test_409_waits_until_the_winner_is_durable(loom: Loom, store: MemoryStore):
    winner, loser = await loom.connect(), await loom.connect()
    with store.held():
        await winner.post("/stream/a")
        await (await loom.get("/healthz")).close()
        await loser.post("/stream/a")
        await (await loom.get("/healthz")).close()
        assert winner.unread() == loser.unread() == b""
    assert ((await winner.answer()).status, (await loser.answer()).status) == (201, 409)


async def test_bytes_and_the_end_are_shown_and_confirmed_only_when_durable(loom: Loom, store: MemoryStore):
    wire = await loom.live("/stream/a", b"before")
    follower = await loom.get("/stream/a")
    assert await follower.take(6) == b"before"
    with store.held():
        await wire.chunk(b"after")
        await wire.chunk(b"")
        now = await loom.get("/stream/a?notail")
        assert (now.head["content-length"], now.head["x-stream-state"]) == ("6", "live")
        assert wire.unread() == follower.unread() == b""
    assert await wire.body() == b""
    assert await follower.body() == b"after"


async def test_a_failing_store_cuts_all_clients_and_is_reported(loom: Loom, store: MemoryStore):
    early, late = await loom.live("/stream/a", b"data"), await loom.connect()
    await late.post("/stream/b", via="1.1 proxy")
    follower, spy = await loom.follow("/stream/b"), await loom.get("/spy")
    store.fail("A flush failed.")
    assert (await late.answer()).status == 503
    for cut in (early, follower, spy):
        with pytest.raises(Cut):
            await cut.body()
    ready = await loom.get("/readyz")
    assert ready.head.status == 503
    assert json.loads(await ready.body())["detail"] == "A flush failed."
    for method, target in (("POST", "/stream/c"), ("GET", "/stream/a"), ("GET", "/spy")):
        refused = await loom.ask(method, target)
        assert (refused.head.status, json.loads(await refused.body())["code"]) == (503, "stopped")

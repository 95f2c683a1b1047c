"""Requests of the client other than uploads and reading."""

import pytest
from tests.client.conftest import QUICK
from tests.support.proxy import Storm
from tests.support.running import Loom, Serve

from loom.client import AsyncClient
from loom.client.errors import Conflict, Lost, NotFound, Unauthorized


async def test_info_and_list_agree(loom: Loom, client: AsyncClient):
    for number in range(5):
        await loom.stored(f"/stream/b/{number}", b"x" * number, x_stream_metadata=f'{{"odd": {number % 2}}}')
    await loom.live("/stream/c")
    infos = [info async for info in client.streams()]
    assert [info.id for info in infos] == ["c", "b/4", "b/3", "b/2", "b/1", "b/0"]
    assert infos[1] == await client.info("b/4")
    assert (infos[1].size, infos[1].metadata, infos[1].state) == (4, {"odd": 0}, "complete")
    assert infos[1].ended is not None
    assert infos[1].created <= infos[1].ended
    odd = client.streams("b/", states=["complete"], metadata={"odd": "1"})
    assert [info.id async for info in odd] == ["b/3", "b/1"]
    assert [info.id async for info in client.streams(limit=2)] == ["c", "b/4"]
    assert await client.total() == 6
    assert await client.total("b/", states=["complete"], metadata={"odd": "1"}) == 2


async def test_list_has_more_than_one_page(loom: Loom, client: AsyncClient, monkeypatch):
    monkeypatch.setattr("loom.client.client.PAGE", 2)
    for number in range(5):
        await loom.stored(f"/stream/{number}", b"")
    assert [info.id async for info in client.streams()] == ["4", "3", "2", "1", "0"]
    assert [info.id async for info in client.streams(limit=3)] == ["4", "3", "2"]


async def test_delete_one_and_all_of_a_prefix(loom: Loom, client: AsyncClient):
    for id in ("a", "b/1", "b/2"):
        await loom.stored(f"/stream/{id}", b"")
    await client.delete("a")
    with pytest.raises(NotFound):
        await client.delete("a")
    assert await client.count("b/") == 2
    with pytest.raises(Conflict) as raised:
        await client.delete_all("b/", confirm=3)
    assert (raised.value.code, raised.value.problem["count"]) == ("unconfirmed", 2)
    assert await client.delete_all("b/", confirm=2) == 2
    assert [info async for info in client.streams()] == []


async def test_events_continue_across_disconnects_without_a_gap(loom: Loom, between):
    proxy = await between(loom, Storm(5, cuts=20, up=300, down=3000, stalls=0))
    async with AsyncClient(proxy.url, timeouts=QUICK) as client:
        events = client.events("a/", persistent=True)
        assert (await anext(events)).kind == "reset"
        seen = []
        for number in range(40):
            await loom.stored(f"/stream/a/{number}", b"")
            await loom.stored(f"/stream/b/{number}", b"")
            for _ in range(2):
                change = await anext(events)
                assert change.info is not None
                seen.append((change.kind, change.info.id))
        await events.aclose()
    assert seen == [(kind, f"a/{number}") for number in range(40) for kind in ("created", "closed")]


async def test_spy_yields_the_output_and_raises_at_its_end(loom: Loom, client: AsyncClient):
    spying = client.spy()
    assert await anext(spying) == b""
    await loom.stored("/stream/a", b"bytes\n")
    seen = b""
    while b"END: a\n" not in seen:
        seen += await anext(spying)
    assert seen == b"START: a\na:\nbytes\nEND: a\n"
    await loom.service.drain(0)
    with pytest.raises(Lost):
        await anext(spying)


async def test_token_is_sent(serve: Serve):
    loom = await serve(tokens=["secret"])
    async with AsyncClient(loom.url, timeouts=QUICK) as client:
        with pytest.raises(Unauthorized):
            await client.info("a")
    async with AsyncClient(loom.url, token="secret", timeouts=QUICK) as client:
        with pytest.raises(NotFound):
            await client.info("a")

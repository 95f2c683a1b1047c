"""Filters on metadata cost what they find, and one client's listings do not hold up those of others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from tests.support.running import ONE_STORE, Loom

from loom.http.searches import AT_ONCE
from loom.model import Info, Query, State
from loom.store.base import Store


@ONE_STORE
async def test_a_query_has_sixteen_filters_at_most(loom: Loom):
    await loom.stored("/stream/a", b"", x_stream_metadata=json.dumps({f"k{n}": n for n in range(16)}))
    filters = [f"meta.k{number}={number}" for number in range(16)]
    wire = await loom.get("/streams?" + "&".join(filters * 50))
    found = json.loads(await wire.body())
    assert [row["id"] for row in found["streams"]] == ["a"], "repeated filters count once"
    wire = await loom.get("/streams?" + "&".join([*filters, f"meta.{quote('one more')}=1"]))
    assert wire.head.status == 400
    assert json.loads(await wire.body())["detail"] == "A query may have at most 16 filters on metadata."


def test_metadata_is_parsed_once_for_all_filters(monkeypatch: pytest.MonkeyPatch):
    parsed: list[str] = []

    def loads(text: str, **options: object) -> object:
        parsed.append(text)
        return original(text, **options)  # type: ignore[arg-type]

    original = json.loads
    metadata = json.dumps({f"k{number}": number for number in range(16)})
    info = Info(key="1-x", id="a", epoch=1, state=State.LIVE, metadata=metadata)
    monkeypatch.setattr("loom.model.json.loads", loads)
    assert Query(metadata=tuple((f"k{number}", str(number)) for number in range(16))).matches(info)
    assert len(parsed) == 1


class Held:
    """Holds each call of a method of the store until `opened` is set."""

    def __init__(self, store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = asyncio.Event()
        self.running = self.begun = 0
        self.changed = asyncio.Event()
        call = getattr(store, name)

        async def places(*args: object) -> object:
            async with self._hold():
                return await call(*args)

        async def find(query: Query) -> AsyncIterator[Info]:
            async with self._hold():
                async for info in call(query):
                    yield info

        monkeypatch.setattr(store, name, find if name == "find" else places)

    @asynccontextmanager
    async def _hold(self) -> AsyncIterator[None]:
        self.running, self.begun = self.running + 1, self.begun + 1
        self.changed.set()
        try:
            await self.opened.wait()
            yield
        finally:
            self.running -= 1
            self.changed.set()

    async def until(self, running: int) -> None:
        while self.running != running:
            self.changed.clear()
            await self.changed.wait()


CALLS = [
    ("GET", "/streams?meta.a=b", "find"),
    ("DELETE", "/streams?prefix=a&dry_run", "find"),
    ("GET", "/stream/a?index", "places"),
    ("GET", "/stream/a?moments", "moments"),
    ("GET", "/stream/a?line=2", "place"),
    ("HEAD", "/stream/a?line=2", "place"),
]


@pytest.mark.parametrize(("method", "target", "call"), CALLS)
@ONE_STORE
async def test_a_disconnect_stops_a_listing_or_search(
    loom: Loom, monkeypatch: pytest.MonkeyPatch, method: str, target: str, call: str
):
    await loom.stored("/stream/a", b"one\ntwo\n")
    held = Held(loom.store, call, monkeypatch)
    wire = await loom.connect()
    await wire.request(method, target)
    async with asyncio.timeout(10):
        await held.until(1)
        await wire.close()
        await held.until(0)


@pytest.mark.parametrize(("method", "target", "call"), CALLS)
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
@ONE_STORE
async def test_a_client_has_a_few_listings_and_searches_at_once(
    loom: Loom, monkeypatch: pytest.MonkeyPatch, method: str, target: str, call: str, accept: str
):
    """Others wait; past that they get 429 with Retry-After. A read without a search never waits."""
    monkeypatch.setattr("loom.http.searches.WAITING", 3)
    await loom.stored("/stream/a", b"one\ntwo\n")
    held = Held(loom.store, call, monkeypatch)
    asked = [asyncio.create_task(loom.ask(method, target, accept=accept)) for _ in range(AT_ONCE + 3 + 5)]
    async with asyncio.timeout(20):
        while sum(each.done() for each in asked) < 5:
            await asyncio.wait([each for each in asked if not each.done()], return_when="FIRST_COMPLETED")
        refused = [
            (each.result().head.status, each.result().head["retry-after"]) for each in asked if each.done()
        ]
        assert refused == [(429, "1")] * 5
        await held.until(AT_ONCE)
        assert held.begun == AT_ONCE
        whole = await loom.get("/stream/a")
        assert await whole.body() == b"one\ntwo\n"
        held.opened.set()
        answered = await asyncio.gather(*asked)
    assert sorted(wire.head.status for wire in answered) == [200] * (AT_ONCE + 3) + [429] * 5
    again = await loom.ask(method, target, accept=accept)
    assert again.head.status == 200, "the turns are given back"

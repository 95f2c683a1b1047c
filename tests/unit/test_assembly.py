import asyncio
import inspect
from textwrap import dedent
from typing import Any

import pytest
from tests.support.wire import Wire

from loom import assembly
from loom.assembly import STORES, assemble
from loom.config import Settings, load
from loom.errors import ConfigError, StoreStopped
from loom.model import NewStream


async def start(settings):
    async with assemble(settings):
        pass


async def test_the_example_of_the_module_serves_until_it_is_cancelled(monkeypatch, tmp_path):
    doc = inspect.getdoc(assembly) or ""
    example = dedent(doc[doc.index("    from loom") : doc.index("\n\nAny other ASGI server")])
    printed = asyncio.get_running_loop().create_future()
    names: dict[str, Any] = {"print": printed.set_result}
    exec(example.replace("port=3060", "port=0"), names)
    monkeypatch.chdir(tmp_path)
    running = asyncio.create_task(names["main"]())
    port = int((await printed).rpartition(":")[2])
    wire = await Wire.open("127.0.0.1", port)
    await wire.request("GET", "/readyz")
    assert (await wire.answer()).status == 200
    await wire.close()
    running.cancel()
    await asyncio.wait({running})
    assert (tmp_path / "data" / "catalog.sqlite").exists()


@pytest.mark.parametrize("given", [{"store": "files"}, {"store": "file:"}, {}, {"store": "file:{}/d"}])
async def test_files_store_is_named_by_url_or_by_its_directory(given, tmp_path):
    url = {name: value.format(tmp_path) for name, value in given.items()}
    settings = Settings(data=tmp_path / "d", **url)
    async with assemble(settings) as loom:
        assert loom.store.health().store == "files"
        assert (tmp_path / "d" / "catalog.sqlite").exists()


@pytest.mark.parametrize("store", ["memory", "memory:"])
async def test_memory_store_needs_no_directory(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    async with assemble(Settings(store=store, tokens=["token-of-the-test"])) as loom:
        assert loom.store.health().store == "memory"
    assert list(tmp_path.iterdir()) == []


async def test_unknown_kind_of_store_is_refused_and_known_kinds_are_named():
    settings = load([], {"LOOM_STORE": "ftp://user:hidden@host/db"}, {})
    with pytest.raises(ConfigError) as refused:
        await start(settings)
    for scheme in ["ftp", *STORES]:
        assert f"{scheme}:" in str(refused.value)
    assert "hidden" not in str(refused.value)


async def test_a_start_that_fails_closes_the_store(tmp_path):
    settings = Settings(data=tmp_path, tokens=["token-of-the-test"], signing_key="too short")
    for _ in range(2):  # the second one would find the directory locked
        with pytest.raises(ConfigError, match="signing key"):
            await start(settings)


async def test_the_end_refuses_new_streams_and_closes_the_store():
    async with assemble(Settings(store="memory:")) as loom:
        await loom.service.create(NewStream(id="a"))
        await loom.drain()
        with pytest.raises(StoreStopped):
            await loom.service.create(NewStream(id="b"))
    assert not loom.store.health().ready

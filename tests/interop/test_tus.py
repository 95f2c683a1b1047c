"""Clients of tus: tus-js-client, in tus 1.0 and older versions of the resumable uploads draft, and Uppy."""

import asyncio
import json
import random
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from tests.support.proxy import Always, Fault, Kind, Way, Weather
from tests.support.running import ONE_STORE, Loom

from loom.model import State

HERE = Path(__file__).parent
PROTOCOLS = ["tus-v1", "ietf-draft-03", "ietf-draft-05"]
"""Their names in tus-js-client; the first is its default. The interop versions of the drafts are 5 and 6."""


@pytest.fixture(scope="module")
def node(tool, package) -> str:
    """Return the path of node. The clients are installed, too."""
    package("tus-js-client")
    package("@uppy/tus")
    return str(tool("node"))


class Cuts(Always):
    """Cut the first `cuts` connections in the middle of their bytes."""

    def __init__(self, cuts: int) -> None:
        super().__init__(Weather((Fault(Kind.RESET, Way.UP, after=3_000_000),)))
        self.left = cuts

    def strike(self, fault: Fault) -> bool:
        self.left = max(0, (before := self.left) - 1)
        return before > 0


async def upload(node: str, url: str, protocol: str, file: Path, when: str) -> list[str]:
    """Upload a file. Return the requests, in order."""
    result = await run(node, "tus.mjs", url, protocol, str(file), when)
    assert "error" not in result, result
    return list(result["requests"])


async def run(node: str, program: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / program), *arguments, stdout=PIPE, cwd=HERE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return dict(json.loads(out))


async def check(loom: Loom, data: bytes) -> None:
    wire = await loom.get("/stream/s")
    assert await wire.body() == data
    assert (await loom.service.info("s")).state is State.COMPLETE


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize("size", [0, 5_000_000])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@ONE_STORE
async def test_a_file_is_uploaded(loom: Loom, node, tmp_path, protocol, size, when):
    file = tmp_path / "file"
    file.write_bytes(data := random.Random(size).randbytes(size))
    requests = await upload(node, f"{loom.url}/stream/s", protocol, file, when)
    assert requests[0] == "POST 201"
    await check(loom, data)


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_upload_that_is_cut_resumes_from_the_last_confirmed_byte(
    loom: Loom, between, node, tmp_path, protocol, when
):
    file = tmp_path / "file"
    file.write_bytes(data := random.Random(9).randbytes(8_000_000))
    proxy = await between(loom, cuts := Cuts(3))
    requests = await upload(node, f"{proxy.url}/stream/s", protocol, file, when)
    assert cuts.left < 3
    assert any(request.startswith("HEAD 2") for request in requests)
    await check(loom, data)


@pytest.mark.parametrize("cuts", [0, 1])
@ONE_STORE
async def test_uppy_uploads_files_at_its_defaults(loom: Loom, between, node, tmp_path, cuts):
    data = {
        name: random.Random(name).randbytes(size) for name, size in (("a", 5_000_000), ("b", 3), ("c", 0))
    }
    for name in data:
        (tmp_path / name).write_bytes(data[name])
    proxy = await between(loom, faults := Cuts(cuts))
    result = await run(node, "uppy.mjs", f"{proxy.url}/stream", *(str(tmp_path / name) for name in data))
    assert result["failed"] == []
    assert faults.left == 0
    for name, url in zip(data, result["urls"], strict=True):
        target = url.removeprefix(proxy.url)
        assert await (await loom.get(target)).body() == data[name]
        info = await loom.service.info(target.removeprefix("/stream/"))
        assert (info.state, info.content_type) == (State.COMPLETE, "text/plain")
        assert json.loads(info.metadata)["name"] == name

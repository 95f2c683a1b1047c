"""tus-js-client, which implements older versions of the resumable uploads draft."""

import asyncio
import json
import random
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.support.proxy import Always, Fault, Kind, Way, Weather
from tests.support.running import ONE_STORE, Loom

from loom.model import State

HERE = Path(__file__).parent
DRAFTS = ["ietf-draft-03", "ietf-draft-05"]
"""Their names in tus-js-client. The interop versions are 5 and 6."""


@pytest.fixture(scope="module")
def node(tool, package) -> str:
    """Return the path of node. The client is installed, too."""
    package("tus-js-client")
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
    arguments = [str(HERE / "tus.mjs"), url, protocol, str(file), when]
    process = await asyncio.create_subprocess_exec(node, *arguments, stdout=PIPE, cwd=HERE)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    result = json.loads(out)
    assert "error" not in result, result
    return list(result["requests"])


async def check(loom: Loom, data: bytes) -> None:
    wire = await loom.get("/stream/s")
    assert await wire.body() == data
    assert (await loom.service.info("s")).state is State.COMPLETE


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize("size", [0, 5_000_000])
@pytest.mark.parametrize("protocol", DRAFTS)
@ONE_STORE
async def test_a_file_is_uploaded(loom: Loom, node, tmp_path, protocol, size, when):
    file = tmp_path / "file"
    file.write_bytes(data := random.Random(size).randbytes(size))
    requests = await upload(node, f"{loom.url}/stream/s", protocol, file, when)
    assert requests[0] == "POST 201"
    await check(loom, data)


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize("protocol", DRAFTS)
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

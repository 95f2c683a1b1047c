"""Durable Streams: the conformance suite of the protocol, and its clients."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from durable_streams import AsyncDurableStream, astream
from tests.support.running import ONE_STORE, Loom, Serve

HERE = Path(__file__).parent / "durable"
CONFORMANCE = 332
"""The tests of the suite. It has six more, of an extension that Loom does not have: subscriptions."""
MISSING = {"Fork - Deletion and Lifecycle"}
"""Parts of the suite that Loom does not pass yet."""
TIMED = "TTL Expiration Behavior|Fork - TTL and Expiry"
LONG_POLL = 1.0
"""Seconds: several tests of the suite wait for the end of a long-poll."""


@pytest.fixture(scope="module")
def node(tool, package) -> str:
    """Return the path of node. The packages are installed, too."""
    for name in ("server-conformance-tests", "client", "state"):
        package(f"@durable-streams/{name}")
    return str(tool("node"))


async def conformance(node: str, loom: Loom, report: Path, names: str, *options: str) -> list[dict[str, Any]]:
    """Run the tests of the suite with these names, and return a result for each."""
    process = await asyncio.create_subprocess_exec(
        *(node, "../../node_modules/vitest/vitest.mjs", "run", "-t", names, *options),
        *("--testTimeout=120000", "--reporter=json", f"--outputFile={report}"),
        cwd=HERE,
        env={"CONFORMANCE_TEST_URL": loom.url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(240):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    [file] = json.loads(report.read_text())["testResults"]
    return [each for each in file["assertionResults"] if re.search(names, each["fullName"])]


@pytest.mark.timeout(300)
async def test_the_conformance_suite_passes(serve: Serve, node: str, tmp_path: Path):
    loom = await serve(cors_origins=["*"], long_poll_timeout=LONG_POLL, durability="disk")
    # Lifetimes are measured in seconds with half a second to spare: they are tested apart from the rest.
    timed = await conformance(node, loom, tmp_path / "timed.json", f"({TIMED})", "--retry=3")
    others = await conformance(
        *(node, loom, tmp_path / "others.json", f"^(?!.*({TIMED}))"),
        *("--sequence.concurrent", "--maxConcurrency=16"),
    )
    results = timed + others
    wanted = [each for each in results if "Reserved subscription APIs" not in each["ancestorTitles"]]
    failed = {
        each["fullName"]: each["failureMessages"]
        for each in wanted
        if each["status"] != "passed" and not set(each["ancestorTitles"]) & MISSING
    }
    assert failed == {}
    assert len(wanted) == CONFORMANCE


async def client(node: str, command: str, *arguments: str) -> Any:
    """Run a command of client.mjs to its end; return what it printed last."""
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / "client.mjs"), command, *arguments, stdout=asyncio.subprocess.PIPE, cwd=HERE
    )
    try:
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
@ONE_STORE
async def test_the_client_for_javascript_writes_and_reads(loom: Loom, node: str, mode: str):
    url = f"{loom.url}/v1/stream/numbers"
    writing = asyncio.create_task(client(node, "produce", url, "100"))
    await loom.follow("/v1/stream/numbers")
    read = await client(node, "read", url, mode)
    assert read == {"items": [{"number": number} for number in range(100)], "closed": True}
    assert await writing == {"errors": []}


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
@ONE_STORE
async def test_the_client_for_javascript_follows_a_classic_producer(loom: Loom, node: str, mode: str):
    producer = await loom.live("/stream/log", b"one\n", content_type="text/plain")
    reading = asyncio.create_task(client(node, "text", f"{loom.url}/v1/stream/log", mode))
    while not loom.service.load().followers:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await producer.chunk("zwölf\n".encode())
    await producer.chunk(b"")
    assert await reading == {"text": "one\nzwölf\n", "closed": True}


@ONE_STORE
async def test_state_is_kept_as_changes(loom: Loom, node: str):
    assert await client(node, "state", f"{loom.url}/v1/stream/users") == {"1": {"name": "Ada Lovelace"}}


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
@ONE_STORE
async def test_the_client_for_python_writes_and_reads(loom: Loom, mode: Any):
    async with await AsyncDurableStream.create(
        f"{loom.url}/v1/stream/py", content_type="application/json"
    ) as stream:
        await asyncio.gather(*(stream.append({"n": number}) for number in range(5)))
        assert (await stream.head()).content_type == "application/json"
        async with astream(stream.url, offset="-1", live=mode) as reading:
            found = []
            async for item in reading.iter_json():
                found.append(item["n"])
                if len(found) == 5:
                    await stream.append({"n": 5})
                elif len(found) == 6:
                    break
    assert sorted(found[:5]) + found[5:] == list(range(6))
    wire = await loom.get("/stream/py?notail")
    assert len((await wire.body()).splitlines()) == 6

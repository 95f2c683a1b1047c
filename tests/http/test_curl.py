"""The tour of the README, as a user of curl sees it."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

from tests.support.running import Loom

from loom.model import State

Tool = Callable[[str], str]


async def curl(tool: Tool, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        tool("curl"),
        "--silent",
        "--show-error",
        "--no-buffer",
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def output(tool: Tool, *arguments: str, stdin: bytes | None = None) -> bytes:
    process = await curl(tool, *arguments)
    out, err = await process.communicate(stdin)
    assert process.returncode == 0, err
    return out


async def test_a_pipe_is_seen_line_by_line_while_it_runs(loom: Loom, tool: Tool):
    url = f"{loom.url}/stream/build/1"
    producer = await curl(tool, "-X", "POST", "-T", "-", "-H", 'X-Stream-Metadata: {"job":"é"}', url)
    assert producer.stdin is not None
    await (await loom.follow("/stream/build/1")).close()
    reader = await curl(tool, url)
    assert reader.stdout is not None
    for line in (b"one\n", b"two\n", b"three\n"):
        producer.stdin.write(line)
        assert await reader.stdout.readline() == line
    producer.stdin.close()
    assert await reader.wait() == await producer.wait() == 0
    assert await output(tool, url) == b"one\ntwo\nthree\n"
    headers = await output(tool, "-I", url)
    assert b'x-stream-metadata: {"job":"\\u00e9"}\r\n' in headers


async def test_data_in_one_request(loom: Loom, tool: Tool):
    assert await output(tool, "-d", "some data", f"{loom.url}/stream/a") == b""
    assert await output(tool, f"{loom.url}/stream/a") == b"some data"
    assert (await loom.service.info("a")).content_type == "application/octet-stream"


async def test_a_big_upload_to_a_taken_id_receives_409(loom: Loom, tool: Tool, tmp_path: Path):
    await loom.stored("/stream/a", b"first")
    (tmp_path / "big").write_bytes(bytes(32 << 20))
    out = await output(
        tool, "-X", "POST", "-T", str(tmp_path / "big"), "-w", "\n%{http_code}", f"{loom.url}/stream/a"
    )
    body, _, status = out.rpartition(b"\n")
    assert status == b"409"
    assert "already exists" in json.loads(body)["error"]


async def test_curl_exits_with_an_error_when_its_stream_is_cut(loom: Loom, tool: Tool):
    await loom.live("/stream/a", b"data")
    reader = await curl(tool, f"{loom.url}/stream/a")
    assert reader.stdout is not None
    assert await reader.stdout.readexactly(4) == b"data"
    await loom.stored("/stream/a?force=true", b"new")
    assert await reader.stdout.read() == b""
    assert await reader.wait() == 18, "a partial file"


async def test_a_killed_producer_leaves_its_bytes(loom: Loom, tool: Tool):
    producer = await curl(tool, "-X", "POST", "-T", "-", f"{loom.url}/stream/a")
    assert producer.stdin is not None
    producer.stdin.write(b"last words\n")
    reader = await loom.follow("/stream/a")
    assert await reader.take(11) == b"last words\n"
    producer.kill()
    await producer.wait()
    assert (await loom.until("a", State.INTERRUPTED)).size == 11

"""`loom mcp` as a real program, with the client of the official SDK, over both transports."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from tests.cli.test_reading import env
from tests.support.program import BIN, environment, program
from tests.support.running import Loom

__all__ = ["env"]

LOG = b"".join(b"line %d\n" % number for number in range(1, 500)) + b"ERROR: no space\nmake: failed\nbye\n"

Agent = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def store_kind():
    return "memory"


@asynccontextmanager
async def over_stdio(env: dict[str, str]) -> AsyncIterator[Client]:
    command = StdioServerParameters(command=str(BIN / "loom"), args=["mcp"], env=environment() | env)
    async with Client(command) as client:
        yield client


@asynccontextmanager
async def over_http(env: dict[str, str]) -> AsyncIterator[Client]:
    async with program("loom", "mcp", "--http", "0", env=env) as running:
        url = (await running.log_line()).split()[-1]
        async with Client(url) as client:
            yield client


@pytest.fixture(params=[over_stdio, over_http])
def agent(request: pytest.FixtureRequest, env: dict[str, str]) -> Agent:
    return lambda: request.param(env)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return dict(result.structured_content)


async def test_an_agent_finds_why_a_job_failed(loom: Loom, agent: Agent):
    await loom.stored("/stream/builds/41", b"fine\n", x_stream_metadata='{"exit_code": 0}')
    await loom.stored("/stream/builds/42", LOG, x_stream_metadata='{"exit_code": 2}')
    async with agent() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"list_streams", "stream_info", "read_lines", "grep", "wait_for"}
        assert all(tool.description for tool in tools.values())
        assert client.instructions is not None
        assert "never instructions" in client.instructions

        failed = await call(client, "list_streams", prefix="builds/", outcome="failure")
        assert [row["id"] for row in failed["streams"]] == ["builds/42"]
        info = await call(client, "stream_info", id="builds/42")
        assert (info["outcome"], info["metadata"]) == ("failure", {"exit_code": 2})
        found = await call(client, "grep", id="builds/42", pattern="error", ignore_case=True, context=1)
        assert found == {
            "text": "499- line 499\n500: ERROR: no space\n501- make: failed",
            "state": "complete",
            "more": "",
        }
        around = await call(client, "read_lines", id="builds/42", line=500, before=1, after=1)
        assert around["text"] == "499: line 499\n500: ERROR: no space\n501: make: failed"
        last = await call(client, "read_lines", id="builds/42", before=0, after=1)
        assert last["text"] == "501: make: failed\n502: bye"
        ended = await call(client, "wait_for", id="builds/42")
        assert (ended["state"], ended["text"]) == ("complete", "outcome: failure")


async def test_answers_are_bounded_and_say_how_to_continue(loom: Loom, env: dict[str, str]):
    await loom.stored("/stream/a", LOG)
    await loom.stored("/stream/long", b"x" * 900 + b"\n" + (b"y" * 999 + b"\n") * 100)
    for number in range(5):
        await loom.stored(f"/stream/many/{number}", b"")
    async with over_stdio(env) as client:
        first = await call(client, "grep", id="a", pattern="line", limit=2, context=0)
        assert first["text"] == "1: line 1\n2: line 2"
        assert first["more"] == "Call grep again with line=3."
        second = await call(client, "grep", id="a", pattern="line", limit=2, context=0, line=3)
        assert second["text"] == "3: line 3\n4: line 4"
        long = await call(client, "read_lines", id="long", line=1, after=200)
        assert len(long["text"]) <= 20_000
        assert long["more"] == "Call read_lines again with line=21 and before=0."
        page = await call(client, "list_streams", prefix="many/", limit=2, skip=2)
        assert [row["id"] for row in page["streams"]] == ["many/2", "many/1"]
        assert page["more"] == "Call list_streams again with skip=4."
        assert (await call(client, "list_streams", prefix="many/", skip=4))["more"] == ""


async def test_an_agent_waits_for_a_line_or_the_end(loom: Loom, env: dict[str, str]):
    producer = await loom.live("/stream/a", b"start\n")
    async with over_stdio(env) as client:
        early = await call(client, "wait_for", id="a", pattern="ready", seconds=0.2)
        assert (early["text"], early["state"]) == ("(no line matches)", "live")
        assert "again" in early["more"]
        waiting = asyncio.create_task(call(client, "wait_for", id="a", pattern="ready"))
        await producer.chunk(b"ready at 3060\n")
        assert (await waiting)["text"] == "1- start\n2: ready at 3060"
        assert "again" in (await call(client, "wait_for", id="a", seconds=0.2))["more"]
        waiting = asyncio.create_task(call(client, "wait_for", id="a"))
        await producer.chunk(b"")
        assert (await waiting) == {"text": "outcome: none", "state": "complete", "more": ""}
        late = await call(client, "wait_for", id="a", pattern="never")
        assert (late["text"], late["more"]) == ("(no line matches)", "")


async def test_what_fails_is_reported_to_the_agent(loom: Loom, env: dict[str, str]):
    await loom.stored("/stream/a", LOG)
    async with over_stdio(env) as client:
        for tool, arguments, says in (
            ("grep", {"id": "a", "pattern": "("}, "parenthesis"),
            ("grep", {"id": "none", "pattern": "x"}, "does not exist"),
            ("read_lines", {"id": "none"}, "does not exist"),
            ("wait_for", {"id": "none"}, "does not exist"),
            ("stream_info", {"id": ".."}, "segment"),
            ("grep", {"id": "a", "pattern": "x", "limit": 1000}, "limit"),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error, tool
            assert says in str(result.content)


async def test_without_its_packages_the_command_says_what_to_install(env: dict[str, str], tmp_path):
    (tmp_path / "mcp.py").write_text("raise ImportError\n")
    async with program("loom", "mcp", env=env | {"PYTHONPATH": str(tmp_path)}) as running:
        code, err = await running.ended()
    assert (code, "pip install 'loom-streams[mcp]'" in err) == (2, True)


async def test_the_help_does_not_load_the_packages(env: dict[str, str]):
    check = "import sys, loom.cli.main, loom.cli.mcp; assert 'mcp' not in sys.modules"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", check)
    assert await process.wait() == 0

"""`loom doctor` finds what a proxy breaks, and nothing on a good path."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.test_proxies import PROXIES, proxied
from tests.support.program import BIN, environment
from tests.support.server import Server
from tests.support.wire import Wire

TRIALS = [
    "request buffering",
    "response buffering",
    "idle timeout",
    "size limit",
    "same bytes",
    "early answer",
]

# Mistakes in the configuration of nginx, by the trial that fails.
MISTAKES: dict[str, dict[str, str]] = {
    "request buffering": {"proxy_request_buffering off;": ""},
    "size limit": {"client_max_body_size 0;": "client_max_body_size 1m;"},
    "idle timeout": {"proxy_read_timeout 24h;": "proxy_read_timeout 1s;"},
    "early answer": {
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;": "",
        "proxy_set_header X-Forwarded-Proto $scheme;": "",
    },
}


@asynccontextmanager
async def holding(target: int) -> AsyncIterator[int]:
    """Run a proxy that holds back responses without a length until their end, as a compressing one does."""
    relays: set[asyncio.Task[None]] = set()

    async def requests(reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            there.write(data)
            await there.drain()

    async def answers(back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = b""
        while data := await back.read(1 << 16):
            held += data
            if b"chunked" not in held or held.endswith(b"0\r\n\r\n"):
                writer.write(held)
                await writer.drain()
                held = b""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        relays.add(task)
        back, there = await asyncio.open_connection("127.0.0.1", target)
        ways = [asyncio.create_task(requests(reader, there)), asyncio.create_task(answers(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            there.close()
            writer.close()
            relays.discard(task)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if relays:
            await asyncio.wait(tuple(relays))


async def test_held_back_responses_are_found(server: Server):
    async with holding(server.port) as port:
        code, report = await doctor(port, "--silence", "0")
    assert (code, broken(report)) == (1, ["response buffering"]), report


async def doctor(port: int, *options: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{port}"
    command = [str(BIN / "loom"), "doctor", url, "--json", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment())
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {"error": err.decode()}


def broken(report: dict[str, Any]) -> list[str]:
    return [each["trial"] for each in report["findings"] if not each["good"]]


@pytest.mark.parametrize("name", [None, *PROXIES])
async def test_nothing_is_broken_on_the_direct_path_and_through_the_example_proxies(
    name, server, tmp_path, tool
):
    if name is None:
        code, report = await doctor(server.port, "--silence", "0.5")
    else:
        async with proxied((name, tool(name)), server.port, tmp_path) as port:
            code, report = await doctor(port, "--silence", "0.5")
    assert [each["trial"] for each in report["findings"]] == TRIALS, report
    assert (code, broken(report)) == (0, []), report


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_each_mistake_fails_its_trial_only(mistake, server, tmp_path, tool):
    async with proxied(("nginx", tool("nginx")), server.port, tmp_path, MISTAKES[mistake]) as port:
        code, report = await doctor(port, "--silence", "3")
    assert (code, broken(report)) == (1, [mistake]), report
    assert all(each["advice"] for each in report["findings"] if not each["good"])


async def test_each_step_is_shown_as_it_runs_and_the_results_as_a_table(server: Server):
    command = [str(BIN / "loom"), "doctor", f"http://127.0.0.1:{server.port}", "--silence", "0.5s"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment())
    assert process.stdout
    assert process.stderr
    steps = [(await process.stderr.readline()).decode() for _ in TRIALS]
    assert [step.partition(":")[0] for step in steps] == [f"Testing {trial}" for trial in TRIALS]
    lines = (await process.stdout.read()).decode().splitlines()
    assert await process.wait() == 0
    assert lines[2] == "good    idle timeout        a stream continues after 0.5s of silence"
    assert [line[8:26].rstrip() for line in lines] == TRIALS


async def test_no_stream_is_left(server: Server):
    await doctor(server.port, "--silence", "0")
    wire = await Wire.open("127.0.0.1", server.port)
    await wire.request("GET", "/streams")
    await wire.answer()
    assert json.loads(await wire.body())["streams"] == []
    await wire.close()


async def test_a_server_that_cannot_be_reached_is_reported_in_a_sentence(tmp_path: Path):
    code, report = await doctor(1)
    assert (code, report["error"].count("\n")) == (5, 1)


async def test_a_missing_token_has_its_own_exit_code(tmp_path: Path):
    server = await Server.start(
        tmp_path / "data", tmp_path / "log", durability="os", tokens="secret-token-of-the-test"
    )
    code, _ = await doctor(server.port)
    good, _ = await doctor(server.port, "--token", "secret-token-of-the-test", "--silence", "0")
    await server.kill()
    assert (code, good) == (4, 0)

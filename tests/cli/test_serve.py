"""`loom serve` and `stream` as separate processes."""

import asyncio
import json
import os
import re
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pexpect
import pytest
from tests.support.program import BIN, environment, program, run
from tests.support.server import until
from tests.support.wire import Cut, Wire

from loom.cli.exit_codes import CONFLICT, INTERRUPTED, LOST, OK, STORE_FAILED, UNAUTHORIZED, USAGE
from loom.cli.serving import run as run_server
from loom.config import Settings
from loom.store.memory import MemoryStore

LISTENS = re.compile(r"Loom \S+ listens on http://127\.0\.0\.1:(\d+)\n")


class Served:
    """A running `loom serve`."""

    def __init__(self, process, port, shown):
        self.process = process
        self.port = port
        self.shown = shown
        self.url = f"http://127.0.0.1:{port}"

    async def wire(self):
        return await Wire.open("127.0.0.1", self.port)

    async def get(self, target, **headers):
        wire = await self.wire()
        await wire.request("GET", target, connection="close", **headers)
        head = await wire.answer()
        body = await wire.body()
        await wire.close()
        return head, body

    @asynccontextmanager
    async def reading(self, target):
        """Yield a wire on which a response with 200 has begun."""
        wire = await self.wire()
        try:
            await wire.request("GET", target)
            assert (await wire.answer()).status == 200
            yield wire
        finally:
            await wire.close()

    def spying(self):
        return self.reading("/spy")

    def following(self, id):
        return self.reading(f"/stream/{id}")


@asynccontextmanager
async def served(*arguments, store="memory", env=None):
    async with program("loom", "serve", "--port", "0", "--store", store, *arguments, env=env) as process:
        line = await process.line()
        found = LISTENS.fullmatch(line)
        assert found, (line, await process.ended())
        yield Served(process, int(found[1]), [await process.line(), await process.line()])


async def test_the_first_lines_show_the_page_and_where_streams_are_stored(tmp_path):
    here = Path.cwd()
    relative = os.path.relpath(tmp_path / "d", here)
    async with served("--data", relative, store="files") as server:
        assert server.shown == [
            f"Page: {server.url}/ui/\n",
            f"Data: {here / relative} (durability: disk)\n",
        ]
        _, body = await server.get("/readyz")
        assert json.loads(body)["store"] == "files"


async def test_lines_piped_in_slowly_are_followed_live_and_replayed():
    async with served() as server, server.spying() as spy, program("stream", server.url, "id") as producer:
        await spy.until(b"START: id\n")
        async with server.following("id") as follower:
            for number in range(1, 6):
                producer.write(b"%d\n" % number)
                assert await follower.take(2) == b"%d\n" % number
            await producer.end_input()
            assert await follower.body() == b""
        assert await producer.ended() == (OK, "")
        head, body = await server.get("/stream/id")
        assert (body, head["x-stream-state"]) == (b"1\n2\n3\n4\n5\n", "complete")


async def push(server, id, data, *arguments, env=None):
    """Run `stream` to its end."""
    async with program("stream", *arguments, server.url, id, env=env) as process:
        process.write(data)
        await process.end_input()
        return await process.ended()


async def test_large_binary_input_is_stored_whole_and_replaced_with_force():
    data = os.urandom(5_000_000)
    async with served() as server:
        assert await push(server, "big", b"before") == (OK, "")
        assert (await push(server, "big", data))[0] == CONFLICT
        assert await push(server, "big", data, "--force") == (OK, "")
        assert (await server.get("/stream/big"))[1] == data


async def test_conflict_and_wrong_token_end_stream_while_its_input_stays_open():
    async with served("--tokens", "right-token-of-the-test,other-token-of-the-test") as server:
        right = {"LOOM_TOKEN": "right-token-of-the-test"}
        assert await push(server, "s", b"x", env=right) == (OK, "")
        async with program("stream", server.url, "s", env=right) as process:
            process.write(b"some")
            assert (await process.ended())[0] == CONFLICT
        for token in ({}, {"LOOM_TOKEN": "wrong"}):
            async with program("stream", server.url, "t", env=token) as process:
                process.write(b"some")
                code, err = await process.ended()
                assert code == UNAUTHORIZED
                assert err.count("\n") == 1


@asynccontextmanager
async def half_pushed(server):
    """Yield a `stream` in the middle of its input, and a follower that has received the first part."""
    async with server.spying() as spy, program("stream", server.url, "s") as producer:
        await spy.until(b"START: s\n")
        async with server.following("s") as follower:
            producer.write(b"half")
            assert await follower.take(4) == b"half"
            yield producer, follower


async def test_ctrl_c_leaves_a_stream_that_never_looks_complete():
    async with served("--resume-window", "0") as server, half_pushed(server) as (producer, follower):
        producer.signal(signal.SIGINT)
        assert (await producer.ended())[0] == INTERRUPTED
        with pytest.raises(Cut):
            await follower.body()
        head, body = await server.get("/stream/s?notail")
        assert (head["x-stream-state"], body) == ("aborted", b"half")


async def test_a_killed_server_is_reported_as_lost():
    async with served() as server, half_pushed(server) as (producer, _):
        server.process.signal(signal.SIGKILL)
        assert (await producer.ended())[0] == LOST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_with_producer_and_follower_is_prompt_and_keeps_every_byte(tmp_path, number):
    files = ["--data", tmp_path, "--shutdown-timeout", "20"]
    async with served(*files, store="files") as server, half_pushed(server) as (producer, follower):
        server.process.signal(number)
        async with asyncio.timeout(10):
            assert (await server.process.ended())[0] == OK
        with pytest.raises(Cut):
            await follower.body()
        assert (await producer.ended())[0] == LOST
    async with served(*files, store="files") as server:
        head, body = await server.get("/stream/s?notail")
        assert (head["x-stream-state"], body) == ("interrupted", b"half")


async def refused(*arguments, env=None, cwd=None):
    """Return the one sentence with which the server refuses to start."""
    code, out, err = await run("loom", "serve", "--port", "0", *arguments, env=env, cwd=cwd)
    assert (code, out) == (USAGE, "")
    assert err.startswith("loom serve: ")
    assert err.count("\n") == 1
    return err


async def test_port_in_use_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in await refused("--store", "memory", "--port", str(port))


async def test_data_directory_in_use_is_reported(tmp_path):
    async with served("--data", tmp_path, store="files"):
        assert str(tmp_path) in await refused("--data", tmp_path)


async def test_data_directory_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in await refused("--data", tmp_path / "file" / "data")


async def test_wrong_settings_are_reported(tmp_path):
    (tmp_path / "loom.yaml").write_text("tokens: [hidden]\nprot: 1\n")
    assert "did you mean port?" in await refused("-c", tmp_path / "loom.yaml")
    assert "LOOM_STORE" in await refused(env={"LOOM_STORE": ""})
    assert "hidden" not in await refused("--tokens", "hidden,")


async def test_files_environment_and_flags_are_combined(tmp_path):
    (tmp_path / "1.yaml").write_text("tokens: [one-token-of-the-test]\nlog_level: error\n")
    (tmp_path / "2.yaml").write_text("tokens: [two-token-of-the-test]\n")
    async with served("-c", tmp_path, env={"LOOM_LOG_FORMAT": "json"}) as server:
        assert (await server.get("/stream/s", authorization="Bearer one-token-of-the-test"))[0].status == 401
        assert (await server.get("/stream/s", authorization="Bearer two-token-of-the-test"))[0].status == 404


async def test_log_is_json_with_one_line_a_request_and_no_token():
    async with served("--tokens", "hidden-token-of-the-test") as server:
        await server.get(
            "/stream/hidden-token-of-the-test?x=hidden", authorization="Bearer hidden-token-of-the-test"
        )
        line = json.loads(await server.process.log_line())
        assert (line["event"], line["status"]) == ("request", 404)
        server.process.signal(signal.SIGTERM)
        _, rest = await server.process.ended()
    assert "hidden" not in json.dumps(line) + rest


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--tokens", "token-of-the-test"], False),
        ([], False),
    ],
)
async def test_public_address_without_tokens_logs_a_warning(arguments, warned):
    async with program("loom", "serve", "--port", "0", "--store", "memory", *arguments) as process:
        await process.line()
        process.signal(signal.SIGTERM)
        code, err = await process.ended()
    assert code == OK
    assert ("ANYONE" in err) is warned


async def test_behind_any_address_the_page_is_on_this_machine():
    arguments = ["--port", "0", "--store", "memory", "--host", "0.0.0.0", "--tokens", "token-of-the-test"]
    async with program("loom", "serve", *arguments) as process:
        assert "http://0.0.0.0:" in await process.line()
        assert re.fullmatch(r"Page: http://localhost:\d+/ui/\n", await process.line())
        assert await process.line() == "Data: in memory; nothing is kept when the server stops\n"


async def test_durability_os_logs_a_warning(tmp_path):
    async with served("--data", tmp_path, "--durability", "os", store="files") as server:
        assert "durability is os" in await server.process.log_line()


def test_log_on_a_terminal_is_for_people():
    arguments = ["serve", "--port", "0", "--store", "memory"]
    with pexpect.spawn(str(BIN / "loom"), arguments, env=environment(), timeout=20) as terminal:
        terminal.expect(LISTENS.pattern.replace(r"\n", "").encode())
        terminal.kill(signal.SIGTERM)
        terminal.expect_exact("The server stopped.")
        before = terminal.before
        terminal.expect(pexpect.EOF)
    assert b"Page: " in before
    assert b"info" in before
    assert b"{" not in before


class FirstLine:
    """A standard output that passes its first line to the test."""

    def __init__(self):
        self.line = asyncio.get_running_loop().create_future()

    def write(self, text):
        if not self.line.done():
            self.line.set_result(text)

    def flush(self):
        pass


async def test_failed_store_ends_the_server_with_its_own_exit_code(monkeypatch):
    output = FirstLine()
    monkeypatch.setattr("sys.stdout", output)
    stores = []

    async def open_memory(settings, clock, metrics):
        stores.append(MemoryStore(clock))
        return stores[0]

    settings = Settings(port=0, store="memory:")
    running = asyncio.create_task(run_server(settings, lambda: settings, opener=open_memory))
    found = LISTENS.match(await output.line)
    assert found
    wire = await Wire.open("127.0.0.1", int(found[1]))
    await wire.post("/stream/s")
    await wire.answer()
    await wire.chunk(b"x")
    stores[0].fail("the disk is gone")
    assert await running == STORE_FAILED
    with pytest.raises(Cut):
        await wire.body()
    await wire.close()


async def test_help_shows_every_setting():
    code, out, _ = await run("loom", "serve", "--help")
    assert code == OK
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in out
        assert f"LOOM_{name.upper()}" in out


async def test_commands_import_nothing_they_do_not_need():
    heavy = {"pydantic", "starlette", "httptools", "structlog", "sqlite3"}
    for module, arguments, more in [
        ("loom.cli.stream", ["stream", "--help"], {"aiohttp", "rich"}),
        ("loom.cli.stream", ["stream", "http://127.0.0.1:1", "s"], {"rich"}),
        ("loom.cli.main", ["loom", "push", "http://127.0.0.1:1", "s"], set()),
        ("loom.cli.main", ["loom", "--help"], {"aiohttp", "rich"}),
    ]:
        code = (
            f"import sys, os; sys.argv = {arguments!r}\n"
            f"leave = lambda *_: (print(*sys.modules), sys.stdout.flush(), os.kill(os.getpid(), 9))\n"
            f"os._exit = leave\n"
            f"import {module}\n"
            f"try: {module}.main()\n"
            f"finally: leave()"
        )
        _, out, _ = await run("python", "-c", code)
        assert not (heavy | more) & set(out.split())


async def test_sighup_reloads_the_tokens_and_an_invalid_file_changes_nothing(tmp_path):
    file = tmp_path / "loom.yaml"
    file.write_text("tokens: [old-token-of-the-test]\n")

    async def opens(server, token):
        head, _ = await server.get("/streams", authorization=f"Bearer {token}")
        return head.status == 200

    async with served("-c", file, "--log-format", "json") as server:
        assert await opens(server, "old-token-of-the-test")
        for text, event, known in [
            (
                "tokens: [old-token-of-the-test, new-token-of-the-test]\n",
                "The tokens were reloaded.",
                "new-token-of-the-test",
            ),
            ("tokens: [new-token-of-the-test\n", "The tokens were not reloaded.", "new-token-of-the-test"),
            (
                "tokens: [{token: new-token-of-the-test, sha256: x}]\n",
                "The tokens were not reloaded.",
                "new-token-of-the-test",
            ),
            (
                "tokens: [{token: last-token-of-the-test, scopes: [read]}]\n",
                "The tokens were reloaded.",
                "last-token-of-the-test",
            ),
        ]:
            file.write_text(text)
            server.process.signal(signal.SIGHUP)
            while json.loads(await server.process.log_line())["event"] != event:
                pass
            assert await opens(server, known)
        assert not await opens(server, "new-token-of-the-test")


async def test_signed_tokens_survive_a_restart_but_not_a_new_key(tmp_path):
    root = {"LOOM_TOKENS": "root-token-of-the-test"}
    wanted = json.dumps({"scopes": ["read"], "prefix": "", "expires_in": 600}).encode()
    async with served("--data", tmp_path / "d", store="files", env=root) as server:
        wire = await server.wire()
        await wire.request("POST", "/tokens", wanted, authorization="Bearer root-token-of-the-test")
        assert (await wire.answer()).status == 201
        token = json.loads(await wire.body())["token"]
        await wire.close()
    key = tmp_path / "d" / "signing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    for expected in (200, 401):
        async with served("--data", tmp_path / "d", store="files", env=root) as server:
            head, _ = await server.get("/streams", authorization=f"Bearer {token}")
            assert head.status == expected
        key.unlink()


async def test_a_sighup_during_the_start_is_handled(tmp_path):
    file = tmp_path / "loom.yaml"
    os.mkfifo(file)  # opening it to read the settings waits for this test to write

    async with program(
        *("loom", "serve", "-c", file, "--port", "0", "--store", "memory", "--log-format", "json")
    ) as process:
        status = Path(f"/proc/{process.pid}/status")

        def blocked() -> bool:
            begun = b"\0serve\0" in status.with_name("cmdline").read_bytes()
            mask = re.search(r"^SigBlk:\t(\w+)", status.read_text(), re.MULTILINE)
            return begun and mask is not None and int(mask[1], 16) & 1 << signal.SIGHUP - 1 != 0

        await until("SIGHUP is blocked", blocked)
        process.signal(signal.SIGHUP)
        await asyncio.to_thread(file.write_text, "tokens: [one-token-of-the-test]\n")
        assert LISTENS.fullmatch(await process.line())
        await asyncio.to_thread(file.write_text, "tokens: [two-token-of-the-test]\n")
        while json.loads(await process.log_line())["event"] != "The tokens were reloaded.":
            pass

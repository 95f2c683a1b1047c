"""`loom run`: the command runs as usual, and its output becomes a stream."""

import asyncio
import json
import signal
import socket
import sys

import pexpect
import pytest
from tests.cli.test_serve import served
from tests.support.program import BIN, environment, program, run

from loom.cli.exit_codes import USAGE


async def metadata(server, id="s"):
    head, body = await server.get(f"/stream/{id}")
    assert head["x-stream-state"] == "complete"
    return body, json.loads(head["x-stream-metadata"])


async def test_output_and_errors_are_shown_and_stored_with_the_exit_code():
    async with served() as server:
        script = "echo out; sleep 0.1; echo err >&2; exit 3"
        code, out, err = await run(
            "loom", "run", "--server", server.url, "--meta", "a=b", "s", "--", "sh", "-c", script
        )
        assert (code, out, err) == (3, "out\n", "err\n")
        body, members = await metadata(server)
        assert body == b"out\nerr\n"
        assert members["started"] < members["ended"]
        assert (members["exit_code"], members["host"], members["a"]) == (3, socket.gethostname(), "b")
        assert members["command"].startswith("sh -c")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_exit_code_of_a_command_ended_by_a_signal_is_that_of_shells(number):
    async with served() as server:
        script = f"kill -{number.value} $$"
        code, _, _ = await run("loom", "run", "--server", server.url, "s", "--", "sh", "-c", script)
        assert code == 128 + number
        assert (await metadata(server))[1]["exit_code"] == 128 + number


async def test_signals_reach_the_command():
    async with served() as server:
        script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        async with program("loom", "run", "--server", server.url, "s", "--", "sh", "-c", script) as process:
            assert await process.line() == "ready\n"
            process.signal(signal.SIGTERM)
            assert await process.line() == "caught\n"
            assert (await process.ended())[0] == 5
        assert (await metadata(server))[0] == b"ready\ncaught\n"


@pytest.mark.parametrize("why", ["no server", "refused"])
async def test_a_stream_that_cannot_be_sent_changes_nothing_for_the_command(why):
    async with served("--tokens", "token-of-the-test") as server:
        url = server.url if why == "refused" else "http://127.0.0.1:1"
        command = ["sh", "-c", "echo out; exit 4"]
        code, out, err = await run("loom", "run", "--server", url, "--patience", "0", "s", "--", *command)
    assert (code, out) == (4, "out\n")
    assert "The stream is not complete" in err


async def test_unsent_output_is_in_the_spool_with_the_exit_code(tmp_path):
    spool = ["--spool", tmp_path]
    lost = ["--server", "http://127.0.0.1:1", "--patience", "0", *spool]
    assert (await run("loom", "run", *lost, "s", "--", "sh", "-c", "echo out; exit 4"))[0] == 4
    async with served() as server:
        assert (await run("loom", "push", "--resume", *spool, "--server", server.url))[0] == 0
        body, members = await metadata(server)
        assert (body, members["exit_code"]) == (b"out\n", 4)


async def test_masked_values_do_not_leave_the_job():
    secret = "hush-hush-1"
    script = "printf hush-; sleep 0.2; echo hush-1 and $SECRET"
    async with served() as server:
        arguments = ["--server", server.url, "--mask", "SECRET", "s", "--", "sh", "-c", script, secret]
        code, out, _ = await run("loom", "run", *arguments, env={"SECRET": secret})
        assert (code, out) == (0, f"{secret} and {secret}\n")
        body, members = await metadata(server)
    assert body == b"*** and ***\n"
    assert secret not in json.dumps(members)


def terminal(server, *command, **options):
    return pexpect.spawn(
        str(BIN / "loom"),
        ["run", "--server", server.url, "s", "--", *command],
        env=environment() | {"TERM": "xterm"},
        timeout=20,
        **options,
    )


async def ended(spawned):
    await asyncio.to_thread(spawned.expect, pexpect.EOF)
    await asyncio.to_thread(spawned.wait)
    return spawned.exitstatus


async def test_on_a_terminal_the_command_has_a_terminal_of_the_same_size():
    script = "import os, sys; print(sys.stdin.isatty(), sys.stdout.isatty(), *os.get_terminal_size())"
    async with served() as server:
        spawned = terminal(server, sys.executable, "-c", script, dimensions=(33, 99))
        await asyncio.to_thread(spawned.expect, "True True 99 33")
        assert await ended(spawned) == 0
        assert (await metadata(server))[0] == b"True True 99 33\r\n"


async def test_a_change_of_the_window_size_is_forwarded():
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    async with served() as server:
        spawned = terminal(server, "sh", "-c", script)
        await asyncio.to_thread(spawned.expect, "ready")
        spawned.setwinsize(44, 111)
        await asyncio.to_thread(spawned.expect, "44 111")
        assert await ended(spawned) == 0


async def test_keys_reach_the_command_and_ctrl_c_interrupts_it_alone():
    async with served() as server:
        loop = "while :; do sleep 0.05; done"
        script = f"trap 'echo stopped; exit 7' INT; echo ready; read line; echo got $line; {loop}"
        spawned = terminal(server, "sh", "-c", script)
        await asyncio.to_thread(spawned.expect, "ready")
        spawned.sendline("keys")
        await asyncio.to_thread(spawned.expect, "got keys")
        spawned.sendcontrol("c")
        await asyncio.to_thread(spawned.expect, "stopped")
        assert await ended(spawned) == 7
        assert (await metadata(server))[1]["exit_code"] == 7


async def test_ctrl_c_interrupts_the_command_even_if_we_ignore_it():
    async with served() as server:
        ignoring = 'trap "" INT QUIT; exec "$@"'
        env = environment() | {"LOOM_SERVER": server.url}
        arguments = ["-c", ignoring, "sh", str(BIN / "loom"), "run", "s", "--", "sh", "-c"]
        arguments.append("trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done")
        spawned = pexpect.spawn("/bin/sh", arguments, env=env, timeout=20)
        await asyncio.to_thread(spawned.expect, "ready")
        spawned.sendcontrol("c")
        assert await ended(spawned) == 7


async def test_ctrl_z_stops_the_command_and_us_until_fg(tmp_path):
    script = f"echo ready; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo late"
    async with served() as server:
        env = environment() | {"LOOM_SERVER": server.url, "PS1": "shell: ", "TERM": "dumb"}
        shell = pexpect.spawn("bash", ["--norc", "-i"], env=env, timeout=20)
        shell.sendline(f"{BIN / 'loom'} run s -- sh -c '{script}'")
        await asyncio.to_thread(shell.expect, "ready\r")
        shell.sendcontrol("z")
        await asyncio.to_thread(shell.expect, "Stopped.*shell: ")
        (tmp_path / "go").touch()
        with pytest.raises(pexpect.TIMEOUT):
            await asyncio.to_thread(shell.expect, "late\r", timeout=1)
        shell.sendline("fg")
        await asyncio.to_thread(shell.expect, "late\r.*shell: ")
        shell.sendline("exit $?")
        assert await ended(shell) == 0
        assert (await metadata(server))[0] == b"ready\r\nlate\r\n"


@pytest.mark.parametrize(("command", "code"), [(["no-such-command"], 127), (["/"], 126)])
async def test_a_command_that_cannot_be_run_has_the_exit_code_of_shells(command, code):
    ended, _, err = await run("loom", "run", "s", "--", *command)
    assert (ended, err.count("\n")) == (code, 1)


@pytest.mark.parametrize("arguments", [[], ["s"], ["s", "--"], ["s", "true"]])
async def test_wrong_arguments_are_reported(arguments):
    assert (await run("loom", "run", *arguments))[0] == USAGE

"""`loom run`: the command runs as usual, and its output becomes a stream."""

import asyncio
import json
import re
import signal
import socket
import sys
import time

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
            "loom", "run", "-q", "--server", server.url, "--meta", "a=b", "s", "--", "sh", "-c", script
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
    assert err.splitlines()[-1].startswith("loom run: The output is not stored: ")


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


def terminal(server, *command, options=(), **spawning):
    return pexpect.spawn(
        str(BIN / "loom"),
        ["run", "--server", server.url, *options, "s", "--", *command],
        env=environment() | {"TERM": "xterm"},
        timeout=20,
        **spawning,
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


async def test_page_and_result_are_reported_around_the_output():
    async with served() as server:
        page = f"{server.url}/ui/stream/s"
        code, out, err = await run(
            "loom", "run", "--server", server.url, "s", "--", "sh", "-c", "echo out; exit 3"
        )
        assert (code, out) == (3, "out\n")
        assert re.fullmatch(rf"→ {page}\nloom run: failure \(exit code 3\), 4B in .+ → {page}\n", err)


@pytest.mark.parametrize("spool", [False, True])
async def test_a_taken_id_is_reported_before_and_after_the_command_which_still_runs(spool, tmp_path):
    async with served() as server:
        start = ["run", "--server", server.url, *(["--spool", tmp_path] if spool else [])]
        command = ["s", "--", "sh", "-c", "echo out >&2; exit 4"]
        assert (await run("loom", *start, *command))[0] == 4
        code, _, err = await run("loom", *start, *command)
        before, shown, after = err.splitlines()
        assert (code, shown) == (4, "out")
        for line in (before, after):
            assert "use --force to replace it, or --new-id" in line
        assert "not stored" in after
        assert (await run("loom", *start, "--new-id", *command))[0] == 4
        for id in ("s", "s-2"):
            assert (await metadata(server, id))[0] == b"out\n"
        assert (await server.get("/stream/s-3"))[0].status == 404


async def test_a_server_that_does_not_answer_delays_the_command_by_a_second_at_most(listener):
    began = time.monotonic()
    async with program("loom", "run", "--server", listener.url, "s", "--", "echo", "out") as process:
        assert await process.line() == "out\n"
        assert time.monotonic() - began < 5


async def test_without_a_pty_the_stored_bytes_are_those_of_a_pipe():
    async with served() as server:
        spawned = terminal(server, "sh", "-c", "test -t 1 || echo pipe", options=["--no-pty"])
        assert await ended(spawned) == 0
        assert (await metadata(server))[0] == b"pipe\n"


def job_control(server, command):
    """Start an interactive shell on a terminal, and in it `loom run` of this command, in the background."""
    env = environment() | {"LOOM_SERVER": server.url, "PS1": "shell: ", "TERM": "dumb"}
    shell = pexpect.spawn("bash", ["--norc", "-i"], env=env, timeout=20, echo=False)
    shell.expect("shell: ")
    shell.sendline(f"{BIN / 'loom'} run s -- {command} &")
    return shell


async def test_in_the_background_the_command_runs_and_the_shell_keeps_the_keys():
    async with served() as server:
        shell = await asyncio.to_thread(job_control, server, "sh -c 'sleep 0.5; echo late'")
        shell.sendline("echo typed")
        await asyncio.to_thread(shell.expect, "typed\r")
        await asyncio.to_thread(shell.expect, "late\r")
        shell.sendline("wait; stty -a; exit $?")
        await asyncio.to_thread(shell.expect, " icanon ")
        assert await ended(shell) == 0
        assert (await metadata(server))[0] == b"late\r\n"


async def test_a_job_gets_the_keys_with_fg_and_loses_them_with_bg(tmp_path):
    script = (
        f"echo ready; read word; echo got $word; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo late"
    )
    async with served() as server:
        shell = await asyncio.to_thread(job_control, server, f'sh -c "{script.replace("$", chr(92) + "$")}"')
        await asyncio.to_thread(shell.expect, "ready\r")
        shell.sendline("fg")
        await asyncio.to_thread(shell.expect, "loom run s")
        shell.sendline("key")
        await asyncio.to_thread(shell.expect, "got key\r")
        shell.sendcontrol("z")
        await asyncio.to_thread(shell.expect, "Stopped.*shell: ")
        shell.sendline("bg")
        shell.sendline("echo typed; jobs")
        await asyncio.to_thread(shell.expect, "typed\r.*Running")
        (tmp_path / "go").touch()
        await asyncio.to_thread(shell.expect, "late\r")
        shell.sendline("wait; exit $?")
        assert await ended(shell) == 0
        assert (await metadata(server))[1]["exit_code"] == 0


@pytest.mark.parametrize(("command", "code"), [(["no-such-command"], 127), (["/"], 126)])
async def test_a_command_that_cannot_be_run_has_the_exit_code_of_shells_and_a_stream_that_says_so(
    command, code
):
    async with served() as server:
        ended, _, err = await run("loom", "run", "-q", "--server", server.url, "s", "--", *command)
        assert (ended, err.count("\n")) == (code, 1)
        body, members = await metadata(server)
        assert (body.decode(), members["exit_code"]) == (err, code)


@pytest.mark.parametrize("arguments", [[], ["s"], ["s", "--"], ["s", "true"]])
async def test_wrong_arguments_are_reported(arguments):
    assert (await run("loom", "run", *arguments))[0] == USAGE

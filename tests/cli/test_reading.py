"""`loom cat`, `tail`, `ls`, `show`, `rm` and `spy` as real programs, on terminals where that matters."""

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import PIPE

import pexpect
import pytest
from tests.network.conftest import between
from tests.support.program import BIN, environment, program, run
from tests.support.proxy import Storm
from tests.support.running import Loom
from tests.support.server import until

from loom.cli import exit_codes
from loom.model import NewStream, Query, State

__all__ = ["between"]

UNREACHABLE = (
    "http://127.0.0.1:1 cannot be reached: no program listens there. Start a server with `loom serve`, or "
    "name another with --server or in LOOM_SERVER."
)


@pytest.fixture
def store_kind():
    return "memory"


@pytest.fixture
def env(loom: Loom, tmp_path):
    return {"LOOM_SERVER": loom.url, "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm"}


@pytest.fixture
async def terminal(env):
    """Start programs, each on its own terminal."""
    children = []

    def start(*arguments, **more):
        child = pexpect.spawn(
            str(BIN / "loom"),
            list(arguments),
            env=environment() | env | more,
            timeout=20,
            dimensions=(24, 200),
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


async def shown(child):
    """Return all that a program on a terminal writes, and its exit code."""

    def rest():
        text = child.read()
        child.wait()
        return text, child.exitstatus

    return await asyncio.to_thread(rest)


async def expect(child, pattern):
    await asyncio.to_thread(child.expect, pattern)


async def cat(env, *arguments):
    async with program("loom", "cat", *arguments, env=env) as running:
        out, err = await running._process.communicate()
        return (await running.ended())[0], out, err.decode()


async def bash(script, env):
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), env=environment() | env, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out, err


async def test_cat_writes_every_byte(loom: Loom, env):
    data = os.urandom(300_000)
    await loom.stored("/stream/a/b", data)
    assert await cat(env, "a/b") == (0, data, "")
    assert await cat(env, "--range", "10-19", "a/b") == (0, data[10:20], "")
    assert await cat(env, "--range=-7", "a/b") == (0, data[-7:], "")
    assert await cat(env, "--offset=-9", "a/b") == (0, data[-9:], "")
    assert await cat(env, "-n", "--offset=299990", "a/b") == (0, data[-10:], "")


async def test_cat_resumes_at_the_byte_where_the_network_failed(loom: Loom, env, between):
    data = os.urandom(2 << 20)
    await loom.stored("/stream/a", data)
    storm = Storm(11, cuts=30, up=100_000, down=300_000, stalls=0)
    proxy = await between(loom, storm)
    for _ in range(3):
        code, out, err = await cat(env | {"LOOM_SERVER": proxy.url}, "a")
        if code != exit_codes.LOST:  # the very first request may be cut
            assert (code, err) == (0, "")
            assert out == data
    assert storm.cuts


async def test_cat_continues_a_file_and_compares_all_of_it(loom: Loom, env, tmp_path):
    data, file = os.urandom(300_000), tmp_path / "file"
    await loom.stored("/stream/a", data)
    whole = ["-o", str(file), "-c", "a"]
    for there in (None, b"", data[:123_456], data):
        if there is not None:
            file.write_bytes(there)
        assert await cat(env, *whole) == (0, b"", "")
        assert file.read_bytes() == data
    file.write_bytes(b"x" + data[1:1000])
    code, _, err = await cat(env, *whole)
    assert (code, "digest" in err) == (exit_codes.OUTPUT, True)
    file.write_bytes(data + b"more")
    code, _, err = await cat(env, *whole)
    assert (code, "not the beginning of this stream" in err) == (exit_codes.OUTPUT, True)
    assert file.read_bytes() == data + b"more"


async def test_cat_continues_a_file_while_the_stream_grows(loom: Loom, env, tmp_path):
    file = tmp_path / "file"
    producer = await loom.live("/stream/a", b"one\ntwo\n")
    file.write_bytes(b"one\n")
    async with program("loom", "cat", "-c", "-o", file, "a", env=env) as running:
        await until("the file has all stored bytes", lambda: file.read_bytes() == b"one\ntwo\n")
        await producer.chunk(b"three\n")
        await producer.chunk(b"")
        assert await running.ended() == (0, "")
    assert file.read_bytes() == b"one\ntwo\nthree\n"


async def test_cat_keeps_the_old_content_of_a_file_until_it_has_new_bytes(loom: Loom, env, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    assert (await cat(env, "-o", str(file), "none"))[0] == exit_codes.NOT_FOUND
    assert file.read_bytes() == b"before"
    await loom.stored("/stream/a", b"")
    assert await cat(env, "-o", str(file), "a") == (0, b"", "")
    assert file.read_bytes() == b""
    code, _, err = await cat(env, "-o", str(tmp_path / "no" / "file"), "a")
    assert (code, err) == (
        exit_codes.OUTPUT,
        "loom cat: The output could not be written: No such file or directory.\n",
    )


async def test_cat_follows_a_live_stream_to_its_end(loom: Loom, env):
    producer = await loom.live("/stream/a", b"one\n")
    assert await cat(env, "-n", "a") == (0, b"one\n", "")
    async with program("loom", "cat", "a", env=env) as running:
        assert await running.line() == "one\n"
        await producer.chunk(b"two\n")
        assert await running.line() == "two\n"
        await producer.chunk(b"")
        assert await running.ended() == (0, "")


@pytest.mark.parametrize("command", ["cat", "tail"])
async def test_an_aborted_stream_has_its_own_exit_code(serve, env, command):
    loom = await serve(resume_window=0)
    await (await loom.live("/stream/a", b"half\n")).close()
    await loom.until("a", State.ABORTED)
    code, out, err = await run("loom", command, "a", env=env | {"LOOM_SERVER": loom.url})
    assert (code, out) == (exit_codes.ABORTED, "half\n")
    assert err.startswith(f"loom {command}: The stream a was aborted after 5 bytes: ")


@pytest.mark.parametrize("command", ["cat", "tail", "show", "rm"])
async def test_a_stream_that_does_not_exist_is_reported(loom: Loom, env, command):
    code, out, err = await run("loom", command, "none", env=env)
    assert (code, out) == (exit_codes.NOT_FOUND, "")
    assert err == f"loom {command}: The stream with ID none does not exist.\n"


@pytest.mark.parametrize("command", [["cat", "a"], ["tail", "a"], ["ls"], ["spy"], ["tail", "--prefix", "a"]])
async def test_a_server_that_cannot_be_reached_is_reported_at_once(env, command):
    code, _, err = await run("loom", *command, env=env | {"LOOM_SERVER": "http://127.0.0.1:1"})
    assert code == exit_codes.LOST
    assert err == f"loom {command[0]}: {UNREACHABLE}\n"


async def test_an_invalid_setting_is_reported_with_its_source(env):
    code, _, err = await run("loom", "ls", env=env | {"LOOM_SERVER": "nowhere"})
    assert code == exit_codes.USAGE
    assert "'nowhere' in the environment variable LOOM_SERVER is not a URL" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["cat", "--range", "9-1", "a"],
        ["cat", "--range", "x", "a"],
        ["cat", "--range", "0-", "--offset", "1", "a"],
        ["cat", "a//b"],
        ["tail"],
        ["tail", "a", "--prefix", "b"],
        ["tail", "a", "--grep", "("],
        ["ls", "--meta", "x"],
        ["rm"],
        ["rm", "--prefix", "a", "a"],
        ["ls", "--state", "foo"],
        ["ls", "--state", "live,foo"],
        ["tail", "--since", "abc", "a"],
        ["rm", "--prefix", "a"],
    ],
    ids=" ".join,
)
async def test_wrong_arguments_have_their_own_exit_code(loom: Loom, env, arguments):
    await loom.stored("/stream/a", b"")
    code, out, err = await run("loom", *arguments, env=env)
    assert (code, out) == (exit_codes.USAGE, "")
    assert err


async def test_binary_is_refused_on_a_terminal(loom: Loom, terminal):
    await loom.stored("/stream/a", b"\x7fELF\0\x1b]0;x\x07")
    text, code = await shown(terminal("cat", "a"))
    assert code == exit_codes.USAGE
    assert text == (
        b"loom cat: The stream a is binary, and this is a terminal: send it to a file or a program, or use "
        b"--force.\r\n"
    )
    assert await shown(terminal("cat", "--force", "a")) == (b"\x7fELF\0\x1b]0;x\x07", 0)
    for more in ([], ["a", "--grep", "x"]):
        text, code = await shown(terminal("tail", "a", *more))
        assert (code, b"is binary, and this is a terminal" in text) == (exit_codes.USAGE, True)
    assert await shown(terminal("tail", "--raw", "a")) == (b"\x7fELF\0\x1b]0;x\x07", 0)


@pytest.mark.parametrize("command", [["cat"], ["tail"], ["tail", "--grep", "."]])
async def test_on_a_terminal_colours_pass_and_titles_do_not(loom: Loom, terminal, command):
    await loom.stored("/stream/a", b"\x1b[31mred\x1b[0m\x1b]0;title\x07\n")
    text, code = await shown(terminal(*command, "a", NO_COLOR="1"))
    assert (text, code) == (b"\x1b[31mred\x1b[0m\r\n", 0)


async def test_progress_bars_overwrite_neither_names_nor_the_lines_before(loom: Loom, terminal):
    await loom.stored("/stream/a", b"1%\r\x1b[K99%\r\x1b[1Adone\n")
    assert await shown(terminal("tail", "a", NO_COLOR="1")) == (b"1%\r\x1b[K99%\rdone\r\n", 0)
    await loom.stored("/stream/longer", b"text\n")
    text, _ = await shown(terminal("tail", "a", "longer", NO_COLOR="1"))
    assert sorted(text.splitlines()) == [b"a      | done", b"longer | text"]


async def test_tail_starts_at_the_last_lines_and_ends_with_the_stream(loom: Loom, env):
    data = "".join(f"{number}\n" for number in range(1, 31))
    producer = await loom.live("/stream/a", data.encode())
    async with program("loom", "tail", "-n", "2", "a", env=env) as running:
        assert [await running.line(), await running.line()] == ["29\n", "30\n"]
        await producer.chunk(b"no line end yet")
        await producer.chunk(b"")
        assert await running.line() == "no line end yet"
        assert await running.ended() == (0, "")
    code, out, _ = await run("loom", "tail", "a", env=env)
    assert (code, out.splitlines()) == (0, [*map(str, range(22, 31)), "no line end yet"])


@pytest.mark.parametrize("command", ["cat", "tail"])
async def test_wait_shows_a_later_stream_from_its_start(loom: Loom, env, command):
    data = "".join(f"{number}\n" for number in range(100))
    async with program("loom", command, "--wait", "later", env=env) as running:
        for _ in range(2):
            await loom.logged(event="request", status=404)
        producer = await loom.live("/stream/later", data.encode())
        assert [await running.line() for _ in range(100)] == data.splitlines(keepends=True)
        await producer.chunk(b"end")
        await producer.chunk(b"")
        assert await running.line() == "end"
        assert await running.ended() == (0, "")


async def test_wait_ends_with_a_stream_that_is_deleted(loom: Loom, env):
    await loom.live("/stream/a", b"one\n")
    async with program("loom", "tail", "--wait", "a", env=env) as running:
        assert await running.line() == "one\n"
        await loom.ask("DELETE", "/stream/a")
        assert (await running.ended())[0] in (exit_codes.NOT_FOUND, exit_codes.CONFLICT)


async def test_tail_of_several_streams_shows_their_names(loom: Loom, env, terminal):
    await loom.stored("/stream/a", b"one\nerror\n")
    await loom.stored("/stream/b", b"two\nerror\nend")
    code, out, err = await run("loom", "tail", "a", "b", "none", env=env)
    both = ["a    | error", "a    | one", "b    | end", "b    | error", "b    | two"]  # as wide as "none"
    assert sorted(out.splitlines()) == both
    assert (code, err) == (exit_codes.NOT_FOUND, "loom tail: none: The stream with ID none does not exist.\n")
    # The worst of all, not that of the last one.
    code, _, _ = await run("loom", "tail", "a", "none", "b", env=env)
    assert code == exit_codes.NOT_FOUND
    _, out, _ = await run("loom", "tail", "--grep", "^e.d|one", "a", "b", env=env)
    assert sorted(out.splitlines()) == ["a | one", "b | end"]
    text, _ = await shown(terminal("tail", "a", "b"))
    assert b"\x1b[36ma\x1b[0m | one\r\n" in text


async def test_tail_of_a_prefix_includes_new_streams(loom: Loom, env):
    await loom.stored("/stream/b/old", b"old\n")
    first = await loom.live("/stream/b/1", b"one\n")
    async with program("loom", "tail", "--prefix", "b/", env=env) as running:
        assert await running.line() == "b/1 | one\n"
        await loom.stored("/stream/c/1", b"other\n")
        await loom.live("/stream/b/2", b"two\n")
        assert await running.line() == "b/2 | two\n"
        await first.chunk(b"end\n")
        assert await running.line() == "b/1 | end\n"
        running.signal(signal.SIGINT)
        assert await running.ended() == (exit_codes.INTERRUPTED, "")


async def test_a_closed_output_ends_the_command(loom: Loom, env):
    await loom.live("/stream/a", b"one\n")
    for command in ("tail", "cat"):
        script = f"set -o pipefail; {BIN / 'loom'} {command} a | head -n 1"
        code, out, err = await bash(script, env)
        assert (code, out, err) == (exit_codes.BROKEN_PIPE, b"one\n", b"")


async def test_a_full_disk_is_reported(loom: Loom, env):
    await loom.stored("/stream/a", b"bytes")
    code, _, err = await bash(f"exec {BIN / 'loom'} cat a > /dev/full", env)
    assert code == exit_codes.OUTPUT
    assert err == b"loom cat: The output could not be written: No space left on device.\n"


async def test_ls_lists_for_people_and_for_scripts(loom: Loom, env):
    await loom.stored("/stream/b/1", b"x" * 2048, x_stream_metadata='{"commit": "3f2a", "exit_code": 2}')
    await loom.live("/stream/b/%E2%80%AE%20b")
    await loom.stored("/stream/a", b"")
    code, out, err = await run("loom", "ls", env=env)
    assert (code, err) == (0, "")
    assert re.sub(r"\d\.\ds", "0.0s", out).splitlines() == [
        "STATE     OUTCOME  SIZE   AGE  ID",
        "complete  -          0B  0.0s  a",
        "live      -          0B  0.0s  b/\\u202e b",
        "complete  failure  2KiB  0.0s  b/1",
    ]
    _, out, _ = await run("loom", "ls", "b/", "--meta", "commit=3f2a", "--json", env=env)
    (row,) = map(json.loads, out.splitlines())
    assert (row["id"], row["size"], row["outcome"]) == ("b/1", 2048, "failure")
    for filters in (["--state", "live,open", "-n", "5"], ["--outcome", "failure"]):
        _, out, _ = await run("loom", "ls", *filters, env=env)
        assert out.count("\n") == 2
    for arguments, message in (
        (["none/"], "No stream matches."),
        (["--state", "open"], "No stream matches."),
    ):
        assert await run("loom", "ls", *arguments, env=env) == (0, "", f"{message}\n")


async def test_ls_shows_the_newest_and_how_many_more_there_are(loom: Loom, env):
    for number in range(54):
        await loom.stored(f"/stream/{number}", b"")
    _, out, err = await run("loom", "ls", env=env)
    ids = [line.split()[-1] for line in out.splitlines()[1:]]
    assert (ids, err) == ([str(number) for number in range(53, 3, -1)], "… 4 more (--limit)\n")
    _, out, err = await run("loom", "ls", "-n", "2", env=env)
    assert (out.count("\n"), err) == (3, "… 52 more (--limit)\n")
    _, out, err = await run("loom", "ls", "-n", "2", "--state", "complete", "5", env=env)
    assert (out.count("\n"), err) == (3, "… 3 more (--limit)\n")
    _, out, err = await run("loom", "ls", "--json", env=env)
    assert (out.count("\n"), err) == (54, "")


async def test_ls_counts_more_streams_than_the_server_lists_at_once(loom: Loom, env):
    for number in range(1100):
        await loom.store.create(NewStream(id=f"{number}"))
    _, out, err = await run("loom", "ls", env=env)
    assert (out.count("\n"), err) == (51, "… 1,050 more (--limit)\n")


async def test_on_a_terminal_ls_cuts_long_ids_in_the_middle(loom: Loom, terminal):
    await loom.stored(f"/stream/begin{'x' * 190}end", b"", x_stream_metadata='{"outcome": "success"}')
    text, _ = await shown(terminal("ls"))
    _, line = text.decode().splitlines()
    plain = re.sub(r"\x1b\[\d*m", "", line)
    assert len(plain) == 200
    assert re.fullmatch(r"complete  success .+ beginx+…x+end", plain)
    assert "\x1b[32msuccess" in line


async def test_show_prints_the_facts_of_a_stream(loom: Loom, env):
    await loom.stored(
        "/stream/a",
        b"12345",
        x_stream_metadata='{"evil": "\\u001b[2J", "exit_code": 3}',
        content_type="text/plain",
    )
    code, out, _ = await run("loom", "show", "a", env=env)
    assert code == 0
    facts = ("id:        a", "state:     complete", "outcome:   failure (exit code 3)", "size:      5 bytes")
    for line in (*facts, f"page:      {loom.url}/ui/stream/a", r'    "evil": "\u001b[2J",'):
        assert f"{line}\n" in out
    _, out, _ = await run("loom", "show", "--json", "a", env=env)
    assert json.loads(out)["metadata"]["evil"] == "\x1b[2J"


async def test_show_has_one_format_for_times_and_units_for_large_sizes(loom: Loom, env):
    await loom.stored("/stream/a", b"x" * 2048)
    _, out, _ = await run("loom", "show", "a", env=env)
    assert "size:      2048 bytes (2KiB)\n" in out
    for name in ("created", "ended"):
        assert re.search(rf"^{name}: +\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ls", "--state", "lve"], "'lve' is not one of live, interrupted, open, complete, aborted."),
        (
            ["ls", "--limit", "0"],
            "Invalid value for '--limit' / '-n': '0' is not a whole number of 1 or more.",
        ),
        (["cat", "--offset", "x", "a"], "'x' is not a number of bytes such as 1000 or -1000."),
        (["cat", "a//b"], "Invalid value for ID: The stream ID has a segment between slashes that is empty"),
        (["ls", "--outcome", "fail"], "'fail' is not one of success, failure, cancelled, skipped."),
        (["tail", "--since", "abc", "a"], "'abc' is not a time like 10m, 2h or 2026-01-31T12:00:00Z."),
        (["share", "a", "--expires", "9000d"], "'9000d' is not from 1s to 366d."),
        (["rm", "--prefix", "x", "a"], "Give the IDs of streams or --prefix, not both."),
        (["doctor", "foo"], "Invalid value for URL: 'foo' is not a URL such as http://localhost:3060."),
        (["doctor", "http://127.0.0.1:1", "--server", "http://x"], "Give URL or --server, not both."),
        (["token", "revoke", "zz"], "This text is not a signed token, a link or the id of a token."),
    ],
)
async def test_wrong_arguments_are_found_before_any_request(arguments, sentence):
    code, out, err = await run("loom", *arguments, env={"LOOM_SERVER": "http://127.0.0.1:1"})
    assert (code, out) == (exit_codes.USAGE, "")
    assert sentence in err


async def test_advice_names_options(loom: Loom, serve, env):
    await loom.stored("/stream/a", b"")
    _, _, err = await run("loom", "push", "a", env=env)
    assert "use --force to replace it, or --new-id to take another id" in err
    secured = await serve(tokens=["token-of-the-test"])
    at = env | {"LOOM_SERVER": secured.url}
    code, _, err = await run("loom", "ls", env=at)
    assert (code, err) == (
        exit_codes.UNAUTHORIZED,
        "loom ls: The server needs a token: give one with --token or in LOOM_TOKEN.\n",
    )
    _, _, err = await run("loom", "tail", "a", "b", env=at | {"LOOM_TOKEN": "wrong"})
    assert err.count(" Give a valid token with --token or in LOOM_TOKEN.\n") == 2


async def test_doctor_reports_an_unreachable_server_as_other_commands_do(env):
    code, _, err = await run("loom", "doctor", "http://user:hidden@127.0.0.1:1", env=env)
    assert (code, err) == (exit_codes.LOST, f"loom doctor: {UNREACHABLE}\n")


async def test_rm_deletes_ids_or_a_prefix(loom: Loom, env, terminal):
    for id in ("a", "b/1", "b/2", "c"):
        await loom.stored(f"/stream/{id}", b"")
    assert (await run("loom", "rm", "a", env=env))[0] == 0
    assert (await run("loom", "rm", "--prefix", "b/", "--dry-run", env=env))[:2] == (
        0,
        "2 streams begin with 'b/'.\n",
    )
    assert (await run("loom", "rm", "--prefix", "b/2", "--dry-run", env=env))[1] == (
        "1 stream begins with 'b/2'.\n"
    )
    child = terminal("rm", "--prefix", "b/")
    await expect(child, "Delete 2 streams that begin with 'b/' permanently")
    child.sendline("n")
    assert (await shown(child))[1] == exit_codes.REFUSED
    assert (await run("loom", "rm", "--prefix", "b/", "--yes", env=env))[:2] == (0, "2 streams deleted.\n")
    assert [each.id async for each in loom.store.find(Query())] == ["c"]


async def test_spy_shows_sent_bytes(loom: Loom, env):
    async with program("loom", "spy", env=env) as running:
        seen = ""
        while not seen:  # joining prints nothing
            await loom.stored("/stream/a?force=true", b"bytes\n")
            try:
                seen = await asyncio.wait_for(running.line(), 0.3)
            except TimeoutError:
                continue
        assert seen in ("START: a\n", "END: a\n", "a:\n", "bytes\n")
        running.signal(signal.SIGINT)
        assert (await running.ended())[0] == exit_codes.INTERRUPTED


async def test_ids_are_completed_for_the_shell(loom: Loom, env):
    for id in ("build/1", "build/2", "c"):
        await loom.stored(f"/stream/{id}", b"")
    asked = env | {"_LOOM_COMPLETE": "bash_complete", "COMP_WORDS": "loom cat bu", "COMP_CWORD": "2"}
    assert (await run("loom", env=asked))[1].split() == ["plain,build/2", "plain,build/1"]
    assert (await run("loom", env=asked | {"LOOM_SERVER": "http://127.0.0.1:1"}))[1:] == ("\n", "")


async def test_a_progress_bar_is_shown_on_a_terminal(loom: Loom, env, tmp_path):
    producer = await loom.live("/stream/a", b"x" * 1000)
    target = tmp_path / "out"
    child = pexpect.spawn(
        "bash", ["-c", f"exec {BIN / 'loom'} cat a > {target}"], env=environment() | env, timeout=20
    )

    async def send():
        while True:  # the bar appears with the first bytes after a second
            await producer.chunk(b"y" * 1000)
            await asyncio.sleep(0.1)

    sending = asyncio.create_task(send())
    await expect(child, r"\d kB")
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await producer.chunk(b"")
    assert (await shown(child))[1] == 0
    assert target.stat().st_size == (await loom.service.info("a")).size

"""`loom grep` as a real program."""

import json

import pytest
from tests.cli.test_reading import env, shown, terminal
from tests.support.program import program
from tests.support.running import Loom

from loom.cli import exit_codes

__all__ = ["env", "terminal"]

LOG = b"start\nfirst error\nfine\nfine\nfine\nfine\nsecond Error\nend\n"


@pytest.fixture
def store_kind():
    return "memory"


async def grep(env, *arguments):
    async with program("loom", "grep", *arguments, env=env) as running:
        out, err = await running._process.communicate()
        return (await running.ended())[0], out.decode(), err.decode()


async def test_writes_lines_as_grep_does(loom: Loom, env):
    await loom.stored("/stream/a", LOG)
    assert await grep(env, "a", "error") == (0, "first error\n", "")
    assert await grep(env, "-in", "a", "ERROR") == (0, "2:first error\n7:second Error\n", "")
    code, out, _ = await grep(env, "-n", "-i", "-C1", "a", "error")
    assert (code, out) == (
        0,
        "1-start\n2:first error\n3-fine\n--\n6-fine\n7:second Error\n8-end\n",
    )
    assert (await grep(env, "-B1", "-A", "0", "a", "first"))[1] == "start\nfirst error\n"
    assert (await grep(env, "-m1", "a", "fine"))[1] == "fine\n"
    assert (await grep(env, "-c", "a", "fine"))[:2] == (0, "4\n")
    assert (await grep(env, "-q", "a", "fine"))[:2] == (0, "")
    assert (await grep(env, "--line", "4", "-c", "a", "fine"))[1] == "3\n"
    code, out, _ = await grep(env, "-t", "a", "first")
    assert out.endswith("Z:first error\n")
    found = json.loads((await grep(env, "--json", "a", "first"))[1])
    assert (found["line"], found["offset"], found["text"]) == (2, 6, "first error")


async def test_the_exit_code_says_whether_a_line_matches(loom: Loom, env):
    await loom.stored("/stream/a", LOG)
    assert await grep(env, "a", "nothing") == (exit_codes.REFUSED, "", "")
    assert (await grep(env, "-c", "a", "nothing"))[:2] == (exit_codes.REFUSED, "0\n")
    code, _, err = await grep(env, "a", "(")
    assert (code, "parenthesis" in err) == (exit_codes.USAGE, True)
    assert (await grep(env, "none", "x"))[0] == exit_codes.NOT_FOUND
    assert (await grep(env, "-C", "101", "a", "x"))[0] == exit_codes.USAGE
    producer = await loom.live("/stream/b", b"no\n", stream_resume_window="0")
    await producer.close()
    code, _, err = await grep(env, "b", "yes")
    assert (code, "aborted" in err) == (exit_codes.ABORTED, True)


async def test_follows_a_live_stream_unless_told_not_to(loom: Loom, env):
    producer = await loom.live("/stream/a", b"hit 1\n")
    assert await grep(env, "--no-follow", "a", "hit") == (0, "hit 1\n", "")
    async with program("loom", "grep", "a", "hit", env=env) as running:
        assert await running.line() == "hit 1\n"
        await producer.chunk(b"miss\nhit 2\n")
        assert await running.line() == "hit 2\n"
        await producer.chunk(b"")
        assert await running.ended() == (0, "")


async def test_marks_matches_on_a_terminal_and_lets_nothing_control_it(loom: Loom, terminal):
    await loom.stored("/stream/a", b"an error\nerror \x1b]0;title\x07 \x1b[2J\n")
    child = terminal("grep", "-n", "a", "error")
    text, code = await shown(child)
    first, second = text.decode().splitlines()
    assert first == "\x1b[32m1:\x1b[0man \x1b[1;31merror\x1b[0m"
    assert "title" not in second or "\x1b]" not in second
    assert "\x1b[2J" not in second
    assert code == 0

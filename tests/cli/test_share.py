"""`loom share` and `loom token` against a real server."""

import re

import pytest
from tests.cli.test_serve import served
from tests.support.program import run

from loom.cli.exit_codes import LOST, OK, UNAUTHORIZED, USAGE

ROOT = {"LOOM_TOKENS": "root-token-of-the-test"}


async def loom(server, *arguments, token="root-token-of-the-test"):
    env = {"LOOM_SERVER": server.url, "LOOM_TOKEN": token}
    return await run("loom", *arguments, env=env)


async def status(server, target, token, method="GET"):
    wire = await server.wire()
    await wire.request(method, target, b"" if method == "POST" else None, authorization=f"Bearer {token}")
    head = await wire.answer()
    await wire.close()
    return head.status


async def test_a_link_reads_one_stream(tmp_path):
    async with served(env=ROOT) as server:
        assert await status(server, "/stream/a%20b", "root-token-of-the-test", "POST") == 201
        code, out, _ = await loom(server, "share", "a b", "--expires", "1h")
        assert code == OK
        found = re.fullmatch(rf"{server.url}/ui/stream/a%20b#token=(\S+)\n", out)
        assert found
        assert await status(server, "/stream/a%20b", found[1]) == 200
        assert await status(server, "/stream/other", found[1]) == 404
        assert await status(server, "/stream/a%20b", found[1], "POST") == 403


async def test_a_token_writes_below_its_prefix_only():
    async with served(env=ROOT) as server:
        code, out, _ = await loom(server, "token", "--write", "--prefix", "job/", "--expires", "2h")
        assert code == OK
        assert await status(server, "/stream/job/1", out.strip(), "POST") == 201
        assert await status(server, "/stream/job/1?force", out.strip(), "POST") == 403
        assert await status(server, "/stream/else", out.strip(), "POST") == 403
        code, _, err = await loom(server, "token", "--read", "--prefix", "job/", token=out.strip())
        assert code == UNAUTHORIZED
        assert err.startswith("loom token: ")


async def test_a_server_without_tokens_makes_plain_links_and_no_tokens():
    async with served() as server:
        assert await loom(server, "share", "s") == (OK, f"{server.url}/ui/stream/s\n", "")
        assert (await loom(server, "token", "--read", "--prefix", ""))[0] == USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("share", "s", "--expires", "soon"),
        ("share", "a//b"),
        ("token", "--prefix", "a"),
        ("token", "--read"),
        ("token", "--read", "--id", "a", "--prefix", "a"),
    ],
)
async def test_wrong_arguments_are_refused_with_a_sentence(arguments):
    code, out, err = await run("loom", *arguments, env={"LOOM_SERVER": "http://127.0.0.1:1"})
    assert (code, out) == (USAGE, "")
    assert err.startswith(f"loom {arguments[0]}: ")


async def test_help_shows_both_usages_and_what_is_required():
    _, out, _ = await run("loom", "token", "--help")
    assert "Usage: loom token [OPTIONS] (--id ID | --prefix PREFIX)" in out
    assert "or: loom token revoke [OPTIONS] TOKEN|LINK|ID" in out
    assert "this or --id is required" in " ".join(out.split())


async def test_a_server_that_cannot_be_reached_is_reported():
    code, _, err = await run("loom", "share", "s", env={"LOOM_SERVER": "http://127.0.0.1:1"})
    assert code == LOST
    assert "cannot be reached" in err

"""A reload of the settings by SIGHUP: one that fails leaves the tokens in force that were there before."""

import json
import signal

import pytest
from tests.cli.test_serve import served

TOKENS = "tokens: [first-token-of-the-test]\n"
OTHERS = "tokens: [other-token-of-the-test]\n"


async def status(server, target, **headers):
    head, _ = await server.get(target, **headers)
    return head.status


async def reload(server, *, fails):
    """Reload the settings and wait for the log line that reports it."""
    server.process.signal(signal.SIGHUP)
    event = f"The tokens were {'not ' if fails else ''}reloaded."
    while json.loads(await server.process.log_line())["event"] != event:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tokens: []",
        "tokens:",
        "port: 3060",
        "tokens: [first-token-of-the-test",
        "tokens: 2026-13-45",
        "tokens: " + "[" * 5000,
        None,
    ],
    ids=["empty file", "no token", "null", "other settings", "no YAML", "no date", "deep", "no file"],
)
async def test_a_reload_that_finds_no_tokens_or_a_mistake_keeps_the_tokens(tmp_path, text):
    file = tmp_path / "loom.yaml"
    file.write_text(TOKENS)
    async with served("-c", file, "--log-format", "json") as server:
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        await reload(server, fails=True)
        assert await status(server, "/streams") == 401
        assert await status(server, "/streams", authorization="Bearer first-token-of-the-test") == 200
        _, health = await server.get("/healthz")
        assert json.loads(health)["reload"] == "failed"
        file.write_text(OTHERS)
        await reload(server, fails=False)
        assert await status(server, "/streams", authorization="Bearer first-token-of-the-test") == 401
        assert await status(server, "/streams", authorization="Bearer other-token-of-the-test") == 200
        _, health = await server.get("/healthz")
        assert "reload" not in json.loads(health)


async def test_host_checks_follow_a_reload_that_brings_tokens(tmp_path):
    file = tmp_path / "loom.yaml"
    file.write_text("port: 0")
    async with served("-c", file, "--log-format", "json") as server:
        assert await status(server, "/healthz", host="loom.example") == 421
        file.write_text(TOKENS)
        await reload(server, fails=False)
        assert await status(server, "/healthz", host="loom.example") == 200

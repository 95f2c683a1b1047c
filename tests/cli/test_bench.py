"""`loom bench` measures a real server and leaves no streams there."""

import json

from tests.cli.test_serve import served
from tests.support.program import run

from loom.cli.exit_codes import LOST, OK, UNAUTHORIZED

SMALL = ["--size", "2MiB", "--lines", "20", "--followers", "5"]


async def test_a_server_is_measured_and_no_stream_is_left():
    async with served() as server:
        code, out, err = await run("loom", "bench", "--json", *SMALL, env={"LOOM_SERVER": server.url})
        assert (code, err) == (OK, "")
        assert all(figure > 0 for figure in json.loads(out).values())
        code, out, _ = await run("loom", "bench", *SMALL, env={"LOOM_SERVER": server.url})
        assert "a line to all 5" in out
        _, body = await server.get("/streams")
        assert json.loads(body)["streams"] == []


async def test_a_lost_server_and_a_missing_token_have_their_exit_codes():
    assert (await run("loom", "bench", *SMALL, env={"LOOM_SERVER": "http://127.0.0.1:1"}))[0] == LOST
    async with served(env={"LOOM_TOKENS": "token-of-the-test"}) as server:
        assert (await run("loom", "bench", *SMALL, env={"LOOM_SERVER": server.url}))[0] == UNAUTHORIZED

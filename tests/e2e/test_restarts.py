"""Ten restarts under load: `loom push` and `loom tail` resume, and no byte is lost or repeated."""

import asyncio
import http.client
from asyncio.subprocess import PIPE

from tests.e2e.conftest import Serve
from tests.support.peers import soon
from tests.support.program import BIN, environment
from tests.support.server import until

RESTARTS = 10


def stored(port: int) -> int:
    """Return the number of durable bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("HEAD", "/stream/load")
    size = int(connection.getresponse().headers.get("upload-offset", "0"))
    connection.close()
    return size


async def test_push_and_tail_resume_through_ten_restarts(serve: Serve):
    server = await serve(shutdown_timeout=2)
    port = server.port
    env = {**environment(), "LOOM_SERVER": f"http://127.0.0.1:{port}"}

    async def loom(*words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(BIN / "loom"), *words, stdin=PIPE, stdout=PIPE, env=env, limit=1 << 20
        )

    push = await loom("push", "load")
    assert push.stdin
    sent = b"begin\n"
    push.stdin.write(sent)
    await until("the stream exists", lambda: stored(port) == len(sent))
    tail = await loom("tail", "load", "-n", "100")
    assert tail.stdout
    assert await soon(tail.stdout.readline()) == sent
    for number in range(RESTARTS):
        before = b"".join(b"%d before %d\n" % (number, line) for line in range(500))
        between = b"between %d\n" % number
        push.stdin.write(before)
        stopping = asyncio.create_task(server.stop())
        push.stdin.write(between)
        assert await stopping == 0
        server = await serve(port=port, shutdown_timeout=2)
        sent += before + between
        got = [await soon(tail.stdout.readline()) for _ in range(501)]
        assert b"".join(got) == before + between
    push.stdin.close()
    assert await soon(push.wait()) == 0
    rest, _ = await soon(tail.communicate())
    assert (rest, tail.returncode) == (b"", 0)
    assert sent.count(b"\n") == 1 + RESTARTS * 501

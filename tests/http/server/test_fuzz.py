"""Random requests, right and wrong, mean the same however they are split into segments."""

import asyncio
import random
import re

import pytest
from starlette.types import Receive, Scope, Send
from tests.http.server.support import CHUNKED_POST, GET, Dial, part, served, start

UPGRADE = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n"
WHOLE = [
    GET,
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\na\x00\r\n",
    CHUNKED_POST + b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    UPGRADE + b"Content-Length: 3\r\n\r\nabc",
    UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
]
PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b":", b"abc", b"0\r\n", b"0\r\n\r\n", b"3\r\nabc\r\n"),
    *(b"GET / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"POST /p HTTP/1.1\r\n", b"CONNECT x:1 HTTP/1.1\r\n"),
    *(b"Host: x\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Content-Length: 3\r\n", b"Expect: 100-continue\r\n", b"A: b\r\n c\r\n", b"PRI * HTTP/2.0\r\n\r\n"),
    CHUNKED_POST,
]


def sequence(draw: random.Random) -> bytes:
    """Return requests and pieces of requests, one byte in some of them changed."""
    data = b"".join(draw.choice(WHOLE if draw.random() < 0.6 else PIECES) for _ in range(draw.randint(1, 8)))
    if draw.random() < 0.3:
        changed = draw.randrange(len(data))
        data = data[:changed] + draw.randbytes(1) + data[changed + 1 :]
    return data


class Record:
    """An app that records each request and responds with its body."""

    def __init__(self) -> None:
        self.requests: list[tuple[object, ...]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message, body = await receive(), b""
        while message["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
            message = await receive()
        head = (scope[name] for name in ("method", "raw_path", "query_string", "http_version", "headers"))
        self.requests.append((*head, body, message["type"]))
        if message["type"] == "http.request":
            await send(start(200, [(b"content-length", b"%d" % len(body))]))
            await send(part(body, more=False))


async def exchange(dial: Dial, data: bytes, cuts: list[int]) -> list[bytes]:
    """Send `data` cut at these offsets, then end; return the status of each response."""
    client = await dial()
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        client.writer.write(data[begin:end])
        await asyncio.sleep(0)
    client.half_close()
    received = await client.ended()
    await client.close()
    # Whether a 100 is needed depends on how much of the body has arrived.
    return [status for status in re.findall(rb"HTTP/1\.1 (\d+) ", received) if status != b"100"]


@pytest.mark.parametrize("seed", range(4))
async def test_split_of_a_sequence_of_requests_changes_nothing(seed, lines):
    draw = random.Random(seed)
    app = Record()
    async with served(app) as dial:
        for _ in range(40):
            data = sequence(draw)
            some = sorted(draw.sample(range(len(data)), min(len(data), draw.randint(1, 9))))
            outcomes = []
            for cuts in ([], list(range(1, len(data))), some):
                app.requests.clear()
                outcomes.append((await exchange(dial, data, cuts), list(app.requests)))
            assert outcomes == [outcomes[0]] * 3, data
    assert {line["event"] for line in lines} <= {"request refused"}

"""Any bytes in any header that the service reads, over a socket: never a 5xx, and the server stays ready."""

import random
from collections import Counter

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.wire import Wire

from loom.http.service.openapi import document

NAMES = sorted(
    {each["name"] for each in document(4096)["components"]["parameters"].values() if each["in"] == "header"}
    | {"Accept", "Authorization", "Content-Type", "Content-Encoding", "Origin", "Via", "Expect"}
)
TARGETS = [
    ("GET", "/stream/done"),
    ("HEAD", "/stream/done"),
    ("POST", "/stream/{n}"),
    ("PATCH", "/stream/open"),
    ("DELETE", "/stream/none"),
    ("GET", "/streams"),
    ("HEAD", "/events"),
    ("HEAD", "/spy"),
    ("GET", "/openapi.json"),
]
ODD = [
    *(b"", b"?1", b"?0", b"0", b"-1", b"4", b"9" * 15, b"9" * 400, b"nan", b"bytes=0-", b"bytes=-0", b"*"),
    *(b'"a"', b'W/"a", "b"', b"{}", b'{"a":', b"[" * 2000, b"sha-256=:AAAA:", b"text/event-stream;q=x"),
    *(b"Sun, 06 Nov 1994 08:49:37 GMT", b"Mon, 31 Feb 0000 99:99:99 GMT", b"9999-12-31T23:59:59+00:00"),
    *(b"0001-01-01T00:00:00+23:59", b"a:1", b"1-0:99999999999999999", b"Bearer ", b"gzip", b"\xff\xfe\x80"),
]


def value(draw: random.Random) -> bytes:
    if draw.random() < 0.6:
        return draw.choice(ODD)
    allowed = [byte for byte in range(256) if byte >= 0x20 and byte != 0x7F]
    return bytes(draw.choices(allowed, k=draw.randrange(60)))


@ONE_STORE
@pytest.mark.parametrize("seed", range(4))
async def test_any_headers_are_answered_and_never_with_a_server_error(loom: Loom, seed: int):
    draw = random.Random(seed)
    await loom.stored("/stream/done", b"data\n" * 100)
    await loom.ask("POST", "/stream/open", b"data", upload_complete="?0")
    statuses: Counter[int] = Counter()
    for n in range(1500):
        method, target = draw.choice(TARGETS)
        names = draw.sample(NAMES, draw.randrange(1, 5))
        fields = b"".join(b"%b: %b\r\n" % (name.encode(), value(draw)) for name in names)
        line = f"{method} {target.format(n=n)} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n"
        wire = await Wire.open(loom.host, loom.port)
        await wire.send(line.encode() + fields + b"\r\ndata")
        head = await wire.answer()
        if head.status == 100:
            head = await wire.answer()
        statuses[head.status] += 1
        assert head.status < 500, (method, target, fields)
        await wire.close()
    assert {200, 201, 400, 404, 412, 415} <= statuses.keys()
    assert (await loom.ask("GET", "/readyz")).head.status == 200
    assert await (await loom.get("/stream/done")).body() == b"data\n" * 100

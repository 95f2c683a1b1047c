"""Client.grep against a real server, and against one that breaks off."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.client.conftest import QUICK
from tests.client.test_blocking import url
from tests.support.program import Listener
from tests.support.running import Loom

from loom.client import AsyncClient, Client, FoundLine, SearchEnd
from loom.client.errors import InvalidRequest, NotFound, Refused, Replaced

__all__ = ["url"]

LOG = b"hit 1\nmiss\nhit 2\nmiss\nmiss\nhit 3\n"


async def found(client: AsyncClient, pattern: str, **more: Any) -> tuple[list[FoundLine], SearchEnd]:
    *lines, end = [item async for item in client.grep("a", pattern, **more)]
    assert isinstance(end, SearchEnd)
    return [line for line in lines if isinstance(line, FoundLine)], end


async def test_returns_lines_then_the_end(loom: Loom, client: AsyncClient):
    await loom.stored("/stream/a", LOG)
    lines, end = await found(client, "HIT", ignore_case=True, after=1)
    assert [(line.line, line.context, line.text) for line in lines] == [
        *((1, False, "hit 1"), (2, True, "miss"), (3, False, "hit 2"), (4, True, "miss"), (6, False, "hit 3"))
    ]
    assert (end.ended, end.matches, end.state) == ("end", 3, "complete")
    assert [line.line for line in (await found(client, "hit", line=2, limit=1))[0]] == [3]


async def test_continues_where_the_server_reaches_its_limit(serve):
    loom = await serve(max_search_bytes="256KiB")
    lines = b"".join(b"line %d\n" % number for number in range(200_000))
    await loom.stored("/stream/a", lines)
    async with AsyncClient(loom.url, timeouts=QUICK) as client:
        hits, end = await found(client, "999$", before=1)
    assert [line.line for line in hits if not line.context] == list(range(1000, 200_001, 1000))
    assert (end.ended, end.matches) == ("end", 200)
    assert end.searched >= len(lines)


async def test_what_it_refuses(loom: Loom, client: AsyncClient):
    await loom.stored("/stream/a", LOG)
    with pytest.raises(Refused, match="parenthesis"):
        await found(client, "(")
    with pytest.raises(Replaced):
        await found(client, "hit", key="2a-5f3759df")
    with pytest.raises(InvalidRequest):
        await found(client, "hit", line=1, offset=0)
    await loom.ask("DELETE", "/stream/a")
    with pytest.raises(NotFound):
        await found(client, "hit")


async def test_a_live_stream_that_is_replaced_ends_with_an_error(loom: Loom, client: AsyncClient):
    await loom.live("/stream/a", b"hit\n")
    search = client.grep("a", "hit")
    assert isinstance(await anext(search), FoundLine)
    await loom.live("/stream/a?force=true", b"other hit\n")
    with pytest.raises(Replaced):
        await anext(search)


def response(*lines: dict[str, object], whole: bool = False) -> bytes:
    """Return a response with lines of JSON, cut after them unless it is whole."""
    texts = [json.dumps(line).encode() + b"\n" for line in lines]
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nx-stream-key: 2a-5f3759df\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(text), text) for text in texts)
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + body + (b"0\r\n\r\n" if whole else b"")


def hit(line: int, **more: object) -> dict[str, object]:
    return {"line": line, "offset": line * 10, "text": "hit", **more}


END = {"matches": 9, "searched": 5, "next": 90, "state": "complete", "size": 90, "reason": ""}


async def test_a_search_that_was_cut_continues_without_gap_or_repeat(listener: Listener):
    requests: list[str] = []

    async def serve() -> None:
        for answer in (
            response(hit(1), hit(2, context=True)),
            response(hit(1), hit(2, context=True), hit(3), {"searched": 40, "next": 50}),
            response(
                {"ended": "stopped", **END, "next": 60, "reason": "The server is stopping."}, whole=True
            ),
            response(hit(6), {"ended": "time", **END}, whole=True),
            response(hit(9), {"ended": "limit", **END}, whole=True),
        ):
            peer = await listener.accept()
            requests.append((await peer.reader.readuntil(b"\r\n\r\n")).decode())
            peer.writer.write(answer)
            peer.writer.close()

    serving = asyncio.create_task(serve())
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        lines, end = await found(client, "hit", limit=4, since="1h")
    await serving
    assert [line.line for line in lines] == [1, 2, 3, 6, 9]
    assert (end.ended, end.matches, end.searched) == ("limit", 4, 15)
    queries = [parse_qs(urlsplit(each.split(" ")[1]).query, keep_blank_values=True) for each in requests]
    assert [(query.get("since"), query.get("offset"), query["limit"]) for query in queries] == [
        (["1h"], None, ["4"]),
        (None, ["10"], ["4"]),  # at the latest match, which is found again
        (None, ["50"], ["2"]),
        (None, ["60"], ["2"]),
        (None, ["90"], ["1"]),
    ]
    assert "If-Match" not in requests[0]
    assert all('If-Match: "2a-5f3759df"' in each for each in requests[1:])


async def test_a_response_that_is_not_of_a_search_is_an_error(listener: Listener):
    async def serve() -> None:
        peer = await listener.accept()
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n")

    serving = asyncio.create_task(serve())
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        with pytest.raises(Refused, match="no Loom server"):
            await found(client, "hit")
    await serving


async def test_a_failed_search_is_an_error(listener: Listener):
    async def serve() -> None:
        peer = await listener.accept()
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write(response({"ended": "failed", **END, "reason": "The process died."}, whole=True))

    serving = asyncio.create_task(serve())
    async with AsyncClient(listener.url, timeouts=QUICK) as client:
        with pytest.raises(Refused, match="The process died"):
            await found(client, "hit")
    await serving


def test_the_client_without_asyncio_searches_too(url: str):
    with Client(url) as client:
        client.push("log", LOG)
        *lines, end = client.grep("log", "hit", limit=2)
    assert [getattr(line, "line", None) for line in lines] == [1, 3]
    assert isinstance(end, SearchEnd)
    assert end.ended == "limit"

"""Responses of a server that is not Loom, or that a proxy has changed: each is a ClientError that says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.client.conftest import QUICK

from loom.client import AsyncClient, Client
from loom.client.errors import Lost, Refused

HTML = ("Content-Type: text/html", "Content-Length: 13"), b"<html></html>"
EMPTY = ("Content-Length: 0",), b""
HEADERS = (
    'ETag: "k"',
    "X-Stream-Key: k",
    "X-Stream-State: complete",
    "X-Stream-Offset: 0",
    "X-Stream-Epoch: 1",
    "Upload-Offset: 4",
    "Upload-Complete: ?1",
)


def but(header: str, value: str | None = None) -> tuple[tuple[str, ...], bytes]:
    """The headers of a stream of four bytes, one of them missing or with another value."""
    kept = tuple(line for line in HEADERS if not line.startswith(f"{header}:"))
    changed = () if value is None else (f"{header}: {value}",)
    return (*kept, *changed, "Content-Length: 4"), b"data"


@asynccontextmanager
async def server(headers: tuple[str, ...], body: bytes, status: str = "200 OK") -> AsyncIterator[str]:
    """A server that answers every request alike."""
    response = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(response if head.startswith(b"HEAD ") else response + body)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def listed(client: AsyncClient) -> None:
    async for _ in client.streams():
        pass


async def followed(client: AsyncClient) -> None:
    async for _ in client.follow("a"):
        pass


async def watched(client: AsyncClient) -> None:
    async for _ in client.events():
        pass


REQUESTS: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "read": lambda client: client.read("a"),
    "follow": followed,
    "push": lambda client: client.push("a", b"data"),
    "info": lambda client: client.info("a"),
    "streams": listed,
    "count": lambda client: client.count("a"),
    "delete": lambda client: client.delete("a"),
    "delete all": lambda client: client.delete_all("a", confirm=1),
    "events": watched,
}


@pytest.mark.parametrize("response", [HTML, EMPTY], ids=["a page", "nothing"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_a_response_that_is_not_looms_is_an_error_with_its_url_and_status(request_, response):
    async with server(*response) as url, AsyncClient(url, timeouts=QUICK) as client:
        with pytest.raises(
            Refused, match=rf"^{url}/.* answered 200 (with|instead).* It is no Loom server"
        ) as raised:
            await request_(client)
    assert raised.value.status == 200


@pytest.mark.parametrize(
    ("headers", "request_", "difference"),
    [
        (but("Upload-Offset"), "read", "without the header Upload-Offset"),
        (but("Upload-Offset", "4.0"), "read", "with the header Upload-Offset: 4.0, which Loom does not send"),
        (but("Upload-Offset", "٤"), "read", "with the header Upload-Offset"),
        (but("Upload-Offset", "9" * 5000), "read", "with the header Upload-Offset: 9{100},"),
        (but("Upload-Complete", "yes"), "read", "with the header Upload-Complete: yes"),
        (but("X-Stream-State"), "read", "without the header X-Stream-State"),
        (but("X-Stream-State", "fine"), "read", "with the header X-Stream-State: fine"),
        (but("X-Stream-State", "fine"), "follow", "with the header X-Stream-State: fine"),
        (but("X-Stream-Offset", "-1"), "follow", "with the header X-Stream-Offset: -1"),
        (but("X-Stream-Epoch"), "push", "without the header X-Stream-Epoch"),
        (but("X-Stream-Epoch", ""), "push", "with the header X-Stream-Epoch"),
    ],
)
async def test_a_header_that_is_missing_or_wrong_is_named(headers, request_, difference):
    async with server(*headers) as url, AsyncClient(url, timeouts=QUICK) as client:
        with pytest.raises(Refused, match=difference):
            await REQUESTS[request_](client)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"count": null, "streams": 5}',
        b'{"count": 1e999, "streams": [{}]}',
        b"\xff",
        pytest.param(b"[" * 100_000, id="nested"),
    ],
)
@pytest.mark.parametrize("request_", ["info", "streams", "count"])
async def test_json_of_another_form_is_refused(request_, body):
    async with server((f"Content-Length: {len(body)}",), body) as url, AsyncClient(url) as client:
        with pytest.raises(Refused, match="with a body that Loom does not send"):
            await REQUESTS[request_](client)


async def test_events_of_another_form_are_refused():
    body = b"event: created\ndata: {}\n\n"
    async with server(("Content-Type: text/event-stream",), body) as url, AsyncClient(url) as client:
        with pytest.raises(Refused, match="with a body that Loom does not send"):
            await watched(client)


@pytest.mark.parametrize(
    "line", [b"[]\n", b'{"offset": "4"}\n', b"x" * (1 << 20)], ids=["list", "text", "long"]
)
async def test_progress_of_another_form_is_retried_until_patience_runs_out(line):
    (*others, _), _ = but("Upload-Offset", "0")
    headers = (*others, "Content-Type: application/x-ndjson")
    async with server(headers, line) as url, AsyncClient(url) as client:
        with pytest.raises(Lost, match="not a report of progress"):
            await client.push("a", b"data", patience=0.1)


async def test_the_client_without_asyncio_raises_the_same():
    async with server(*HTML) as url:

        def read() -> None:
            with Client(url) as client:
                client.read("a")

        with pytest.raises(Refused, match="It is no Loom server"):
            await asyncio.to_thread(read)


async def test_an_error_of_any_form_is_refused():
    body = b"[" * 60_000
    async with (
        server((f"Content-Length: {len(body)}",), body, "418 Teapot") as url,
        AsyncClient(url) as client,
    ):
        with pytest.raises(Refused, match="The server answered 418 Teapot"):
            await client.info("a")

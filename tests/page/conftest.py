"""The web page in a real browser, with a real server."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response, async_playwright, expect
from tests.support.server import Server
from tests.support.wire import Wire

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-smooth-scrolling",  # a turn of the wheel is one step, not an animation
)
expect.set_options(timeout=20_000)
EXPECTED = ("Failed to load resource", "net::ERR_")
"""What the console logs if the server is down or refuses a request; anything else is a bug of the page."""


@dataclass
class Reader:
    """A user with a browser, and the server."""

    server: Server
    browser: Browser
    again: Callable[[int], Awaitable[Server]]
    mistakes: list[str] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def restart(self) -> None:
        """Kill the server and start it again at the same address."""
        port = self.server.port
        await self.server.kill()
        self.server = await self.again(port)

    async def open(self, path: str, **context: Any) -> Page:
        """Open a page in a browser context of its own."""
        page = await self.browser.new_page(viewport={"width": 1200, "height": 700}, **context)
        return await self.visit(page, path)

    async def visit(self, page: Page, path: str) -> Page:
        page.set_default_timeout(20_000)
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self._said("error", str(error)))
        page.on("dialog", lambda dialog: self._said("error", f"a dialog: {dialog.message}"))
        await page.goto(self.server.url + path)
        return page

    async def live(self, id: str, data: bytes = b"", **headers: Any) -> Wire:
        """Begin a stream; its producer has not reached the end of its body."""
        wire = await self.connect()
        await wire.post(f"/stream/{id}", **headers)
        if data:
            await wire.chunk(data)
        assert (await wire.answer()).status == 201
        return wire

    async def live_on(self, id: str, offset: int, data: bytes) -> Wire:
        """Resume a stream with a new producer."""
        wire = await self.connect()
        kind: dict[str, Any] = {"Content-Type": "application/partial-upload", "Transfer-Encoding": "chunked"}
        place: dict[str, Any] = {"Upload-Offset": str(offset), "Upload-Complete": "?1"}
        await wire.request("PATCH", f"/stream/{id}", **kind, **place)
        await wire.chunk(data)
        return wire

    async def stored(self, id: str, data: bytes, **headers: Any) -> None:
        """Store a complete stream."""
        wire = await self.connect()
        await wire.request("POST", f"/stream/{id}", data, **headers)
        assert (await wire.answer()).status == 201
        await wire.body()

    async def patch(self, id: str, metadata: bytes) -> None:
        """Merge metadata into that of a stream."""
        wire = await self.connect()
        await wire.request(
            "PATCH", f"/stream/{id}", metadata, **{"Content-Type": "application/merge-patch+json"}
        )
        assert (await wire.answer()).status == 204

    async def request(self, method: str, path: str) -> Wire:
        """Send a request; return once its response has begun."""
        wire = await self.connect()
        await wire.request(method, path)
        await wire.answer()
        return wire

    def _said(self, kind: str, text: str) -> None:
        if kind == "error":
            self.mistakes.append(text)

    async def connect(self) -> Wire:
        """Open a connection that is closed with the test."""
        self.wires.append(await Wire.open("127.0.0.1", self.server.port))
        return self.wires[-1]


class Fetched:
    """How much of a stream a page fetches from now on, in `bytes`."""

    def __init__(self, page: Page, id: str) -> None:
        self.bytes = 0
        self._path = f"/stream/{id}"
        page.on("response", self._add)

    def _add(self, response: Response) -> None:
        if self._path in response.url and "/ui/" not in response.url:
            self.bytes += int(response.headers.get("content-length", 0))


Start = Callable[..., Awaitable[Reader]]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Run the tests of this folder in one event loop, that of their browser."""
    if isinstance(collector, pytest.Module):
        collector.add_marker(pytest.mark.asyncio(loop_scope="session"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tool: Callable[[str], str]) -> AsyncIterator[Browser]:
    """Start one browser for all tests. Each test opens contexts of its own, which share nothing."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=tool("chromium"), args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def start(tmp_path: Path, browser: Browser) -> AsyncIterator[Start]:
    """Start a server with these settings; check at the end that the page logged no error."""
    readers: list[Reader] = []
    data, log = tmp_path / "data", tmp_path / "log"

    async def again(port: int = 0, **settings: Any) -> Server:
        return await Server.start(data, log, port=port, **settings)

    async def begin(**settings: Any) -> Reader:
        server = await again(**settings)
        readers.append(Reader(server, browser, lambda port: again(port, **settings)))
        return readers[-1]

    yield begin
    for context in browser.contexts:
        await context.close()
    for reader in readers:
        for wire in reader.wires:
            await wire.close()
        await reader.server.kill()
    shutil.rmtree(data, ignore_errors=True)
    for reader in readers:
        assert [said for said in reader.mistakes if not any(each in said for each in EXPECTED)] == []


@pytest_asyncio.fixture(loop_scope="session")
async def reader(start: Start) -> Reader:
    return await start()

"""GET /client/: the client, to be installed from the server that it writes to.

A page with the commands, the wheels, and an index of them for pip (PEP 503). They contain nothing of this
server's streams, so they need no token. Wheels are made in a thread when they are first requested.
"""

import asyncio
from html import escape

from loom.http.exchange import Exchange
from loom.http.headers import content_length
from loom.http.pages import Asset, Pages, answer, file_of
from loom.http.pages.wheels import Package, packages
from loom.http.problem import problem

CLOSED = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
FRESH = (b"cache-control", b"no-cache")


class Client:
    """The handlers of /client/."""

    def __init__(self, pages: Pages) -> None:
        self._page = pages.client
        self._packages: dict[str, Package] | None = None
        self._building = asyncio.Lock()

    async def root(self, exchange: Exchange) -> None:
        """GET /client: redirect to the page."""
        await exchange.respond(307, [(b"location", b"/client/"), content_length(0)])

    async def page(self, exchange: Exchange) -> None:
        """GET /client/: send the page with the commands."""
        await answer(exchange, self._page)

    async def index(self, exchange: Exchange) -> None:
        """GET /client/simple/: list the projects of the index."""
        await answer(
            exchange, _listing("Packages", {name: f"/client/simple/{name}/" for name in await self._all()})
        )

    async def project(self, exchange: Exchange) -> None:
        """GET /client/simple/{project}/: list the one wheel of a project, with its digest."""
        package = (await self._all()).get(exchange.path_params["project"])
        if package is None:
            await _absent(exchange)
            return
        wheel = await self._made(package)
        target = f"/client/{package.filename}#sha256={wheel.etag.decode().strip(chr(34))}"
        listing = _listing(package.name, {package.filename: target}, package.requires_python)
        await answer(exchange, listing)

    async def wheel(self, exchange: Exchange) -> None:
        """GET /client/{file}: send a wheel."""
        name = exchange.path_params["file"]
        found = [package for package in (await self._all()).values() if package.filename == name]
        if found:
            await answer(exchange, await self._made(found[0]))
        else:
            await _absent(exchange)

    async def _all(self) -> dict[str, Package]:
        async with self._building:
            if self._packages is None:
                self._packages = await asyncio.to_thread(packages)
            return self._packages

    async def _made(self, package: Package) -> Asset:
        async with self._building:
            wheel = await asyncio.to_thread(lambda: package.wheel)
        return file_of(wheel.body, b"application/octet-stream", [FRESH], digest=wheel.digest)


def _listing(title: str, links: dict[str, str], requires_python: str = "") -> Asset:
    needs = f' data-requires-python="{escape(requires_python)}"' if requires_python else ""
    anchors = [f'<a href="{escape(target)}"{needs}>{escape(text)}</a><br>' for text, target in links.items()]
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="pypi:repository-version" content="1.0">',
        f"<title>{escape(title)}</title></head><body>",
        *anchors,
        "</body></html>\n",
    ]
    return file_of("\n".join(lines).encode(), b"text/html; charset=utf-8", [FRESH, CLOSED])


async def _absent(exchange: Exchange) -> None:
    detail = "This server has no such file; /client/simple/ lists the packages that it has."
    await exchange.respond(*problem(404, "no_such_path", detail))

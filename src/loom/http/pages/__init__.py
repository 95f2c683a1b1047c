"""The web page at /ui/: its files, and the policy under which a browser runs them. Knows nothing of streams.

A browser runs the files in `assets/` as they are written: there is no build step. They are read once, when
this module is imported. They contain no data, so they need no token; the page requests all its data from the
API.

Only these scripts run: the policy names each by its hash and never `'self'`, since streams share the origin
of the page. A browser admits a script by hash only if its element has the hash too. So the head preloads each
module that the page imports, with its hash, and the imports find it loaded. The style is in the head, with a
hash of its own. Trusted Types without any policy prevent a string from becoming markup or script.
"""

import base64
import hashlib
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from loom import __version__
from loom.http.exchange import Exchange
from loom.http.headers import NOSNIFF, Headers, content_length
from loom.http.problem import problem

TYPES = {"js": b"text/javascript; charset=utf-8", "svg": b"image/svg+xml"}

FACTS = {
    "version": __version__,
    "wheel": f"loom_streams-{__version__}-py3-none-any.whl",
    "python": f"Python {sys.version_info.major}.{sys.version_info.minor}",
    "platform": f"{platform.system()} {platform.machine()}",
}
"""Words in braces in the pages, and what they stand for."""

_IMPORT = re.compile(r"""^(?:import|export|\}) .*?["']\./([\w.-]+)["'];$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One response: its headers and its body."""

    headers: Headers
    body: bytes
    etag: bytes


class Pages:
    """The handlers of / and /ui/."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        texts = TEXTS if texts is None else texts
        release = hashlib.sha256("\0".join(f"{name}\0{texts[name]}" for name in sorted(texts)).encode())
        # Named by its content: a browser may cache it forever, and a page gets modules of its own release.
        self._folder = release.hexdigest()[:16]
        kept = (b"cache-control", b"public, max-age=31536000, immutable")
        self._assets = {
            f"{self._folder}/{name}": file_of(text.encode(), TYPES[kind], [kept])
            for name, text in texts.items()
            if (kind := name.rpartition(".")[2]) in TYPES
        }
        self._streams = self._page("streams", texts)
        self._stream = self._page("stream", texts)
        self.client = self._page("client", texts)
        self._live = self._page("live", texts)

    async def root(self, exchange: Exchange) -> None:
        """GET /: redirect to the page."""
        await exchange.respond(307, [(b"location", b"/ui/"), content_length(0)])

    async def streams(self, exchange: Exchange) -> None:
        """GET /ui/: send the page that lists streams."""
        await answer(exchange, self._streams)

    async def stream(self, exchange: Exchange) -> None:
        """GET /ui/stream/{id}: send the page that shows a stream, the same for every id, existing or not."""
        await answer(exchange, self._stream)

    async def live(self, exchange: Exchange) -> None:
        """GET /ui/live/{prefix}: send the page that shows all live streams of a prefix, woven into one."""
        await answer(exchange, self._live)

    async def asset(self, exchange: Exchange) -> None:
        """GET /ui/assets/{folder}/{name}: send a file of the page."""
        file = self._assets.get(exchange.path_params["name"])
        if file is None:
            detail = "This release of the page has no such file; load the page again."
            await exchange.respond(*problem(404, "no_such_path", detail))
        else:
            await answer(exchange, file)

    def _page(self, name: str, texts: dict[str, str]) -> Asset:
        """Build a page with its scripts and its style in the head, and the policy that admits only these."""
        entry = f"{name}.js"
        hashes = {module: _hash(texts[module]) for module in modules_of(entry, texts)}
        style = texts["page.css"] + texts.get(f"{name}.css", "")
        head = [f"<style>{style}</style>"]
        for module, digest in reversed(hashes.items()):
            # The script of the page comes last, after all modules that it imports.
            tag = '<link rel="modulepreload" href' if module != entry else '<script type="module" src'
            location = f'="/ui/assets/{self._folder}/{module}" integrity="{digest}">'
            head.append(tag + location + ("" if module != entry else "</script>"))
        icon = base64.b64encode(texts["icon.svg"].encode()).decode()
        head.append(f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">')
        html = texts[f"{name}.html"].replace("<!-- head -->", "\n".join(head))
        for word, value in FACTS.items():
            html = html.replace(f"{{{word}}}", value)
        policy = policy_for(hashes.values(), _hash(style))
        return file_of(html.encode(), b"text/html; charset=utf-8", [(b"cache-control", b"no-cache"), *policy])


def modules_of(entry: str, texts: dict[str, str]) -> list[str]:
    """Return `entry` and the modules that it imports, directly or not."""
    found = [entry]
    for module in found:
        found += [name for name in dict.fromkeys(_IMPORT.findall(texts[module])) if name not in found]
    return found


def policy_for(scripts: Iterable[str], style: str) -> Headers:
    """Return the headers that restrict a page to these scripts and this style, given by their hashes."""
    allowed = " ".join(f"'{digest}'" for digest in scripts)
    directives = [
        "default-src 'none'",
        f"script-src {allowed}",
        f"style-src '{style}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    return [
        (b"content-security-policy", "; ".join(directives).encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


def file_of(body: bytes, content_type: bytes, headers: Headers, *, digest: str = "") -> Asset:
    """Return the response with a file. `digest` is its SHA-256 in hex, if that is known."""
    etag = b'"%b"' % (digest or hashlib.sha256(body).hexdigest()[:32]).encode()
    same_origin = (b"cross-origin-resource-policy", b"same-origin")
    return Asset(
        [(b"content-type", content_type), (b"etag", etag), NOSNIFF, same_origin, *headers], body, etag
    )


async def answer(exchange: Exchange, file: Asset) -> None:
    """Send a file, unless the client has it."""
    if file.etag in b",".join(exchange.all(b"if-none-match")):
        await exchange.respond(304, file.headers)
    else:
        await exchange.respond(200, [*file.headers, content_length(len(file.body))], file.body)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


TEXTS = {file.name: file.read_text("utf-8") for file in files(__name__).joinpath("assets").iterdir()}
"""The files of the page by name."""

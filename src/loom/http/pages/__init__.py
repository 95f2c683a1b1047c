"""The web page at /ui/: what a browser gets of it, and the policy it gets it under. Knows nothing of streams.

`assets/` is what the browser runs, as it is written there: no build step. The files are read once, when this
module is loaded. They hold no data, so they need no token; everything they show they ask the API for.

No script runs but these: the policy names each by its hash, and never `'self'`, since streams have the
page's origin. A hash lets a script in where its element carries it too, so the head preloads each module
that the page imports with its hash, and the imports find it loaded. Style is in the head, under a hash of
its own. With Trusted Types and no policy for them, a string cannot become markup or script at all.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from loom.http.exchange import Exchange
from loom.http.headers import NOSNIFF
from loom.http.problem import Headers, problem

TYPES = {"js": b"text/javascript; charset=utf-8", "svg": b"image/svg+xml"}

_IMPORT = re.compile(r"""^(?:import|export|\}) .*?["']\./([\w.-]+)["'];$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """One answer: its headers and its bytes."""

    headers: Headers
    body: bytes
    etag: bytes


class Pages:
    """The handlers of / and /ui/."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        texts = TEXTS if texts is None else texts
        release = hashlib.sha256("\0".join(f"{name}\0{texts[name]}" for name in sorted(texts)).encode())
        # Named by what is in it: a browser keeps it for good, a page and its modules are of one release.
        self._folder = release.hexdigest()[:16]
        kept = (b"cache-control", b"public, max-age=31536000, immutable")
        self._assets = {
            f"{self._folder}/{name}": _document(text, TYPES[kind], [kept])
            for name, text in texts.items()
            if (kind := name.rpartition(".")[2]) in TYPES
        }
        self._streams = self._page("streams", texts)
        self._stream = self._page("stream", texts)

    async def root(self, exchange: Exchange) -> None:
        """GET /: leads to the page."""
        await exchange.respond(307, [(b"location", b"/ui/"), (b"content-length", b"0")])

    async def streams(self, exchange: Exchange) -> None:
        """GET /ui/: the page that lists streams."""
        await _answer(exchange, self._streams)

    async def stream(self, exchange: Exchange) -> None:
        """GET /ui/stream/{id}: the page that shows a stream, the same for any id, there or not."""
        await _answer(exchange, self._stream)

    async def asset(self, exchange: Exchange) -> None:
        """GET /ui/assets/{folder}/{name}: a file of the page."""
        document = self._assets.get(exchange.path_params["name"])
        if document is None:
            detail = "This release of the page has no such file; load the page again."
            await exchange.respond(*problem(404, "no_such_path", detail))
        else:
            await _answer(exchange, document)

    def _page(self, name: str, texts: dict[str, str]) -> Document:
        """A page, with its scripts and its style in the head, and the policy that allows just these."""
        entry = f"{name}.js"
        hashes = {module: _hash(texts[module]) for module in modules_of(entry, texts)}
        style = texts["page.css"]
        head = [f"<style>{style}</style>"]
        for module, digest in reversed(hashes.items()):
            # The page's own script comes last, when all it imports is on the way.
            tag = '<link rel="modulepreload" href' if module != entry else '<script type="module" src'
            place = f'="/ui/assets/{self._folder}/{module}" integrity="{digest}">'
            head.append(tag + place + ("" if module != entry else "</script>"))
        icon = base64.b64encode(texts["icon.svg"].encode()).decode()
        head.append(f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">')
        html = texts[f"{name}.html"].replace("<!-- head -->", "\n".join(head))
        policy = policy_for(hashes.values(), _hash(style))
        return _document(html, b"text/html; charset=utf-8", [(b"cache-control", b"no-cache"), *policy])


def modules_of(entry: str, texts: dict[str, str]) -> list[str]:
    """The modules that `entry` imports, directly or not, and itself first."""
    found = [entry]
    for module in found:
        found += [name for name in dict.fromkeys(_IMPORT.findall(texts[module])) if name not in found]
    return found


def policy_for(scripts: Iterable[str], style: str) -> Headers:
    """The headers that hold a page to these scripts and this style, given by their hashes."""
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


def _document(text: str, content_type: bytes, headers: Headers) -> Document:
    body = text.encode()
    etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()
    same_origin = (b"cross-origin-resource-policy", b"same-origin")
    told = [(b"content-type", content_type), (b"etag", etag), NOSNIFF, same_origin, *headers]
    return Document(told, body, etag)


async def _answer(exchange: Exchange, document: Document) -> None:
    if document.etag in b",".join(exchange.all(b"if-none-match")):
        await exchange.respond(304, document.headers)
    else:
        length = (b"content-length", b"%d" % len(document.body))
        await exchange.respond(200, [*document.headers, length], document.body)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


TEXTS = {file.name: file.read_text("utf-8") for file in files(__name__).joinpath("assets").iterdir()}
"""The files of the page by name."""

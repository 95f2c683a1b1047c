"""Requests that two parsers may understand differently, each with one more request that may hide in it.

`CASES` has for each name what follows the request line, and how many requests Loom must see when it is sent
directly: 0 if it must refuse the first, 1 if the rest belongs to the first or is refused, 2 if the rest is a
request of its own.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

NEXT = b"GET /stream/next-%s HTTP/1.1\r\nHost: localhost\r\nX-Hidden: "
LINE = b"POST /stream/front-%s HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CL = b"Content-Length: "
END = b"\r\n\r\n"
EMPTY_CHUNKS = b"0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One attack. `raw` is what is sent; its paths end in the name. `seen` is how often Loom sees one."""

    name: str
    raw: bytes
    seen: int


def _lengths() -> Iterator[tuple[str, bytes, int]]:
    """Content-Length: what is not one number of digits is refused."""
    body = b"12345"
    for name, value, seen in [
        ("plain", b"5", 2),
        ("spaces", b"  5 \t", 2),
        ("zeros", b"0000005", 2),
        ("plus", b"+5", 0),
        ("minus", b"-5", 0),
        ("hex", b"0x5", 0),
        ("letters", b"5abc", 0),
        ("float", b"5.0", 0),
        ("exponent", b"5e0", 0),
        ("empty", b"", 0),
        ("list-same", b"5, 5", 0),
        ("list-other", b"5, 0", 0),
        ("inner-space", b"5 0", 0),
        ("overflow", b"18446744073709551621", 0),
        ("overflow-32", b"4294967301", 1),
        ("vertical-tab", b"\x0b5", 0),
        ("nul", b"5\x00", 0),
        ("wide-digit", "５".encode(), 0),
        ("parameter", b"5;x", 0),
        ("underscore", b"0_5", 0),
    ]:
        yield f"length-{name}", HOST + CL + value + END + body, seen
    yield "length-twice", HOST + (CL + b"5\r\n") * 2 + b"\r\n" + body, 0
    yield "length-twice-other", HOST + CL + b"5\r\n" + CL + b"0" + END + body, 0
    yield "length-space-name", HOST + b"Content-Length : 5" + END + body, 0
    yield "length-tab-name", HOST + b"Content-Length\t: 5" + END + body, 0
    yield "length-nul-name", HOST + b"Content-Length\x00: 5" + END + body, 0
    yield "length-folded", HOST + b"Content-Length:\r\n 5" + END + body, 0
    yield "length-underscore-name", HOST + b"Content_Length: 5" + END, 2
    yield "length-in-connection", HOST + CL + b"5\r\nConnection: content-length" + END + body, 2
    hidden = NEXT % b"length-request" + b"y" + END
    yield "length-request", HOST + CL + b"%d" % len(hidden) + END + hidden, 2
    yield "length-short", HOST + CL + b"3" + END + body, 1


def _codings() -> Iterator[tuple[str, bytes, int]]:
    """Transfer-Encoding: only the one value is accepted, and never with a Content-Length."""
    yield "cl-te", HOST + CL + b"5\r\n" + CHUNKED + b"\r\n" + EMPTY_CHUNKS, 0
    yield "te-cl", HOST + CHUNKED + CL + b"4\r\n\r\n" + b"1\r\nx\r\n" + EMPTY_CHUNKS, 0
    yield "te-cl-zero", HOST + CHUNKED + CL + b"0" + END + EMPTY_CHUNKS, 0
    for name, value, seen in [
        ("plain", b" chunked", 2),
        ("case", b" ChUnKeD", 2),
        ("spaces", b"  chunked  ", 2),
        ("tab-after", b" chunked\t", 1),
        ("no-space", b"chunked", 2),
        ("twice", b" chunked, chunked", 0),
        ("identity", b" identity", 0),
        ("gzip", b" gzip, chunked", 0),
        ("last-identity", b" chunked, identity", 0),
        ("prefix", b" xchunked", 0),
        ("suffix", b" chunkedx", 0),
        ("parameter", b" chunked;q=1", 0),
        ("quoted", b' "chunked"', 0),
        ("empty", b"", 0),
        ("comma", b" ,chunked", 0),
        ("vertical-tab", b" \x0bchunked", 0),
        ("nul", b" \x00chunked", 0),
        ("nul-after", b" chunked\x00", 0),
        ("high", b" chunked\xa0", 0),
        ("folded", b"\r\n chunked", 0),
        ("folded-after", b" chunked\r\n x", 0),
    ]:
        yield f"te-{name}", HOST + b"Transfer-Encoding:" + value + END + EMPTY_CHUNKS, seen
    for name, line in [
        ("space-name", b"Transfer-Encoding : chunked"),
        ("tab-name", b"Transfer-Encoding\t: chunked"),
        ("nul-name", b"Transfer-Encoding\x00: chunked"),
        ("nul-first", b"\x00Transfer-Encoding: chunked"),
        ("folded-name", b"X: y\r\n Transfer-Encoding: chunked"),
        ("tab-folded-name", b"X: y\r\n\tTransfer-Encoding: chunked"),
        ("bare-lf", b"X: y\nTransfer-Encoding: chunked"),
        ("bare-cr", b"X: y\rTransfer-Encoding: chunked"),
        ("vertical-tab-name", b"X: y\x0bTransfer-Encoding: chunked"),
        ("two-kinds", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("two-kinds-reverse", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ("two-lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ]:
        with_length = CL + b"5\r\n"
        yield f"te-{name}", HOST + line + END + EMPTY_CHUNKS, 0
        yield f"te-{name}-cl", HOST + with_length + line + END + EMPTY_CHUNKS, 0
    yield "te-underscore-name-cl", HOST + CL + b"5\r\nTransfer_Encoding: chunked" + END + EMPTY_CHUNKS, 2
    yield "te-in-connection", HOST + CHUNKED + b"Connection: transfer-encoding" + END + EMPTY_CHUNKS, 2
    yield "te-and-te-header", HOST + CHUNKED + b"TE: trailers, chunked" + END + EMPTY_CHUNKS, 2


def _chunks() -> Iterator[tuple[str, bytes, int]]:
    """Chunks, their extensions, and trailers. A bad chunk ends the request that has begun."""
    hidden = NEXT % b"chunk-request" + b"y" + END
    for name, body, seen in [
        ("plain", b"5\r\nabcde\r\n0\r\n\r\n", 2),
        ("zeros", b"0005\r\nabcde\r\n000\r\n\r\n", 2),
        ("extension", b"5;a=b\r\nabcde\r\n0;c\r\n\r\n", 2),
        ("extension-quoted", b'5;a="b;c"\r\nabcde\r\n0\r\n\r\n', 2),
        ("extension-lf", b"5;a\nb\r\nabcde\r\n0\r\n\r\n", 1),
        ("extension-cr", b"5;a\rb\r\nabcde\r\n0\r\n\r\n", 1),
        ("extension-nul", b"5;a\x00\r\nabcde\r\n0\r\n\r\n", 1),
        ("extension-quoted-crlf", b'5;a="\r\n"\r\nabcde\r\n0\r\n\r\n', 1),
        ("request", b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden), 2),
        ("space", b"5 \r\nabcde\r\n0\r\n\r\n", 1),
        ("space-before", b" 5\r\nabcde\r\n0\r\n\r\n", 1),
        ("hex", b"0x5\r\nabcde\r\n0\r\n\r\n", 1),
        ("plus", b"+5\r\nabcde\r\n0\r\n\r\n", 1),
        ("minus", b"-5\r\nabcde\r\n0\r\n\r\n", 1),
        ("empty", b"\r\nabcde\r\n0\r\n\r\n", 1),
        ("overflow", b"10000000000000005\r\nabcde\r\n0\r\n\r\n", 1),
        ("overflow-32", b"100000005\r\nabcde\r\n0\r\n\r\n", 1),
        ("bare-lf-size", b"5\nabcde\r\n0\r\n\r\n", 1),
        ("bare-cr-size", b"5\rabcde\r\n0\r\n\r\n", 1),
        ("bare-lf-data", b"5\r\nabcde\n0\r\n\r\n", 1),
        ("no-end-of-data", b"5\r\nabcdeXX0\r\n\r\n", 1),
        ("bare-lf-last", b"5\r\nabcde\r\n0\n\n", 1),
        ("bare-lf-end", b"5\r\nabcde\r\n0\r\n\n", 1),
        ("underscore", b"0_5\r\nabcde\r\n0\r\n\r\n", 1),
        ("trailer", b"0\r\nX: y\r\n\r\n", 2),
        ("trailer-te", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
        ("trailer-cl", b"0\r\nContent-Length: 50\r\n\r\n", 1),
        ("trailer-host", b"0\r\nHost: evil.example\r\n\r\n", 2),
        ("trailer-lf", b"0\r\nX: y\n\r\n", 1),
        ("trailer-space-name", b"0\r\nX : y\r\n\r\n", 1),
        ("trailer-folded", b"0\r\nX: y\r\n z\r\n\r\n", 1),
        ("trailer-no-colon", b"0\r\nxyz\r\n\r\n", 1),
    ]:
        yield f"chunk-{name}", HOST + CHUNKED + b"\r\n" + body, seen


def _heads() -> Iterator[tuple[str, bytes, int]]:
    """Headers and hosts that parsers disagree on."""
    for name, lines, seen in [
        ("plain", HOST, 2),
        ("no-host", b"X: y\r\n", 0),
        ("two-hosts", HOST * 2, 0),
        ("other-host", HOST + b"Host: evil.example\r\n", 0),
        ("host-space", b"Host : localhost\r\n", 0),
        ("host-list", b"Host: localhost, evil.example\r\n", 2),
        ("host-user", b"Host: evil@localhost\r\n", 2),
        ("name-space", HOST + b"Foo Bar: x\r\n", 0),
        ("name-empty", HOST + b": x\r\n", 0),
        ("name-nul", HOST + b"F\x00oo: x\r\n", 0),
        ("name-high", HOST + b"F\xe9: x\r\n", 0),
        ("no-colon", HOST + b"Foo\r\n", 0),
        ("space-line", HOST + b" \r\n", 0),
        ("first-folded", b" X: y\r\n" + HOST, 0),
        ("folded", HOST + b"X: y\r\n z\r\n", 0),
        ("bare-lf", HOST + b"X: y\n", 0),
        ("bare-cr", HOST + b"X: y\rz\r\n", 0),
        ("nul", HOST + b"X: y\x00z\r\n", 0),
        ("all-lf", b"Host: localhost\nX: y\n", 0),
        ("cr-cr-lf", HOST + b"X: y\r\r\n", 0),
    ]:
        yield f"head-{name}", lines + CL + b"0" + END, seen
    yield "head-lf-end", HOST + CL + b"0\r\n\n", 0
    yield "head-lf-lf", HOST + CL + b"0\n\n", 0
    yield (
        "upgrade-h2c",
        HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + CL + b"0" + END,
        2,
    )
    yield "upgrade-websocket", HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + CL + b"0" + END, 2
    yield "expect", HOST + b"Expect: 100-continue\r\n" + CL + b"5" + END + b"12345", 2
    yield "expect-other", HOST + b"Expect: 100-continue, x\r\n" + CL + b"5" + END + b"12345", 2
    yield "no-length", HOST + b"\r\n", 2


def _lines() -> Iterator[tuple[str, bytes, bytes, int]]:
    """Request lines; what follows is a plain head without a body."""
    path = b"/stream/front-%s"
    for name, line, seen in [
        ("http-1.0", b"GET " + path + b" HTTP/1.0\r\n", 1),
        ("http-1.0-keep-alive", b"GET " + path + b" HTTP/1.0\r\nConnection: keep-alive\r\n", 1),
        ("http-1.0-chunked", b"POST " + path + b" HTTP/1.0\r\n" + CHUNKED, 0),
        ("http-1.2", b"GET " + path + b" HTTP/1.2\r\n", 0),
        ("http-2", b"GET " + path + b" HTTP/2.0\r\n", 0),
        ("http-0.9", b"GET " + path + b"\r\n", 0),
        ("http-11", b"GET " + path + b" HTTP/11\r\n", 0),
        ("http-lower", b"GET " + path + b" http/1.1\r\n", 0),
        ("http-twice", b"GET " + path + b" HTTP/1.1 HTTP/1.1\r\n", 0),
        ("http-space", b"GET " + path + b" HTTP/1.1 \r\n", 0),
        ("two-spaces", b"GET  " + path + b" HTTP/1.1\r\n", 2),
        ("tab", b"GET\t" + path + b" HTTP/1.1\r\n", 0),
        ("absolute", b"GET http://localhost" + path + b" HTTP/1.1\r\n", 2),
        ("absolute-other", b"GET http://evil.example" + path + b" HTTP/1.1\r\n", 2),
        ("absolute-https", b"GET https://localhost" + path + b" HTTP/1.1\r\n", 2),
        ("no-slash", b"GET stream/front-%s HTTP/1.1\r\n", 0),
        ("nul", b"GET " + path + b"\x00 HTTP/1.1\r\n", 0),
        ("cr", b"GET " + path + b"\rX HTTP/1.1\r\n", 0),
        ("lf", b"GET " + path + b"\nX HTTP/1.1\r\n", 0),
        ("high", b"GET " + path + b"\xff HTTP/1.1\r\n", 0),
        ("fragment", b"GET " + path + b"#x HTTP/1.1\r\n", 2),
        ("encoded-crlf", b"GET " + path + b"%%0d%%0aX:%%20y HTTP/1.1\r\n", 2),
        ("lower-method", b"get " + path + b" HTTP/1.1\r\n", 0),
        ("method-bytes", b"G\x01T " + path + b" HTTP/1.1\r\n", 0),
        ("unknown-method", b"SMUGGLE " + path + b" HTTP/1.1\r\n", 0),
        ("connect", b"CONNECT localhost:80 HTTP/1.1\r\n", 0),
        ("asterisk", b"OPTIONS * HTTP/1.1\r\n", 1),
        ("crlf-before", b"\r\n\r\nGET " + path + b" HTTP/1.1\r\n", 2),
        ("lf-before", b"\nGET " + path + b" HTTP/1.1\r\n", 2),
        ("space-before", b" GET " + path + b" HTTP/1.1\r\n", 0),
        ("lf-after", b"GET " + path + b" HTTP/1.1\n", 0),
        ("preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0),
    ]:
        yield f"line-{name}", line, HOST + b"\r\n", seen
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        name = f"body-of-{method.decode().lower()}"
        line = method + b" " + path + b" HTTP/1.1\r\n"
        yield name, line, HOST + CL + b"5" + END + b"12345", 2
        yield f"{name}-chunked", line, HOST + CHUNKED + b"\r\n5\r\nabcde\r\n" + EMPTY_CHUNKS, 2


def _all() -> Iterator[Case]:
    rows = [
        (name, LINE, rest, seen)
        for part in (_lengths, _codings, _chunks, _heads)
        for name, rest, seen in part()
    ]
    for name, line, rest, seen in [*rows, *_lines()]:
        tail = NEXT % name.encode() + b"y" + END
        yield Case(name, (line.replace(b"%s", name.encode()).replace(b"%%", b"%")) + rest + tail, seen)


CASES = list(_all())


PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b":",
        b",",
        b";",
        b"0",
        b"5",
        b"\xff",
        b"\r\n\r\n",
    ),
    *(b"Content-Length: 5\r\n", CHUNKED, b"Transfer-Encoding: x\r\n", b"Connection: close\r\n", HOST),
    *(b"0\r\n\r\n", b"5\r\nabcde\r\n", b"Expect: 100-continue\r\n", b"\r\n X: y", b";a=b"),
)


def mutated(draw: random.Random, number: int) -> Case:
    """Return one of the cases with changes between its request line and the request that hides in it."""
    case = draw.choice([each for each in CASES if each.raw.startswith(LINE.partition(b"%s")[0])])
    name = f"{case.name}.{number}"
    raw = case.raw.replace(f"-{case.name} ".encode(), f"-{name} ".encode())
    line, _, rest = raw.partition(b"\r\n")
    end = rest.rindex(NEXT.partition(b"%s")[0])
    middle, tail = rest[:end], rest[end:]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(middle) + 1)
        cut = draw.choice([0, 0, 0, 1, 2])
        middle = middle[:at] + draw.choice([b"", *PIECES]) + middle[at + cut :]
    return Case(name, line + b"\r\n" + middle + tail, -1)

"""The command `loom doctor`: sends bytes through the proxies on the path to a server and reports what breaks.

Owns the trials and the words of their findings. Every trial has its own stream, which is deleted at the end.
The connections are made one after the other, each with a timeout, with the HTTP client of the standard
library: a more comfortable client hides what the trials look for.
"""

import http.client
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare, write_line
from loom.cli.running import write
from loom.cli.target import resolve
from loom.client.address import url_fault, warn_unencrypted
from loom.client.faults import expects_tls, not_http, unreachable
from loom.units import duration_text, size_text
from loom.wire.head import StreamHead
from loom.wire.media import PROBLEM
from loom.wire.upload import append_headers

PATIENCE = 3.0
"""Seconds after which a line that did not arrive counts as held back by a proxy."""
LIMIT = 60.0
SIZE = 16 << 20
PIECE = 64 << 10
BROKEN = exit_codes.REFUSED
LINE = b"a line of loom doctor\n"
TTL = {"Stream-TTL": "3600"}
"""Trials that are killed leave streams that expire."""
OPEN = {"Upload-Complete": "?0"} | TTL
CHUNKED = {"Transfer-Encoding": "chunked"}
T = TypeVar("T")

Headers = Mapping[str, str]


TRIALS = {
    "request buffering": (
        "a line arrives before its request ends",
        "Turn off the proxy's buffering of request bodies (nginx: proxy_request_buffering off).",
    ),
    "response buffering": (
        "a stored line is received before its response ends",
        "Turn off the proxy's buffering of responses (nginx: proxy_buffering off).",
    ),
    "idle timeout": (
        "a stream continues after {silence} of silence",
        "Raise the proxy's timeouts (nginx: proxy_read_timeout 24h and client_body_timeout 24h).",
    ),
    "size limit": (
        "{size} in one request",
        "Raise the proxy's limit on request bodies (nginx: client_max_body_size 0).",
    ),
    "same bytes": ("bytes are received as they were sent", "A proxy changes or truncates bodies."),
    "early answer": (
        "{size} of unknown length arrive whole, even if their response begins before their end",
        "Let the proxy add X-Forwarded-For or Via to requests, or set early_response: never.",
    ),
}
"""By trial: what works if the result is good, and what to do if not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one trial. `advice` says what to do if it is not `good`."""

    trial: str
    good: bool
    detail: str
    advice: str = ""


def report(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines of the result for people."""
    width = max(map(len, TRIALS))
    for each in findings:
        yield f"{'good' if each.good else 'BROKEN':<6}  {each.trial:<{width}}  {each.detail}"
        if each.advice:
            yield f"{'':<6}  {'':<{width}}  {each.advice}"


class Route:
    """The network path to a server."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        """The server, for messages."""
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/")
        self._token = token
        if token is not None:
            warn_unencrypted(url)

    def begin(
        self, method: str, target: str, headers: Headers, timeout: float = LIMIT
    ) -> http.client.HTTPConnection:
        """Open a connection and send the head of a request."""
        if self._tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        connection.putrequest(method, self._path + target, skip_accept_encoding=True)
        given = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        for name, value in {**given, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, method: str, target: str, headers: Headers | None = None) -> http.client.HTTPResponse:
        """Send a request without a body. Return the response, read and with its connection closed."""
        connection = self.begin(method, target, {"Content-Length": "0", **(headers or {})})
        try:
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        return response


def chunk(data: bytes) -> bytes:
    """Return a chunk of a request body; an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_head(response: http.client.HTTPResponse) -> StreamHead:
    """Return what the headers say about a stream. Raise Stop if Loom never sends them."""
    try:
        return StreamHead.of(response.headers)
    except ValueError as error:
        raise Stop(exit_codes.LOST, f"The headers are not those of a Loom: {error}.") from None


class Doctor:
    """All trials over one path."""

    def __init__(self, route: Route, *, silence: float, on_step: Callable[[str], None]) -> None:
        self.findings: list[Finding] = []
        self._on_step = on_step
        self._route = route
        self._silence = silence
        self._id = f"loom-doctor/{uuid.uuid4()}"

    def examine(self) -> None:
        """Run every trial. Raises Stop, OSError and HTTPException."""
        target = f"/stream/{self._id}"
        response = self._route.request("POST", target, OPEN)
        if response.status in (401, 403):
            raise Stop(exit_codes.UNAUTHORIZED, "The token may not read and write here.")
        if response.status != 201 or read_head(response).id is None:
            raise Stop(
                exit_codes.LOST, f"The server is not a Loom: it answers with status {response.status}."
            )
        try:
            self._lines(target)
            if self._large(f"{target}/large"):
                self._early(f"{target}/early")
        finally:
            for each in (target, f"{target}/large", f"{target}/early"):
                self._route.request("DELETE", each)

    def _begin(self, trial: str) -> None:
        detail = TRIALS[trial][0].format(silence=duration_text(self._silence), size=size_text(SIZE))
        self._trial = trial, detail
        self._on_step(f"Testing {trial}: {detail} …")

    def _find(self, good: bool, why: str = "", advice: str = "") -> bool:
        """Record the result of the trial that was begun last."""
        trial, detail = self._trial
        advice = "" if good else advice or TRIALS[trial][1]
        self.findings.append(Finding(trial, good, detail + why, advice))
        return good

    def _lines(self, target: str) -> None:
        """Send lines slowly and follow them."""
        self._begin("request buffering")
        producer = self._route.begin("PATCH", target, append_headers(0, complete=False) | CHUNKED)
        follower: http.client.HTTPConnection | None = None
        try:
            producer.sock.sendall(chunk(LINE))
            if not self._find(self._arrives(target)):
                return
            self._begin("response buffering")
            follower = self._route.begin("GET", target, {}, PATIENCE)
            shown = self._within(follower.getresponse)
            if not self._find(shown is not None and self._receives(shown)):
                return
            assert shown is not None
            self._begin("idle timeout")
            time.sleep(self._silence)
            sent = self._within(lambda: producer.sock.sendall(chunk(LINE)) or True)
            self._find(sent is not None and self._receives(shown))
        finally:
            for connection in (producer, follower):
                if connection is not None:
                    connection.close()

    def _receives(self, shown: http.client.HTTPResponse) -> bool:
        return self._within(lambda: shown.read1(len(LINE))) == LINE

    def _large(self, target: str) -> bool:
        """Send and read much at once. Return True if a request may have this size."""
        self._begin("size limit")
        self._route.request("POST", target, OPEN)
        data = os.urandom(SIZE)
        status, code = self._send(target, data)
        why = "" if status == 204 else f": status {status or 'none'}"
        if not self._find(status == 204, why, f"The server refuses the request ({code})." if code else ""):
            return False
        self._begin("same bytes")
        connection = self._route.begin("GET", target, {})
        try:
            self._find(connection.getresponse().read() == data)
        except http.client.IncompleteRead:
            self._find(False)
        finally:
            connection.close()
        return True

    def _send(self, target: str, data: bytes) -> tuple[int, str]:
        """Append `data`. Return the status, 0 for none, and the code of a problem that Loom reports."""
        headers = append_headers(0, complete=True) | {"Content-Length": str(len(data))}
        connection = self._route.begin("PATCH", target, headers)
        try:
            try:
                connection.sock.sendall(data)
            except OSError:
                pass  # refused before its end: the response says why
            response = connection.getresponse()
            body = response.read()
            problem = response.headers.get_content_type() == PROBLEM
            return response.status, str(json.loads(body)["code"]) if problem else ""
        except (OSError, http.client.HTTPException, LookupError, TypeError, ValueError):
            return 0, ""
        finally:
            connection.close()

    def _early(self, target: str) -> None:
        """Find out whether a live upload arrives whole although its response may begin before its end."""
        self._begin("early answer")
        connection = self._route.begin("POST", target, CHUNKED | TTL, PATIENCE)
        piece = os.urandom(PIECE)
        try:
            for _ in range(SIZE // PIECE):
                connection.sock.sendall(chunk(piece))
            connection.sock.sendall(chunk(b""))
            self._within(lambda: connection.getresponse().read())
        except OSError:
            pass  # held up or closed: what was stored says how far it came
        finally:
            connection.close()
        stored = read_head(self._route.request("HEAD", target)).size or 0
        self._find(stored == SIZE, "" if stored == SIZE else f": {size_text(stored)} of them did")

    def _arrives(self, target: str) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if (read_head(self._route.request("HEAD", target)).size or 0) >= len(LINE):
                return True
            time.sleep(0.05)
        return False

    def _within(self, act: Callable[[], T]) -> T | None:
        """Return None if `act` takes too long or the connection is closed."""
        try:
            return act()
        except (OSError, http.client.HTTPException):
            return None


@declare("doctor", "loom doctor https://loom.example", "loom doctor --silence 0 --json")
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "--silence",
    metavar="TIME",
    default="65s",
    type=options.duration,
    help="Test idle timeouts with a silence of this length.",
)
@options.json
@options.server
@options.token
def command(url: str | None, silence: float, as_json: bool, server: str | None, token: str | None) -> int:
    """Check the network path to a server.

    URL is the server, as --server gives it. Finds proxies that buffer, limit the size, or close idle
    connections. Sends some lines, slowly, and 16 MiB at once, reads them back, and deletes them. Takes a
    little longer than --silence: most proxies close idle connections after 60 seconds.
    """
    if url is not None and server is not None:
        raise click.UsageError("Give URL or --server, not both.")
    if url is not None and (fault := url_fault(url)):
        raise click.BadParameter(f"{url!r} {fault}.", param_hint="URL")
    target = resolve(url or server, token)
    route = Route(target.server, target.token)
    doctor = Doctor(route, silence=silence, on_step=(lambda _: None) if as_json else write_line)
    try:
        doctor.examine()
    except http.client.HTTPException as error:
        raise expects_tls(target.server) or not_http(route.origin) from error
    except OSError as error:
        raise unreachable(route.origin, error) from error
    good = all(each.good for each in doctor.findings)
    if as_json:
        text = json.dumps({"good": good, "findings": [asdict(each) for each in doctor.findings]})
    else:
        text = "\n".join(report(doctor.findings))
    write(f"{text}\n".encode())
    return exit_codes.OK if good else BROKEN

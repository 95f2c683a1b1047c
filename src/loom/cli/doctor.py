"""The command `loom doctor`: sends bytes through whatever stands between here and a server, says what breaks.

Owns the trials and the words of their findings. Every trial has a stream of its own, deleted at the end. One
connection after another, each with a timeout, on the standard library's plain HTTP client: what is looked for
is below what a comfortable one would show.
"""

import hashlib
import http.client
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import write
from loom.cli.target import resolve

PATIENCE = 3.0
"""Seconds after which a line that has not come through is held back by someone."""
LIMIT = 60.0
SIZE = 16 << 20
BROKEN = exit_codes.REFUSED
LINE = b"a line of loom doctor\n"
T = TypeVar("T")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trial has shown; `advice` says what to do where it is not `good`."""

    trial: str
    good: bool
    detail: str
    advice: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        yield f"{'good  ' if self.good else 'BROKEN'}  {self.trial}: {self.detail}"
        if self.advice:
            yield f"        {self.advice}"


class Way:
    """The way to a server."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/")
        self._token = token

    def begin(
        self, method: str, target: str, headers: Headers, timeout: float = LIMIT
    ) -> http.client.HTTPConnection:
        """A connection on which the head of a request has been sent."""
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

    def ask(self, method: str, target: str, headers: Headers | None = None) -> http.client.HTTPResponse:
        """An answer to a request without a body. It has been read, and the connection is closed."""
        connection = self.begin(method, target, {"Content-Length": "0", **(headers or {})})
        try:
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return answer


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def patch(offset: int, complete: str, **headers: str) -> Headers:
    """The head of a request that goes on with a stream."""
    kind = {"Content-Type": "application/partial-upload", "Upload-Complete": complete}
    return {**kind, "Upload-Offset": str(offset), **headers}


class Doctor:
    """All trials over one way."""

    def __init__(self, way: Way, *, silence: float) -> None:
        self.findings: list[Finding] = []
        self._way = way
        self._silence = silence
        self._id = f"loom-doctor/{uuid.uuid4()}"

    def examine(self) -> None:
        """Make every trial. Raises Stop, OSError."""
        target = f"/stream/{self._id}"
        answer = self._way.ask("POST", target, {"Upload-Complete": "?0", "Stream-TTL": "3600"})
        if answer.status in (401, 403):
            raise Stop(exit_codes.UNAUTHORIZED, "The token may not read and write here.")
        if answer.status != 201 or "x-stream-id" not in answer.headers:
            raise Stop(exit_codes.LOST, f"No Loom answers there: status {answer.status}.")
        try:
            self._lines(target)
            self._large(f"{target}/large")
            self._early(f"{target}/early")
        finally:
            for each in (target, f"{target}/large", f"{target}/early"):
                self._way.ask("DELETE", each)

    def _find(self, trial: str, good: bool, detail: str, advice: str = "") -> bool:
        self.findings.append(Finding(trial, good, detail, "" if good else advice))
        return good

    def _lines(self, target: str) -> None:
        """A slow producer and its reader."""
        producer = self._way.begin("PATCH", target, patch(0, "?0", **{"Transfer-Encoding": "chunked"}))
        follower: http.client.HTTPConnection | None = None
        try:
            producer.sock.sendall(chunk(LINE))
            if not self._find(
                "request buffering",
                self._arrives(target),
                "a line that is sent arrives, though its request goes on",
                "Let the proxy pass request bodies on as they come (nginx: proxy_request_buffering off).",
            ):
                return
            follower = self._way.begin("GET", target, {}, PATIENCE)
            shown = self._within(follower.getresponse)
            come = shown is not None and self._within(lambda: shown.read1(len(LINE))) == LINE
            if not self._find(
                "response buffering",
                come,
                "a line that is stored is shown, though its stream goes on",
                "Let the proxy pass answers on as they come (nginx: proxy_buffering off).",
            ):
                return
            assert shown is not None
            self._silent(producer, shown)
        finally:
            for connection in (producer, follower):
                if connection is not None:
                    connection.close()

    def _silent(self, producer: http.client.HTTPConnection, shown: http.client.HTTPResponse) -> None:
        time.sleep(self._silence)
        try:
            producer.sock.sendall(chunk(LINE))
            again = self._within(lambda: shown.read1(len(LINE))) == LINE
        except OSError:
            again = False
        self._find(
            "idle timeout",
            again,
            f"a stream that was silent for {self._silence:g} s goes on",
            "Raise the proxy's timeouts for requests and answers (nginx: proxy_read_timeout 24h and "
            "client_body_timeout 24h).",
        )

    def _large(self, target: str) -> None:
        self._way.ask("POST", target, {"Upload-Complete": "?0", "Stream-TTL": "3600"})
        data = os.urandom(SIZE)
        status, code = self._send(target, patch(0, "?1", **{"Content-Length": str(SIZE)}), data)
        detail = f"{SIZE >> 20} MiB in one request" + (
            "" if status == 204 else f": status {status or 'none'}"
        )
        advice = (
            f"The server refuses it ({code})."
            if code
            else "Raise the proxy's limit on requests (nginx: client_max_body_size 0), or let it buffer none."
        )
        if not self._find("size limit", status == 204, detail, advice):
            return
        connection = self._way.begin("GET", target, {})
        try:
            got = hashlib.sha256(connection.getresponse().read()).digest()
        except http.client.IncompleteRead:
            got = b""
        finally:
            connection.close()
        same = got == hashlib.sha256(data).digest()
        self._find(
            "same bytes", same, "they come back as they were sent", "Something changes or cuts bodies."
        )

    def _send(self, target: str, headers: Headers, data: bytes) -> tuple[int, str]:
        """The status, 0 without any, and the code of a problem that is Loom's own."""
        connection = self._way.begin("PATCH", target, headers)
        try:
            try:
                connection.sock.sendall(data)
            except OSError:
                pass  # refused before its end: the answer says why
            answer = connection.getresponse()
            body = answer.read()
            problem = answer.headers.get_content_type() == "application/problem+json"
            return answer.status, str(json.loads(body)["code"]) if problem else ""
        except (OSError, http.client.HTTPException, ValueError):
            return 0, ""
        finally:
            connection.close()

    def _early(self, target: str) -> None:
        """Is a producer answered at once although a proxy stands between?"""
        connection = self._way.begin(
            "POST", target, {"Transfer-Encoding": "chunked", "Stream-TTL": "3600"}, PATIENCE
        )
        try:
            wire = connection.sock
            wire.sendall(chunk(LINE))
            answer = self._within(connection.getresponse)
            proxied = answer is not None and ("via" in answer.headers or "server" in answer.headers)
            detail = "no producer is answered early through a proxy"
            advice = (
                "Let the proxy tell that it is one: X-Forwarded-For or Via; else it may lose what is sent."
            )
            self._find("early answer", not proxied, detail, advice)
        finally:
            connection.close()

    def _arrives(self, target: str) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if int(self._way.ask("HEAD", target).headers.get("upload-offset", "0")) >= len(LINE):
                return True
            time.sleep(0.05)
        return False

    def _within(self, act: Callable[[], T]) -> T | None:
        """None if it takes too long, or the connection is cut."""
        try:
            return act()
        except (OSError, http.client.HTTPException):
            return None


@declare("doctor", "loom doctor https://loom.example", "loom doctor --silence 0 --json")
@click.argument("url", metavar="[URL]", required=False)
@click.option(
    "--silence",
    metavar="SECONDS",
    default=65.0,
    type=click.FloatRange(min=0),
    show_default=True,
    help="Seconds without a byte in the trial of idle timeouts.",
)
@options.json
@options.server
@options.token
def command(url: str | None, silence: float, as_json: bool, server: str | None, token: str | None) -> int:
    """Check the network path to a server.

    URL is the server; default: as --server says. Finds proxies that buffer, limit the size, or close idle
    connections. Sends some lines, slowly, and 16 MiB at once, reads them back, and deletes them. Takes a
    little longer than --silence: most proxies close idle connections after 60 seconds.
    """
    target = resolve(url or server, token)
    doctor = Doctor(Way(target.server, target.token), silence=silence)
    try:
        doctor.examine()
    except (OSError, http.client.HTTPException) as error:
        raise Stop(exit_codes.LOST, f"The server cannot be reached: {error}") from None
    good = all(each.good for each in doctor.findings)
    if as_json:
        report = json.dumps({"good": good, "findings": [asdict(each) for each in doctor.findings]})
    else:
        report = "\n".join(line for each in doctor.findings for line in each.lines())
    write(f"{report}\n".encode())
    return exit_codes.OK if good else BROKEN

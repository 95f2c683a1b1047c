"""An answer that is streamed token by token and survives a reload of the page.

    loom serve --cors-origins http://localhost:8000
    python examples/tokens/serve.py
    open http://localhost:8000

The page asks this program for an answer and reads it from Loom. Close the tab, reload it, or open the link on
another device: the answer continues, because its tokens are in a stream and not in a response. Needs only
Python. Replace `tokens` by the call of a model.
"""

import os
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOM = os.environ.get("LOOM", "http://localhost:3060")
PAGE = Path(__file__).with_name("index.html").read_text().replace("{{LOOM}}", LOOM)
PAUSE = float(os.environ.get("PAUSE", "0.1"))
"""Seconds between two tokens."""


def tokens(question: str) -> Iterator[str]:
    """Yield an answer, as a model would."""
    text = f"You asked: {question} A stream keeps every token: reload this page as often as you like."
    for word in text.split():
        time.sleep(PAUSE)
        yield word + " "


def send(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> None:
    """Send a request to Loom."""
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain", **headers}, method=method)
    urllib.request.urlopen(request, timeout=30).close()


def answer(url: str, question: str) -> None:
    """Append the tokens of an answer to a stream, each once, then close it."""
    producer = {"Producer-Id": "model", "Producer-Epoch": "0"}
    number = 0
    for number, token in enumerate(tokens(question), 1):
        send("POST", url, producer | {"Producer-Seq": str(number - 1)}, token.encode())
    send("POST", url, producer | {"Producer-Seq": str(number), "Stream-Closed": "true"})


class Handler(BaseHTTPRequestHandler):
    """GET sends the page; POST begins an answer and sends the id of its stream."""

    def do_GET(self) -> None:
        self._respond("text/html; charset=utf-8", PAGE)

    def do_POST(self) -> None:
        question = self.rfile.read(int(self.headers["Content-Length"])).decode()
        id = f"answers/{uuid.uuid4()}"
        url = f"{LOOM}/v1/stream/{id}"
        # Created before the page has its id. It is deleted a day after it was read last.
        send("PUT", url, {"Stream-TTL": "86400"})
        threading.Thread(target=answer, args=(url, question)).start()
        self._respond("text/plain", id)

    def _respond(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"http://localhost:{server.server_port}", flush=True)
    server.serve_forever()

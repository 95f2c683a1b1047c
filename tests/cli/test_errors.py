"""What the commands say when the server is another one than expected, and when it cannot start."""

import os
import re
import socket
import threading
from contextlib import contextmanager

import pytest
from tests.cli.test_serve import refused, served
from tests.cli.test_stream import secret_listener
from tests.support.program import run

from loom.cli.exit_codes import LOST, USAGE

__all__ = ["secret_listener"]

COMMANDS = [["ls"], ["push", "--patience", "60s", "a"], ["doctor", "--silence", "0"]]
ours = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])


async def failure(url, command):
    """Return the exit code of a command, and the only line that it prints."""
    code, _, err = await run("loom", *command, env={"LOOM_SERVER": url})
    lines = [line for line in err.splitlines() if not line.startswith("Testing ")]
    assert len(lines) == 1, err
    assert not re.search(r"Errno|SSL:|WRONG_VERSION|aiohttp|Traceback|status line", err)
    return code, lines[0]


@contextmanager
def answering(reply):
    """Run a server that sends the same bytes to everyone."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@ours
async def test_https_to_a_server_without_tls(command):
    async with served() as server:
        code, line = await failure(server.url.replace("http", "https"), command)
    assert (code, "does not speak TLS: give the URL of the server with http://" in line) == (USAGE, True)


@ours
async def test_http_to_a_server_with_tls(secret_listener, command):
    listener, _ = secret_listener
    code, line = await failure(listener.url.replace("https", "http"), command)
    assert (code, "expects TLS: give the URL of the server with https://" in line) == (USAGE, True)


@ours
async def test_a_server_that_does_not_speak_http(command):
    with answering(b"SSH-2.0-OpenSSH_9.9\r\n") as url:
        code, line = await failure(url, command)
    assert (code, f"{url} does not speak HTTP: check the URL of the server." in line) == (LOST, True)


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK", "405 Method Not Allowed"])
@ours
async def test_a_web_server_that_is_no_loom(command, status):
    page = b"<html>hello</html>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    with answering(head.encode() + page) as url:
        code, line = await failure(url, command)
    assert code == LOST
    assert re.search(r"no Loom server|not a Loom", line)


async def test_a_host_that_does_not_exist():
    code, line = await failure("http://loom.invalid", ["ls"])
    assert (code, line) == (
        LOST,
        "loom ls: http://loom.invalid cannot be reached: the name of the host is not known.",
    )


async def test_a_taken_port_is_reported_with_its_holder_and_the_flag_that_helps():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = await refused("--store", "memory", "--port", str(port))
    assert f"port {port}" in sentence
    assert re.search(rf"\S+ \(process {os.getpid()}\) listens there", sentence)
    assert "--port" in sentence


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("203.0.113.1", "this machine does not have that address; choose one with --host"),
        ("loom.invalid", "the name is not known; choose an address with --host"),
    ],
)
async def test_an_address_of_another_machine_is_reported(host, why):
    sentence = await refused("--store", "memory", "--port", "0", "--host", host)
    assert why in sentence

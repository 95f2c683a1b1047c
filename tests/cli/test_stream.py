"""The command `stream`, with a server that the test plays."""

import asyncio
import json
import os
import signal
import socket
import ssl
import struct

import pytest
from tests.support.program import Listener, program, run

from loom.cli.exit_codes import CONFLICT, INPUT, INTERRUPTED, LOST, OK, REFUSED, UNAUTHORIZED, USAGE

EARLY = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LATE = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def refusal(status: str, detail: str) -> bytes:
    body = json.dumps({"detail": detail, "error": detail}).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize("early", [True, False], ids=["early response", "late response"])
async def test_success_is_a_response_that_ends_after_the_request(listener, early):
    async with program("stream", listener.url, "build/42") as process:
        peer = await listener.accept()
        assert (await peer.head()).startswith("POST /stream/build/42 HTTP/1.1\r\n")
        if early:
            await peer.send(EARLY)
        process.write(b"one\n")
        assert await peer.chunk() == b"one\n"
        process.write(b"two\n")
        await process.end_input()
        assert await peer.body() == b"two\n"
        assert process.running
        await peer.send(END if early else LATE)
        assert await process.ended() == (OK, "")


async def test_the_stream_exists_before_the_first_byte_arrives(listener):
    async with program("stream", listener.url, "s"):
        peer = await listener.accept()
        await peer.head()


async def test_each_byte_leaves_before_the_next_one_arrives(listener):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.head()
        for byte in b"live\0":
            process.write(bytes([byte]))
            assert await peer.chunk() == bytes([byte])


async def test_request_has_token_metadata_content_type_and_force(listener):
    options = [
        "--force",
        "--token",
        "t0",
        "--meta",
        "branch=main",
        "--meta",
        "who=Zoë=1",
        "--content-type",
        "text/x",
    ]
    async with program("stream", f"{listener.url}/loom/", "té/a b;%", *options):
        lines = (await (await listener.accept()).head()).split("\r\n")
    assert lines[0] == "POST /loom/stream/t%C3%A9/a%20b;%25?force=true HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    assert headers["Authorization"] == "Bearer t0"
    assert headers["X-Stream-Metadata"].isascii()
    assert json.loads(headers["X-Stream-Metadata"]) == {"branch": "main", "who": "Zoë=1"}
    assert headers["Content-Type"] == "text/x"
    assert headers["Transfer-Encoding"] == "chunked"
    assert "Content-Encoding" not in headers


async def test_token_comes_from_the_environment_and_proxies_do_not(listener):
    variables = {
        "LOOM_TOKEN": "from-environment",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }
    async with program("stream", listener.url, "s", env=variables):
        head = await (await listener.accept()).head()
    assert "Authorization: Bearer from-environment\r\n" in head


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("409 Conflict", CONFLICT),
        ("401 Unauthorized", UNAUTHORIZED),
        ("403 Forbidden", UNAUTHORIZED),
        ("507 Insufficient Storage", REFUSED),
        ("400 Bad Request", USAGE),
    ],
)
async def test_refusal_while_sending_ends_the_command_while_input_stays_open(listener, status, code):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.head()
        process.write(b"some")
        await peer.chunk()
        await peer.send(refusal(status, "No: for a reason."))
        advice = " Give a valid token with --token or in LOOM_TOKEN." if status.startswith("401") else ""
        assert await process.ended() == (code, f"stream: No: for a reason.{advice}\n")


async def test_refusal_is_seen_before_any_input(listener):
    async with program("stream", listener.url, "s") as process:
        await (await listener.accept()).send(refusal("409 Conflict", "Taken."))
        assert await process.ended() == (CONFLICT, "stream: Taken.\n")


async def test_refusal_without_a_problem_detail_is_reported_on_one_line(listener):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.send(
            b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://x/\x1b[2J\r\nContent-Length: 0\r\n\r\n"
        )
        code, err = await process.ended()
    assert code in (REFUSED, LOST)
    assert "\x1b" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="no answer"),
        pytest.param(EARLY, id="early response without its end"),
        pytest.param(EARLY + b"5\r\nab", id="answer within a chunk"),
        pytest.param(
            b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nab", id="answer shorter than its length"
        ),
        pytest.param(b"HTTP/1.1 201 Created\r\n\r\n", id="answer whose end shows nothing"),
        pytest.param(b"NOISE\r\n\r\n", id="not HTTP"),
    ],
)
@pytest.mark.parametrize(("sent", "how"), [(True, "closed"), (False, "closed"), (False, "reset")])
async def test_connection_that_ends_before_the_response_is_a_lost_server(listener, answer, sent, how):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.head()
        process.write(b"bytes")
        assert await peer.chunk() == b"bytes"
        if sent:
            await process.end_input()
            assert await peer.chunk() == b""
        await peer.send(answer)
        if how == "closed":
            peer.writer.close()
        else:
            peer.writer.transport.abort()
        code, err = await process.ended()
    assert code == LOST
    assert err.startswith("stream: ")
    assert err.count("\n") == 1


async def test_response_that_ends_before_the_request_confirms_nothing(listener):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.head()
        await peer.send(LATE)
        code, err = await process.ended()
    assert code == LOST
    assert "before it had the whole stream" in err


async def test_server_that_refuses_connections_is_a_lost_server(listener):
    await listener.close()
    code, _, err = await run("stream", listener.url, "s")
    assert code == LOST
    assert err.startswith(f"stream: {listener.url} cannot be reached: no program listens there. Start ")


@pytest.mark.parametrize("answered", [True, False])
async def test_ctrl_c_cuts_the_request_without_its_end(listener, answered):
    async with program("stream", listener.url, "s") as process:
        peer = await listener.accept()
        await peer.head()
        if answered:
            await peer.send(EARLY)
        process.write(b"half")
        assert await peer.chunk() == b"half"
        # Ctrl-C ends the program before ours in the pipe, too: the signal and the end of input come together.
        process.signal(signal.SIGSTOP)
        process.signal(signal.SIGINT)
        await process.end_input()
        process.signal(signal.SIGCONT)
        code, err = await process.ended()
        assert (code, err.count("\n")) == (INTERRUPTED, 1)
        assert await peer.reader.read() == b""


@pytest.mark.parametrize("answered", [True, False])
async def test_input_that_fails_cuts_the_request_without_its_end(listener, answered):
    # Reading from a socket that was reset raises.
    with socket.create_server(("127.0.0.1", 0)) as server:
        stdin = socket.create_connection(server.getsockname())
        feeder, _ = server.accept()
    feeder.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with program("stream", listener.url, "s", stdin=stdin.fileno()) as process:
        stdin.close()
        peer = await listener.accept()
        await peer.head()
        if answered:
            await peer.send(EARLY)
        feeder.sendall(b"half")
        assert await peer.chunk() == b"half"
        feeder.close()
        code, err = await process.ended()
        assert await peer.reader.read() == b""
    assert (code, err) == (INPUT, "stream: The input could not be read: Connection reset by peer.\n")


async def test_a_file_as_input_arrives_whole(listener, tmp_path):
    content = os.urandom(3_000_000)
    path = tmp_path / "input"
    path.write_bytes(content)
    with path.open("rb") as file:
        async with program("stream", listener.url, "s", stdin=file.fileno()) as process:
            peer = await listener.accept()
            await peer.head()
            await peer.send(EARLY)
            assert await peer.body() == content
            await peer.send(END)
            assert await process.ended() == (OK, "")


async def test_empty_input_is_an_empty_stream(listener):
    async with program("stream", listener.url, "s", stdin=asyncio.subprocess.DEVNULL) as process:
        peer = await listener.accept()
        await peer.head()
        assert await peer.body() == b""
        await peer.send(LATE)
        assert await process.ended() == (OK, "")


async def test_input_is_not_read_ahead_of_a_server_that_does_not_read(listener):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        async with program("stream", listener.url, "s", stdin=reading) as process:
            peer = await listener.accept()
            await peer.head()
            peer.writer.transport.pause_reading()
            sent = await fill(writing)
            # Socket buffers at both ends, the buffer of the reader here, and a chunk.
            assert sent < 24 << 20
            peer.writer.transport.resume_reading()
            os.close(writing)
            writing = -1
            assert len(await peer.body()) == sent
            await peer.send(LATE)
            assert await process.ended() == (OK, "")
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


async def fill(pipe: int) -> int:
    """Write until the other end reads nothing for a while. Return the number of bytes."""
    loop, total, room = asyncio.get_running_loop(), 0, asyncio.Event()
    loop.add_writer(pipe, room.set)
    try:
        while True:
            async with asyncio.timeout(0.5):
                await room.wait()
            try:
                total += os.write(pipe, bytes(65536))
            except BlockingIOError:
                room.clear()
            assert total < 256 << 20
    except TimeoutError:
        return total
    finally:
        loop.remove_writer(pipe)


@pytest.fixture
async def secret_listener(tool, tmp_path):
    """A listener with TLS, and the certificate to trust."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    new = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    openssl = await asyncio.create_subprocess_exec(
        tool("openssl"), *new, "-keyout", key, "-out", certificate, stderr=asyncio.subprocess.DEVNULL
    )
    assert await openssl.wait() == 0
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with Listener.listening(tls) as listener:
        yield listener, certificate


async def test_https_works_where_the_certificate_is_trusted(secret_listener):
    listener, certificate = secret_listener
    async with program("stream", listener.url, "s", env={"SSL_CERT_FILE": str(certificate)}) as process:
        peer = await listener.accept()
        await peer.head()
        process.write(b"bytes")
        assert await peer.chunk() == b"bytes"
        await process.end_input()
        assert await peer.body() == b""
        await peer.send(LATE)
        assert await process.ended() == (OK, "")


async def test_https_is_refused_where_the_certificate_is_not_trusted(secret_listener):
    listener, _ = secret_listener
    code, _, err = await run("stream", listener.url, "s")
    assert code == LOST
    assert "certificate" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["localhost:3060", "s"], "is not a URL such as http://localhost:3060"),
        (["ftp://localhost", "s"], "is not a URL"),
        (["http://localhost:99999", "s"], "is not a URL"),
        (["http://localhost?x=1", "s"], "must end with its path"),
        (["http://localhost", "a//b"], "segment"),
        (["http://localhost", ""], "empty"),
        (["http://localhost"], "STREAM_ID"),
        (["http://localhost", "s", "--meta", "novalue"], "key=value"),
        (["http://me:pw@localhost", "s", "--token", "t"], "not both"),
        (["http://localhost", "s", "--token", "sec\nret"], "printable"),
    ],
)
async def test_wrong_arguments_are_reported(arguments, hint):
    code, _, err = await run("stream", *arguments)
    assert code == USAGE
    assert hint in err.splitlines()[-1]
    assert "ret" not in err.splitlines()[-1] or "sec" not in err


async def test_standard_error_without_a_reader_does_not_change_the_exit_code(listener):
    await listener.close()
    reading, writing = os.pipe()
    os.close(reading)
    async with program("stream", listener.url, "s", stderr=writing) as process:
        os.close(writing)
        assert (await process.ended())[0] == LOST

"""TLS in `loom serve`, with curl and with certificates made by openssl."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.program import program, run

from loom.cli.exit_codes import OK, USAGE

UPLOAD = ["-X", "POST", "-T", "-"]
LISTENS = re.compile(r"Loom \S+ listens on (https://127\.0\.0\.1:(\d+))\n")
PARTIAL, CUT_BY_TLS = 18, 56
"""Exit codes of curl: the body is shorter than promised; the connection ended without a TLS close."""


async def call(*command, data=None):
    """Run a tool and return its exit code and standard output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if data is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate(data)
    return process.returncode, out


async def curl(*command):
    """Start curl with pipes."""
    return await asyncio.create_subprocess_exec(
        *(*command, "-f", "-N"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )


async def line_of(process, line):
    """Wait until a process has printed `line`."""
    while await process.stdout.readline() != line:
        assert process.returncode is None


@pytest.fixture
def certify(tool, tmp_path):
    """Write a certificate for 127.0.0.1 and its key to `NAME.pem` and `NAME.key`."""

    async def make(name, *more):
        files = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        code, _ = await call(
            tool("openssl"),
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]),
            *(more or ["-nodes"]),
        )
        assert code == 0
        return files

    return make


class Secure:
    """A running `loom serve` with TLS."""

    def __init__(self, process, url, port, certificate):
        self.process = process
        self.url = url
        self.port = port
        self.curl = ["curl", "-sS", "--max-time", "30", "--cacert", certificate]

    def name(self):
        """Return the common name of the certificate that a new connection gets."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port)) as plain:
            with context.wrap_socket(plain) as connection:
                found = re.search(rb"(first|second)", connection.getpeercert(binary_form=True) or b"")
        return found[1].decode() if found else None

    async def reload(self, event):
        """Send SIGHUP and return the log line of `event`, once both parts of the reload are over."""
        self.process.signal(signal.SIGHUP)
        lines: dict[str, dict[str, str]] = {}
        while not any(name.startswith("The tokens were") for name in lines):
            line = json.loads(await self.process.log_line())
            lines[line["event"]] = line
        return lines[event]


@asynccontextmanager
async def secure(cert, key, *more):
    flags = ["--port", "0", "--tls-cert", cert, "--tls-key", key, "--log-format", "json", *more]
    async with program("loom", "serve", *flags) as process:
        line = await process.line()
        found = LISTENS.match(line)
        assert found, (line, await process.ended())
        yield Secure(process, found[1], int(found[2]), cert)


async def test_curl_uploads_and_reads_over_tls_every_byte(certify, tmp_path):
    data = os.urandom(30_000_000)
    async with secure(*await certify("first"), "--data", tmp_path / "data", "--durability", "os") as server:
        url = f"{server.url}/stream/big"
        sent = await call(*server.curl, "-f", "-T", "-", "-X", "POST", url, data=data)
        assert sent[0] == 0
        assert await call(*server.curl, "-f", url) == (0, data)
        code, version = await call(*server.curl, "--http2", "-o", os.devnull, "-w", "%{http_version}", url)
        assert (code, version) == (0, b"1.1")


async def test_clients_of_loom_work_over_tls(certify, tmp_path):
    cert, key = await certify("first")
    async with secure(cert, key, "--store", "memory") as server:
        env = {"SSL_CERT_FILE": str(cert), "LOOM_SERVER": server.url}
        async with program("loom", "push", "s", env=env) as producer:
            producer.write(b"line\n")
            await producer.end_input()
            assert (await producer.ended())[0] == OK
        assert await run("loom", "cat", "s", env=env) == (OK, "line\n", "")


async def test_neither_plain_http_nor_an_old_version_of_tls_is_served(certify):
    async with secure(*await certify("first"), "--store", "memory") as server:
        plain = f"http://127.0.0.1:{server.port}/healthz"
        assert (await call(*server.curl, plain))[1] == b""
        old = [*server.curl, "--ciphers", "DEFAULT:@SECLEVEL=0", "--tls-max"]
        assert (await call(*old, "1.1", f"{server.url}/healthz"))[0] != 0
        assert (await call(*old, "1.2", f"{server.url}/healthz"))[0] == 0


@pytest.mark.parametrize(("version", "code"), [("--http1.1", PARTIAL), ("--http1.0", CUT_BY_TLS)])
async def test_an_aborted_stream_does_not_look_complete_over_tls(certify, version, code):
    window = ["--store", "memory", "--resume-window", "0"]
    async with secure(*await certify("first"), *window) as server:
        url = f"{server.url}/stream/s"
        spy, producer = await curl(*server.curl, f"{server.url}/spy"), await curl(*server.curl, *UPLOAD, url)
        producer.stdin.write(b"half\n")
        await line_of(spy, b"half\n")
        follower = await curl(*server.curl, version, url)
        assert await follower.stdout.readline() == b"half\n"
        producer.kill()
        await producer.wait()
        assert await follower.stdout.read() == b""
        assert await follower.wait() == code
        spy.kill()
        await spy.wait()


async def test_a_reload_brings_a_new_certificate_while_a_stream_continues(certify):
    cert, key = await certify("first")
    async with secure(cert, key, "--store", "memory") as server:
        url = f"{server.url}/stream/s"
        spy, producer = await curl(*server.curl, f"{server.url}/spy"), await curl(*server.curl, *UPLOAD, url)
        producer.stdin.write(b"before\n")
        await line_of(spy, b"before\n")
        follower = await curl(*server.curl, url)
        assert await follower.stdout.readline() == b"before\n"
        assert await asyncio.to_thread(server.name) == "first"

        other = await certify("second")
        other[0].replace(cert)
        other[1].replace(key)
        await server.reload("The certificate was reloaded.")
        assert await asyncio.to_thread(server.name) == "second"
        assert (await call(*server.curl, "-f", f"{server.url}/healthz"))[0] == 0

        producer.stdin.write(b"after\n")
        assert await follower.stdout.readline() == b"after\n"
        producer.stdin.close()
        assert await producer.wait() == 0
        assert await follower.stdout.read() == b""
        assert await follower.wait() == 0
        spy.kill()
        await spy.wait()


async def test_a_reload_of_files_that_do_not_match_keeps_the_certificate(certify):
    cert, key = await certify("first")
    other, _ = await certify("second")
    good = cert.read_bytes()
    async with secure(cert, key, "--store", "memory", "--tokens", "a-token-of-this-test") as server:
        for broken in (other.read_bytes(), b"", None):
            if broken is None:
                cert.unlink()
            else:
                cert.write_bytes(broken)
            line = await server.reload("The certificate was not reloaded.")
            assert line["reason"].startswith("The certificate ")
            assert await asyncio.to_thread(server.name) == "first"
            cert.write_bytes(good)
            _, health = await call(*server.curl, f"{server.url}/healthz")
            assert json.loads(health)["reload"] == "failed"
        await server.reload("The certificate was reloaded.")
        _, health = await call(*server.curl, f"{server.url}/healthz")
        assert "reload" not in json.loads(health)


async def test_a_certificate_that_cannot_be_used_ends_the_start_with_a_sentence(certify, tmp_path):
    cert, key = await certify("first")
    other, _ = await certify("second")
    locked = await certify("locked", "-passout", "pass:word")
    nothing = tmp_path / "nothing"

    async def refusal(*flags: str | Path):
        code, out, err = await run("loom", "serve", "--store", "memory", "--port", "0", *flags)
        assert (code, out, err.count("\n")) == (USAGE, "", 1)
        return err

    assert "KEY_VALUES_MISMATCH" in await refusal("--tls-cert", other, "--tls-key", key)
    assert f"{nothing}" in await refusal("--tls-cert", nothing, "--tls-key", key)
    assert "encrypted" in await refusal("--tls-cert", locked[0], "--tls-key", locked[1])
    assert "cannot be used" in await refusal("--tls-cert", cert)
    assert "tls_cert" in await refusal("--tls-key", key)

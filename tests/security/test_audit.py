"""The audit channel of the log: stable event names and fields, whatever the log level."""

import json
import re
import signal
from pathlib import Path

import pytest
from tests.cli.test_serve import served

ROOT = Path(__file__).parents[2]
ADMIN, READER = "admin-token-of-the-test", "reader-token-of-the-test"
SETTINGS = f"""
log_level: error
log_format: json
tokens:
  - {{name: boss, token: {ADMIN}, scopes: [admin]}}
  - {{name: job, token: {READER}, scopes: [read], prefix: a}}
"""


@pytest.fixture
async def server(tmp_path):
    file = tmp_path / "loom.yaml"
    file.write_text(SETTINGS)
    async with served("-c", file) as server:
        server.file = file
        yield server


async def send(server, method, target, body=b"", token=ADMIN, **headers):
    wire = await server.wire()
    if token:
        headers["authorization"] = f"Bearer {token}"
    await wire.request(method, target, body, connection="close", **headers)
    head = await wire.answer()
    data = b"" if head.status == 204 else await wire.body()
    await wire.close()
    return head.status, data


async def event(server, name):
    """Return the next line of the log, which is of the event `name`, without its time."""
    line = json.loads(await server.process.log_line())
    assert (line.pop("logger"), line.pop("event"), line.pop("level")) == ("loom.audit", name, "info")
    assert line.pop("timestamp")
    return line


BOSS = {"client": "127.0.0.1", "owner": "boss", "who": "boss"}
JOB = {"client": "127.0.0.1", "owner": "job", "who": "job"}


async def test_signing_and_revoking_a_token_are_audited_without_the_token(server):
    wanted = {"scopes": ["read", "write"], "prefix": "a/", "expires_in": 60, "name": "friend"}
    code, body = await send(server, "POST", "/tokens", json.dumps(wanted).encode())
    signed = json.loads(body)
    line = await event(server, "token.signed")
    assert (code, line) == (
        201,
        BOSS
        | {"jti": signed["jti"], "expires": signed["expires"], "name": "friend"}
        | {"scopes": ["read", "write"], "streams": "a/"},
    )
    assert signed["token"] not in str(line)
    assert (await send(server, "DELETE", f"/tokens/{signed['jti']}"))[0] == 204
    assert await event(server, "token.revoked") == BOSS | {"jti": signed["jti"]}


async def test_replacing_and_deleting_streams_is_audited_and_creating_them_is_not(server):
    for target, code in (("/stream/a/1", 201), ("/stream/a/1?force", 201), ("/stream/a/2", 201)):
        assert (await send(server, "POST", target, b"bytes"))[0] == code
    assert await event(server, "stream.replaced") == BOSS | {"stream": "a/1"}
    assert (await send(server, "DELETE", "/stream/a/1"))[0] == 204
    assert await event(server, "stream.deleted") == BOSS | {"stream": "a/1", "bytes": 5}
    assert (await send(server, "DELETE", "/streams?prefix=a&confirm=7"))[0] == 409
    assert (await send(server, "DELETE", "/streams?prefix=a&confirm=1"))[0] == 200
    assert await event(server, "streams.deleted") == BOSS | {"prefix": "a", "count": 1}


async def test_refused_access_is_audited(server):
    nobody = {"client": "127.0.0.1", "owner": "", "who": ""}
    assert (await send(server, "GET", "/streams", token=None))[0] == 401
    refused = {"code": "unauthorized", "method": "GET", "path": "/streams"}
    assert await event(server, "access.refused") == nobody | refused
    assert (await send(server, "POST", "/stream/a", token=READER))[0] == 403
    refused = {"code": "forbidden", "method": "POST", "path": "/stream/a"}
    assert await event(server, "access.refused") == JOB | refused
    assert (await send(server, "GET", "/stream/b", token=READER))[0] == 404
    refused = {"code": "outside_prefix", "method": "GET", "path": "/stream/b"}
    assert await event(server, "access.refused") == JOB | refused
    # A stream that does not exist is no refusal.
    assert (await send(server, "GET", "/stream/a/none", token=READER))[0] == 404
    assert (await send(server, "GET", "/metrics", token=READER))[0] == 403
    assert (await event(server, "access.refused"))["path"] == "/metrics"


async def test_a_host_that_is_not_served_is_audited():
    async with served("--log-level", "error", "--log-format", "json") as server:
        assert (await send(server, "GET", "/streams", token=None, host="evil.example"))[0] == 421
        line = await event(server, "access.refused")
        assert (line["code"], line["path"]) == ("misdirected", "/streams")


async def test_reloads_are_audited(server):
    server.process.signal(signal.SIGHUP)
    assert await event(server, "tokens.reloaded") == {"tokens": 2}
    server.file.write_text("")
    server.process.signal(signal.SIGHUP)
    error = json.loads(await server.process.log_line())
    assert error["level"] == "error"
    assert await event(server, "tokens.reload_failed") == {"reason": error["reason"]}


def test_every_event_of_the_audit_channel_is_documented():
    text = (ROOT / "docs" / "access.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "src" / "loom").rglob("*.py"))
    events = set(re.findall(r'audit\(\s*(?:scope, )?"([a-z_.]+)"', sources))
    assert len(events) == 10
    assert events == set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE))

"""Secrets of streams that the setting `redact` covers reach neither disk nor readers."""

import asyncio
import hashlib
import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import serve as process  # noqa: F401  # a server as a process
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire
from tests.unit.test_config import refused

from loom.model import State

SECRET = b"hunter2-secret"
STARS = b"*" * len(SECRET)
RULES = [{"prefix": "build", "literals": [SECRET.decode()], "patterns": [r"token=[a-z]{8}"]}]
OPEN: dict[str, Any] = {"upload_complete": "?0"}
PROGRESS: dict[str, Any] = {"accept": "application/x-ndjson"}
PATCH: dict[str, Any] = {"content_type": "application/partial-upload", "upload_complete": "?1"}


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    return await serve(redact=RULES)


async def shown(loom: Loom, target: str) -> bytes:
    return await (await loom.get(f"{target}?notail")).body()


def digest(data: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_secrets_are_redacted_before_they_are_stored_or_shown(loom: Loom, tmp_path: Path):
    follower = asyncio.create_task(loom.follow("/stream/build/1"))
    data = b"a " + SECRET + b"\nb token=abcdefghi\n" + SECRET
    await loom.stored("/stream/build/1", data)
    hidden = b"a " + STARS + b"\nb **************i\n" + STARS
    assert await (await follower).body() == hidden
    assert await (await loom.get("/stream/build/1", range="bytes=5-30")).body() == hidden[5:31]
    assert (await loom.get("/stream/build/1")).head["repr-digest"] == digest(hidden)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    await loom.stored("/stream/other", data)
    assert await shown(loom, "/stream/other") == data


async def test_a_secret_in_single_bytes_is_redacted_and_ends_of_lines_are_not_delayed(loom: Loom):
    producer = await loom.live("/stream/build/1", b"begin\n")
    for byte in b"x " + SECRET + b" y":
        await producer.chunk(bytes([byte]))
    await producer.chunk(b"\nnext")
    begun = time.monotonic()
    reader = await loom.get("/stream/build/1?offset=6")
    assert await reader.take(len(SECRET) + 5) == b"x " + STARS + b" y\n"
    assert await reader.take(4) == b"next", "after a silence, without the end of the line"
    assert time.monotonic() - begun < 2
    await producer.chunk(b"")
    await producer.body()
    assert await reader.body() == b""


@ONE_STORE
async def test_a_line_that_never_ends_is_shown_all_the_time(loom: Loom):
    producer = await loom.live("/stream/build/1", b"begin\n")
    reader = await loom.get("/stream/build/1?offset=6")
    taking = asyncio.create_task(reader.read_chunk())
    while not taking.done():
        await producer.chunk(b".")
        await asyncio.sleep(0.02)  # less than the silence that releases what is held
    assert await taking


@ONE_STORE
async def test_a_producer_that_waits_for_its_bytes_is_acknowledged(loom: Loom):
    wire = await loom.connect()
    await wire.post("/stream/build/1", **PROGRESS, **OPEN)
    assert (await wire.answer()).status == 201
    begun = time.monotonic()
    await wire.chunk(b"Continue? " + SECRET[:8])
    assert json.loads(await wire.until(b"\n"))["offset"] == 18
    assert time.monotonic() - begun < 2
    await wire.chunk(SECRET[8:])
    await wire.chunk(b"")
    assert json.loads((await wire.body()).splitlines()[-1])["offset"] == 10 + len(SECRET)
    assert await shown(loom, "/stream/build/1") == b"Continue? " + STARS


@ONE_STORE
@pytest.mark.parametrize("cut", [1, 3, 4, 9, len(SECRET) - 1])
async def test_a_producer_lost_within_a_secret_resumes_before_it(loom: Loom, cut: int):
    producer = await loom.live("/stream/build/1", b"line\n", **OPEN, **PROGRESS)
    await producer.chunk(b"x " + SECRET[:cut])
    await producer.close()
    await loom.until("build/1", State.INTERRUPTED)
    head = (await loom.ask("HEAD", "/stream/build/1")).head
    offset = int(head["upload-offset"])
    assert offset <= 7 + cut
    rest = (b"line\nx " + SECRET + b" y")[offset:]
    assert (
        await loom.ask("PATCH", "/stream/build/1", rest, upload_offset=offset, **PATCH)
    ).head.status == 204
    if offset == 5:
        assert await shown(loom, "/stream/build/1") == b"line\nx " + STARS + b" y"
    assert SECRET not in await shown(loom, "/stream/build/1")


@ONE_STORE
async def test_every_byte_of_a_producer_that_cannot_resume_is_kept(loom: Loom):
    producer = await loom.live("/stream/build/1", b"line\n")
    await producer.chunk(b"a part of a line, and " + SECRET[:9])
    await producer.close()
    info = await loom.until("build/1", State.INTERRUPTED)
    assert info.size in (5, 36), "what arrived before the reset"
    if info.size == 36:
        assert (await shown(loom, "/stream/build/1"))[5:] == b"a part of a line, and *********"


@pytest.mark.parametrize("size", [1, 5, 100])
async def test_a_secret_split_over_requests_is_redacted(loom: Loom, size: int):
    data = b"line\nx " + SECRET + b" y " + SECRET
    await loom.ask("POST", "/stream/build/1", b"", **OPEN)
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        headers = PATCH | ({} if at + size >= len(data) else OPEN)
        wire = await loom.ask("PATCH", "/stream/build/1", piece, upload_offset=at, **headers)
        assert wire.head.status == 204
        assert int(wire.head["upload-offset"]) == at + len(piece)
    stored = await shown(loom, "/stream/build/1")
    assert len(stored) == len(data)
    assert SECRET[3:] not in stored


async def test_a_digest_is_compared_unless_something_was_redacted(loom: Loom):
    plain, secret = b"nothing here\n", b"a " + SECRET + b"\n"
    for id, data, announced, status in [
        ("1", plain, plain, 201),
        ("2", plain, b"else", 422),
        ("3", secret, secret, 201),
        ("4", secret, b"else", 201),
    ]:
        wire = await loom.ask(
            "POST", f"/stream/build/{id}", data, upload_complete="?1", stream_digest=digest(announced)
        )
        assert wire.head.status == status
    await loom.ask("POST", "/stream/build/5", secret, **OPEN)
    wire = await loom.ask(
        *("PATCH", "/stream/build/5", plain),
        upload_offset=len(secret),
        stream_digest=digest(secret + plain),
        **PATCH,
    )
    assert wire.head.status == 204
    assert (await loom.service.info("build/5")).state is State.COMPLETE


@ONE_STORE
async def test_metadata_is_redacted_at_the_creation_and_in_patches(loom: Loom):
    text = json.dumps({"command": ["deploy", f"--password={SECRET.decode()}"], "n": 1})
    await loom.stored("/stream/build/1", b"x", x_stream_metadata=text)
    wire = await loom.ask(
        "PATCH",
        "/stream/build/1",
        b'{"url": "x?token=abcdefgh"}',
        content_type="application/merge-patch+json",
    )
    hidden = {"command": ["deploy", f"--password={STARS.decode()}"], "n": 1, "url": "x?**************"}
    assert json.loads(wire.head["x-stream-metadata"]) == hidden
    assert json.loads((await loom.service.info("build/1")).metadata) == hidden


async def test_a_limit_on_bytes_counts_those_that_are_held(serve: Serve):
    loom = await serve(redact=RULES, max_stream_bytes=10)
    wire = await loom.ask("POST", "/stream/build/1", b"a line without end", via="1.1 proxy")
    assert wire.head.status == 413
    info = await loom.service.info("build/1")
    assert (info.state, info.size) == (State.ABORTED, 10)


async def test_a_secret_survives_no_kill_and_its_producer_resumes(
    process: Any,  # noqa: F811
    tmp_path: Path,
):
    rules = json.dumps(RULES)
    server = await process(redact=rules, resume_window="60s")
    wire = await Wire.open("127.0.0.1", server.port)
    await wire.post("/stream/build/1", **PROGRESS, **OPEN)
    await wire.answer()
    data = b"".join(b"%04d %s token=abcdefgh %s\n" % (n, SECRET, b"z" * 50) for n in range(2000))
    at = 0
    for _ in range(4):
        await wire.chunk(data[at : at + 30_007])
        await wire.until(b"\n")
        await server.kill()
        with pytest.raises((Cut, ConnectionError)):
            await wire.body()
        await wire.close()
        server = await process(redact=rules, resume_window="60s")
        wire = await Wire.open("127.0.0.1", server.port)
        await wire.request("HEAD", "/stream/build/1")
        at = int((await wire.answer())["upload-offset"])
        await wire.close()
        wire = await Wire.open("127.0.0.1", server.port)
        headers = {"upload_offset": at, **PROGRESS, **PATCH, **OPEN}
        await wire.request("PATCH", "/stream/build/1", transfer_encoding="chunked", **headers)
        await wire.answer()
    await wire.chunk(data[at:])
    await wire.chunk(b"")
    await wire.body()
    await wire.close()
    wire = await Wire.open("127.0.0.1", server.port)
    await wire.request("GET", "/stream/build/1?notail")
    await wire.answer()
    stored = await wire.body()
    assert stored == data.replace(SECRET, STARS).replace(b"token=abcdefgh", b"*" * 14)
    await wire.close()
    await server.kill()
    for path in (tmp_path / "data").rglob("*"):
        assert path.is_dir() or SECRET not in path.read_bytes()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            "[{patterns: ['(']}]",
            "it has as number 1 one that cannot be used: a group has no closing parenthesis",
        ),
        ("[{patterns: ['fine', 'x*']}]", "number 2 one that cannot be used: it matches an empty text"),
        ("[{literals: [abc]}]", "fewer than 4"),
        ("[{prefix: a}]", "neither literals nor patterns"),
        ("[{pattern: [a]}]", "redact"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_with_file_and_key(tmp_path: Path, rules: str, said: str):
    path = tmp_path / "loom.yaml"
    path.write_text(f"redact: {rules}\n")
    sentence = refused([path])
    assert said in sentence
    assert "redact" in sentence
    assert "loom.yaml" in sentence

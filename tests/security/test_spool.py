"""Spool files that another user may have put there."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.client.test_spool import REMAINDER
from tests.support.program import Listener, run

from loom.cli.exit_codes import OK, REFUSED, USAGE
from loom.client import spool

HEADER = asdict(REMAINDER)
OTHER_USER = 54321


@pytest.fixture
async def foreign() -> AsyncIterator[Listener]:
    """A server that the spool file names and the user did not configure."""
    async with Listener.listening() as foreign:
        yield foreign


async def bytes_of_push() -> AsyncIterator[bytes]:
    yield b"rest"


async def refusal(path: Path) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(spool.SpoolError) as raised:
        await asyncio.to_thread(spool.open_file, path)
    return str(raised.value)


async def test_the_token_goes_to_the_configured_server_only(listener, foreign, tmp_path):
    path = await spool.save(tmp_path, replace(REMAINDER, server=foreign.url), bytes_of_push())
    resume = ["push", "--resume", "--spool", tmp_path, "--patience", "0"]
    env = {"LOOM_SERVER": listener.url, "LOOM_TOKEN": "token-of-the-test"}
    code, out, err = await run("loom", *resume, env=env)
    assert (code, out) == (USAGE, "")
    assert foreign.url in err
    assert "--server" in err
    assert path.exists()
    assert (listener.accepted, foreign.accepted) == (0, 0)
    resuming = asyncio.create_task(run("loom", *resume, "--server", listener.url, env=env))
    peer = await listener.accept()
    assert "Authorization: Bearer token-of-the-test" in await peer.head()
    await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    assert (await resuming)[0] == REFUSED
    assert foreign.accepted == 0


async def test_the_recorded_server_is_used_if_it_is_the_configured_one(listener, tmp_path):
    await spool.save(tmp_path, replace(REMAINDER, server=listener.url), bytes_of_push())
    resume = ["push", "--resume", "--spool", tmp_path, "--patience", "0"]
    resuming = asyncio.create_task(run("loom", *resume, env={"LOOM_SERVER": listener.url}))
    peer = await listener.accept()
    assert (await peer.head()).startswith("POST /stream/s")
    await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    assert (await resuming)[0] == REFUSED


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_can_write_is_refused(tmp_path, mode):
    path = await spool.save(tmp_path, REMAINDER, bytes_of_push())
    path.chmod(mode)
    assert "can be written by other users" in await refusal(path)


async def test_a_file_of_another_user_is_refused(tmp_path):
    if os.geteuid() == 0:
        path = await spool.save(tmp_path, REMAINDER, bytes_of_push())
        os.chown(path, OTHER_USER, -1)
    else:
        path = Path("/etc/passwd")
    assert "belongs to another user" in await refusal(path)


async def test_links_and_special_files_are_refused_and_do_not_block(tmp_path):
    path = await spool.save(tmp_path / "real", REMAINDER, bytes_of_push())
    directory = tmp_path / "spool"
    directory.mkdir()
    (directory / "link.push").symlink_to(path)
    (directory / "broken.push").symlink_to(tmp_path / "none")
    os.mkfifo(directory / "fifo.push", 0o600)
    (directory / "directory.push").mkdir(0o700)
    assert "symbolic link" in await refusal(directory / "link.push")
    for name in ("fifo", "directory"):
        assert "is not a regular file" in await refusal(directory / f"{name}.push")
    code, out, err = await run("loom", "push", "--resume", "--spool", directory)
    assert (code, out) == (REFUSED, "")
    assert (err.count("\n"), "Traceback" in err) == (5, False)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 60_000,
        b'{"server": ' + b'{"a":' * 12_000,
        json.dumps(HEADER | {"offset": "3"}).encode(),
        json.dumps(HEADER | {"offset": -1, "size": 3}).encode(),
        json.dumps(HEADER | {"id": 7}).encode(),
        json.dumps(HEADER | {"members": []}).encode(),
        json.dumps(HEADER | {"more": 1}).encode(),
        b"7",
    ],
    ids=["deep list", "deep object", "text", "negative", "number", "list", "unknown", "no object"],
)
async def test_a_header_of_another_form_is_refused(tmp_path, header):
    path = tmp_path / "a.push"
    path.write_bytes(header + b"\nrest")
    path.chmod(0o600)
    assert await refusal(path) == f"{path} is not a spool file."
    code, _, err = await run("loom", "push", "--resume", "--spool", tmp_path)
    assert (code, err.count("\n")) == (REFUSED, 2)


async def test_an_id_or_a_header_value_that_no_push_has_is_refused_in_a_sentence(listener, tmp_path):
    for name, value in [
        ("id", "a//b"),
        ("content_type", "a\r\nb: c"),
        ("idempotency_key", "a\nb"),
        ("metadata", "x"),
    ]:
        directory = tmp_path / name
        header = json.dumps(HEADER | {name: value, "server": listener.url})
        directory.mkdir()
        path = directory / "a.push"
        path.write_bytes(header.encode() + b"\nrest")
        path.chmod(0o600)
        code, _, err = await run("loom", "push", "--resume", "--spool", directory, "--server", listener.url)
        assert code not in (OK, 70)
        assert "Traceback" not in err
        assert listener.accepted == 0

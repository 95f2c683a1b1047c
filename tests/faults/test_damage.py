"""Damage at rest: bits flipped, files truncated or removed from outside. No damaged stream is served as
whole.
"""

import asyncio
import json
import os

import pytest
from tests.support.peers import Content, ask, produce, send
from tests.support.server import BIN, until

from loom.cli.verify import CANNOT, DAMAGED, GOOD

SIZE = 300_000


def flip(path) -> None:
    with open(path, "r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)[0]
        file.seek(SIZE // 2)
        file.write(bytes([byte ^ 1]))


HARM = {"flipped": flip, "cut": lambda path: os.truncate(path, SIZE - 1), "removed": os.unlink}


async def stored(server, names) -> None:
    """Create complete streams with these names, with digests."""
    for number, name in enumerate(names):
        async with produce(server, f"/stream/{name}") as wire:
            await send(wire, Content(number), 0, SIZE)
            await wire.chunk(b"")
            await wire.body()
        assert "repr-digest" in (await ask(server, "HEAD", f"/stream/{name}"))[0]


def files_in(data):
    """Return the content files, oldest first."""
    return sorted(path for path in (data / "content").rglob("*") if path.is_file())


async def verify(data, *options):
    process = await asyncio.create_subprocess_exec(
        BIN / "loom", "verify", data, *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_verify_names_every_damaged_stream_and_no_other(tmp_path, run):
    data, names = tmp_path / "data", [*HARM, "good"]
    server = await run(data)
    await stored(server, names)
    code, _, said = await verify(data)
    assert code == CANNOT
    assert "in use by another Loom" in said
    assert await server.stop() == 0
    code, said, _ = await verify(data)
    assert (code, said) == (
        GOOD, f"4 streams, {4 * SIZE} bytes: 0 damaged, 4 compared with their digest, 0 by length only\n"
    )  # fmt: skip
    for harm, path in zip(HARM.values(), files_in(data), strict=False):
        harm(path)
    code, said, _ = await verify(data, "--json")
    report = json.loads(said)
    assert code == DAMAGED
    assert (report["streams"], report["compared"]) == (4, 1)
    assert {each["id"]: each["fault"] for each in report["damaged"]} == {
        "flipped": "the bytes are not those of the digest",
        "cut": f"the file has {SIZE - 1} of {SIZE} bytes",
        "removed": "the file is missing",
    }
    code, said, _ = await verify(data)
    assert code == DAMAGED
    assert said.count("damaged: ") == 3


async def test_verify_after_a_kill_replays_the_log_first(tmp_path, run):
    server = await run(tmp_path / "data")
    await stored(server, ["a"])
    await server.kill()
    code, said, _ = await verify(tmp_path / "data")
    assert code == GOOD
    assert said.startswith(f"1 stream, {SIZE} bytes: 0 damaged, ")


async def test_verify_refuses_another_directory_and_creates_nothing(tmp_path):
    code, _, said = await verify(tmp_path / "other")
    assert code == CANNOT
    assert "is not a data directory" in said
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("harm", HARM)
async def test_a_running_server_finds_damage_and_stops_serving_the_stream(harm, tmp_path, run):
    data = tmp_path / "data"
    server = await run(data)
    await stored(server, ["bad", "good"])
    assert await server.stop() == 0
    HARM[harm](files_in(data)[0])
    server = await run(data, scrub_interval=0.05, scrub_rate="1GiB")
    log = tmp_path / "server.log"
    await until("the damage is found", lambda: '"The stored bytes of a stream are damaged' in log.read_text())
    assert json.loads((await ask(server, "GET", "/healthz"))[1])["damaged"] == 1
    for target in ("/stream/bad", "/stream/bad?offset=7", "/stream/bad?notail"):
        head, body = await ask(server, "GET", target)
        assert head.status == 500
        assert b"are damaged" in body
    assert (await ask(server, "GET", "/stream/good"))[1] == Content(1).at(0, SIZE)
    assert (await ask(server, "GET", "/readyz"))[0].status == 200
    assert (await ask(server, "DELETE", "/stream/bad"))[0].status == 204
    assert "damaged" not in json.loads((await ask(server, "GET", "/healthz"))[1])

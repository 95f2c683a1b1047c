"""`loom import` with data directories of ProboCI's loom."""

import asyncio
import gzip
import json
import os
import random
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.support.program import BIN, environment

from loom.cli.import_ import Damage, content
from loom.model import Info, NewStream, Patch, Query, State, steady_clock
from loom.store.files import FilesStore

TEXT = b"".join(b"line %d %x\n" % (n, n * 7919 % 65537) for n in range(60_000))
AT = 1_500_000_000.5


def imported(source: Path, data: Path, *options: object) -> tuple[int, dict[str, Any]]:
    command = [BIN / "loom", "import", source, "--data", data, "--json", *options]
    done = subprocess.run([str(word) for word in command], env=environment(), capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def put(directory: Path, id: str, data: bytes, at: float = AT) -> None:
    path = directory / f"stream-{id}.log"
    path.write_bytes(data)
    os.utime(path, (at, at))


async def everything(data: Path) -> dict[str, tuple[Info, bytes]]:
    store = await FilesStore.start(data, clock=steady_clock())
    found = {}
    async for info in store.find(Query()):
        async with await store.open(info.key) as bytes_of:
            found[info.id] = info, b"".join([piece async for piece in bytes_of.read(0, info.size)])
    await store.close()
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a file of each kind."""
    directory = tmp_path / "probo"
    directory.mkdir()
    put(directory, "plain", b"hello\r\n\x00", AT + 1)
    put(directory, "packed", gzip.compress(TEXT), AT)
    put(directory, "cut", gzip.compress(TEXT)[:-100], AT + 2)
    put(directory, "empty", b"")
    (directory / "deleted_1500000000_stream-plain.log").write_bytes(b"old")
    (directory / "notes.txt").write_text("not a stream")
    rows = [{"id": "plain", "meta": {"a": "\u00e9"}}, {"id": "packed", "buildId": "b", "taskName": None}]
    (tmp_path / "meta.json").write_text(json.dumps([*rows, {"id": "gone", "meta": {}}]))
    return directory


def test_bytes_metadata_states_and_times_are_imported(source: Path, tmp_path: Path):
    code, report = imported(source, tmp_path / "data", "--metadata", tmp_path / "meta.json")
    assert code == 0
    assert report["streams"] == {"complete": 3, "aborted": 1, "without a file": 1}
    found = asyncio.run(everything(tmp_path / "data"))
    assert found.keys() == {"plain", "packed", "cut", "empty"}
    assert next(iter(found)) == "cut", "the newest comes first"
    plain, packed, cut = found["plain"], found["packed"], found["cut"]
    assert (plain[0].metadata, plain[1]) == ('{"a": "\\u00e9"}', b"hello\r\n\x00")
    assert (json.loads(packed[0].metadata), packed[1]) == ({"buildId": "b", "taskName": None}, TEXT)
    assert (packed[0].created, packed[0].ended) == (AT, AT)
    assert (cut[0].state, cut[0].reason) == (State.ABORTED, "imported: the gzip file is cut off")
    assert TEXT.startswith(cut[1])
    assert len(cut[1]) > len(TEXT) // 2


def test_second_run_changes_nothing(source: Path, tmp_path: Path):
    imported(source, tmp_path / "data")
    before = asyncio.run(everything(tmp_path / "data"))
    code, report = imported(source, tmp_path / "data")
    assert (code, report["streams"]) == (0, {"already there": 4})
    assert asyncio.run(everything(tmp_path / "data")) == before


def test_dry_run_reports_the_same_and_writes_nothing(source: Path, tmp_path: Path):
    code, report = imported(source, tmp_path / "data", "--metadata", tmp_path / "meta.json", "--dry-run")
    assert not (tmp_path / "data").exists()
    again = imported(source, tmp_path / "data", "--metadata", tmp_path / "meta.json")
    assert (code, report | {"dry_run": False}) == again


def test_an_interrupted_run_is_completed_and_other_streams_are_kept(source: Path, tmp_path: Path):
    async def interrupted() -> None:
        store = await FilesStore.start(tmp_path / "data", clock=steady_clock())
        half = NewStream(id="packed", idempotency_key="import of stream-packed.log")
        writer = await store.create(half)
        writer.append(TEXT[:1000])
        await (await store.create(NewStream(id="plain"))).close(Patch(state=State.COMPLETE))
        await store.close()

    asyncio.run(interrupted())
    code, report = imported(source, tmp_path / "data")
    assert code == 1
    assert [note["id"] for note in report["notes"] if note["outcome"] == "failed"] == ["plain"]
    found = asyncio.run(everything(tmp_path / "data"))
    assert (found["packed"][0].state, found["packed"][1]) == (State.COMPLETE, TEXT)
    assert found["plain"][1] == b""


def test_json_lines_are_accepted_and_other_text_is_refused(source: Path, tmp_path: Path):
    table = tmp_path / "lines.json"
    table.write_text('{"id": "plain", "meta": {"n": 1}}\n\n{"id": "cut", "meta": null}\n')
    assert imported(source, tmp_path / "data", "--metadata", table)[0] == 0
    assert json.loads(asyncio.run(everything(tmp_path / "data"))["plain"][0].metadata) == {"n": 1}
    for text in ("{", "[1]", '[{"meta": {}}]'):
        table.write_text(text)
        command: list[object] = [
            BIN / "loom",
            "import",
            source,
            "--metadata",
            table,
            "--data",
            tmp_path / "other",
        ]
        done = subprocess.run(
            [str(each) for each in command], env=environment(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("size", [0, 1, 3, 9, 10, 17])
def test_a_gzip_file_cut_anywhere_yields_its_readable_bytes(tmp_path: Path, size: int):
    packer = zlib.compressobj(wbits=31)
    whole = b"".join(packer.compress(b"abc" * 10) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(5))
    path = tmp_path / "f"
    path.write_bytes(whole[: len(whole) - size] if size else whole)
    got = b""

    def read() -> None:
        nonlocal got
        for piece in content(path, plain=False):
            got += piece

    with pytest.raises(Damage):
        read()
    assert (b"abc" * 50).startswith(got)
    assert len(got) >= 120 - size * 30


def test_damage_ends_the_stream_and_plain_reads_files_unchanged(tmp_path: Path):
    packed = bytearray(gzip.compress(random.Random(7).randbytes(200_000) + TEXT))
    packed[150_000] ^= 0xFF
    path = tmp_path / "f"
    path.write_bytes(packed)
    with pytest.raises(Damage):
        list(content(path, plain=False))
    assert b"".join(content(path, plain=True)) == packed


def test_the_members_of_a_gzip_file_are_one_stream(tmp_path: Path):
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(b"a" * 3_000_000) + gzip.compress(b"b"))
    pieces = list(content(path, plain=False))
    assert b"".join(pieces) == b"a" * 3_000_000 + b"b"
    assert max(map(len, pieces)) <= 256 << 10

"""`loom import` of a directory that another user has written."""

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.program import BIN, environment

from loom.cli.import_ import content


def run(directory: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [BIN / "loom", "import", directory, "--data", directory / "data", *options]
    return subprocess.run(
        [str(word) for word in command], env=environment(), capture_output=True, text=True, timeout=30
    )


def report(directory: Path, *options: object) -> Any:
    return json.loads(run(directory, "--json", *options).stdout)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device"])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: str):
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:$6$hash")
    path = tmp_path / "stream-a.log"
    match kind:
        case "link":
            path.symlink_to(secret)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
    (tmp_path / "stream-dangling.log").symlink_to(tmp_path / "nothing")
    (tmp_path / "stream-good.log").write_bytes(b"good")
    shown = report(tmp_path)
    assert shown["streams"] == {"complete": 1, "failed": 2}
    assert shown["bytes"] == 4
    assert {note["why"] for note in shown["notes"]} == {
        "it is a link or a special file; only regular files are imported"
    }


def test_hard_links_are_refused(tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"root:$6$hash")
    os.link(tmp_path / "secret", tmp_path / "stream-a.log")
    shown = report(tmp_path)
    assert (shown["streams"], shown["bytes"]) == ({"failed": 1}, 0)
    assert "hard link" in shown["notes"][0]["why"]


def test_many_tiny_members_are_read_whole(tmp_path: Path):
    path = tmp_path / "stream-a.log"
    numbers = [b"%d," % number for number in range(30_000)]
    path.write_bytes(b"".join(map(gzip.compress, numbers)))
    assert b"".join(content(path, plain=False)) == b"".join(numbers)


def test_decompression_has_a_limit_in_bytes_and_in_ratio(tmp_path: Path):
    (tmp_path / "stream-bomb.log").write_bytes(gzip.compress(bytes(64 << 20)))
    shown = report(tmp_path, "--dry-run")
    assert (shown["streams"], shown["bytes"]) == ({"aborted": 1}, max(16 << 20, 500 * size(tmp_path)))
    assert "--max-ratio" in shown["notes"][0]["why"]
    shown = report(tmp_path, "--max-bytes", "1M")
    assert (shown["streams"], shown["bytes"]) == ({"aborted": 1}, 1 << 20)
    assert "--max-bytes" in shown["notes"][0]["why"]
    assert report(tmp_path, "--dry-run", "--max-ratio", 2000)["streams"] == {"complete": 1}


def size(directory: Path) -> int:
    return (directory / "stream-bomb.log").stat().st_size


def test_a_sparse_file_counts_too(tmp_path: Path):
    with (tmp_path / "stream-a.log").open("wb") as file:
        file.truncate(1 << 40)
    assert report(tmp_path, "--max-bytes", "1M")["bytes"] == 1 << 20


def test_names_cannot_control_the_terminal(tmp_path: Path):
    os.symlink("x", os.fsencode(tmp_path) + b"/stream-\x1b]0;title\x07\xff\xe2\x80\xae.log")
    (tmp_path / "table.json").write_text('[{"id": "\\u001b[2J\\u202e\\ud800"}]')
    done = run(tmp_path, "--metadata", tmp_path / "table.json")
    assert (done.stdout.count("\n"), done.stderr) == (3, "")
    assert done.stdout.replace("\n", "").isprintable()
    assert "\\x1b]0;title" in done.stdout

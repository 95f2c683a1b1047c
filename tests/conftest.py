"""Run every test under uvloop, as the server does, and under the blocking-call detector."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
import uvloop
from blockbuster import BlockBuster, BlockBusterFunction

pytest_plugins = ["tests.support.running"]

# An example that waits for a disk may take its time.
hypothesis.settings.register_profile("loom", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("loom")

SENDFILE_LIMIT = 1 << 20

# Calls that may wait for a disk and that the detector does not know by itself.
BLOCKING = [
    *("fsync", "fdatasync", "sync", "ftruncate", "truncate", "posix_fallocate", "open"),
    *("pread", "pwrite", "preadv", "pwritev", "readv", "writev"),
]

# One row or two found by their key, on a connection that only reads: microseconds, mostly from memory.
POINT_SELECTS = ("loom/store/files/queries.py", {"by_id", "by_number", "entry", "place", "moments_around"})

# What a pipe holds that the loop has found readable.
INPUT = ("loom/client/files.py", {"read_chunks"})

# The places that may make a call in the event loop: file and functions.
MAY_BLOCK_IN = {
    "sqlite3.Connection.execute": [POINT_SELECTS],
    "sqlite3.Cursor.fetchone": [POINT_SELECTS],
    "os.read": [INPUT],
}


def _does_not_wait(_fd: int, _buffers: Any, _offset: int, flags: int = 0) -> bool:
    """Return True with RWF_NOWAIT: preadv then reads from memory or fails."""
    return bool(flags & os.RWF_NOWAIT)


def _is_bounded(_out: int, _in: int, _offset: int | None, count: int) -> bool:
    """A turn of zero-copy sending is at most 1 MiB, on a socket that does not block."""
    return count <= SENDFILE_LIMIT


MAY_BLOCK_IF: dict[str, Callable[..., bool]] = {
    "os.preadv": _does_not_wait,
    "os.sendfile": _is_bounded,
}


def _detector() -> BlockBuster:
    detector = BlockBuster("loom")
    for name in BLOCKING:
        detector.functions[f"os.{name}"] = BlockBusterFunction(os, name, scanned_modules="loom")
    for name, allowed in MAY_BLOCK_IF.items():
        detector.functions[name].can_block_predicate = allowed
    for name, places in MAY_BLOCK_IN.items():
        for file, functions in places:
            detector.functions[name].can_block_in(file, functions)
    return detector


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Fail any blocking call that loom's code makes on a running event loop."""
    detector = _detector()
    detector.activate()
    yield detector
    detector.deactivate()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Return the path of a system tool; without it the test is skipped, in CI it fails."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None:
            _absent(f"{name} is not installed: scripts/tools names its package")
        return path

    return find


@pytest.fixture(scope="session")
def package() -> Callable[[str], Path]:
    """Return the folder of an npm package; without it the test is skipped, in CI it fails."""

    def find(name: str) -> Path:
        path = Path(__file__).parent / "node_modules" / name
        if not path.is_dir():
            _absent(f"{name} is not installed: scripts/tools does it")
        return path

    return find


def _absent(sentence: str) -> NoReturn:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)

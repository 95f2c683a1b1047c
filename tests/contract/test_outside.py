"""The suite runs outside this repository: in an empty folder, with a few lines for a store."""

import subprocess
import sys
from pathlib import Path

TESTS = """
from loom.store.memory import MemoryStore
from loom.testing.store import StoreTests


class TestMyStore(StoreTests):
    async def open_store(self, path, clock, *, writer_bound=4 << 20, total_bound=64 << 20):
        return MemoryStore(clock, writer_bound=writer_bound, total_bound=total_bound)
"""

FORGETFUL = """
from loom.store.memory import MemoryStore
from loom.testing.store import DurableStoreTests


class TestForgetfulStore(DurableStoreTests):
    async def open_store(self, path, clock, *, writer_bound=4 << 20, total_bound=64 << 20):
        return MemoryStore(clock, writer_bound=writer_bound, total_bound=total_bound)
"""


def run(folder: Path, tests: str, *options: str) -> str:
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (folder / "test_my_store.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50).stdout


def test_a_store_outside_the_repository_passes_the_suite(tmp_path: Path):
    out = run(tmp_path, TESTS)
    summary = out.splitlines()[-1]
    assert "passed" in summary, out
    assert "failed" not in summary, out
    assert "error" not in summary, out
    assert int(summary.split(" passed")[0].split()[-1]) > 200


def test_a_store_that_loses_data_fails_the_durability_tests_and_shows_the_values(tmp_path: Path):
    out = run(tmp_path, FORGETFUL, "-k", "the_size_is_the_same_after_a_restart")
    assert "assert 0 == 300008" in out
    assert "1 failed" in out

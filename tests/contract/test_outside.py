"""The suite runs outside this repository: in an empty folder, with a few lines for a store."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
from loom.store.memory import MemoryStore
from loom.testing.store import StoreTests


class TestMyStore(StoreTests):
    model_runs = 5

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


@pytest.mark.timeout(180)
def test_a_store_outside_the_repository_passes_the_suite_and_one_that_loses_data_fails_it(tmp_path: Path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (tmp_path / "test_my_store.py").write_text(TESTS)
    (tmp_path / "test_forgetful.py").write_text(FORGETFUL)
    lost = "test_forgetful.py::TestForgetfulStore::test_the_size_is_the_same_after_a_restart"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_store.py", lost]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170).stdout
    summary = out.splitlines()[-1]
    assert summary.startswith("1 failed, "), out
    assert "error" not in summary, out
    assert int(summary.split(" passed")[0].split()[-1]) > 200
    assert f"FAILED {lost}" in out
    assert "assert 0 == 300008" in out

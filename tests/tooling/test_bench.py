"""Each benchmark runs in its smallest form. No test checks how fast anything is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALLEST = {
    "commit": ["--streams", "2", "--rounds", "2", "--acks", "2"],
    "followers": ["--followers", "2", "--lines", "2"],
    "flush": ["--files", "20", "--rounds", "1"],
    "grep": ["--mib", "1", "--rounds", "1"],
    "line": ["--lines", "2"],
    "producers": ["--producers", "2", "--rounds", "1"],
    "redact": ["--mib", "1", "--rounds", "1"],
    "replay": ["--mib", "1", "--rounds", "1"],
    "startup": ["--streams", "10", "--rounds", "1"],
    "upload": ["--mib", "1", "--rounds", "1"],
}


def test_each_benchmark_of_the_script_is_tested():
    lines = (ROOT / "scripts" / "bench").read_text().splitlines()
    [names] = [
        line.partition(" in ")[2].partition(";")[0].split() for line in lines if line.startswith("for name")
    ]
    assert set(names) == SMALLEST.keys()


@pytest.mark.parametrize("name", SMALLEST)
def test_benchmark_runs(tool, name):
    tool("nginx")
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", *SMALLEST[name]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Loom" in done.stdout or "loom serve" in done.stdout

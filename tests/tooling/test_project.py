import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

import loom

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").iterdir())]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_script_is_executable_and_stops_at_its_first_error(script):
    assert os.access(script, os.X_OK)
    text = script.read_text()
    if text.startswith("#!/usr/bin/env python3\n"):  # Python stops at an error by itself
        compile(text, script.name, "exec")
        return
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    subprocess.run(["bash", "-n", script], check=True)


def test_newest_release_in_the_changelog_is_the_version():
    releases = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == loom.__version__


def test_both_commands_are_installed():
    commands = {
        e.name: e.value for e in distribution("loom-streams").entry_points if e.group == "console_scripts"
    }
    assert commands == {"loom": "loom.cli.main:main", "stream": "loom.cli.stream:main"}
    assert all((Path(sys.executable).parent / name).exists() for name in commands)


def test_importing_the_package_imports_nothing_else():
    names = "import sys; before = set(sys.modules); import loom; print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["loom"]


def test_second_install_does_nothing():
    env = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    done = subprocess.run([ROOT / "scripts" / "install", "run"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

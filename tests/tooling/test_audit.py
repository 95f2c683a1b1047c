"""scripts/audit, with a pip-audit that reports what the test wants."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLEAN = {"name": "aiohttp", "version": "1.0", "vulns": []}
WEAK = {"name": "pyyaml", "version": "1.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.0"]}]}
UNKNOWN = {"name": "uvloop", "skip_reason": "Dependency not found"}


@pytest.fixture
def audit(tmp_path):
    def run(packages, **env):
        """Run the script; with `packages` None, pip-audit fails as it does without a network."""
        program = tmp_path / "pip-audit"
        report = tmp_path / "report.json"
        report.write_text(json.dumps({"dependencies": packages, "fixes": []}))
        copy = f'while [ "$1" != --output ]; do shift; done; cp "{report}" "$2"\n'
        program.write_text("#!/bin/sh\n" + ("exit 1\n" if packages is None else copy))
        program.chmod(0o755)
        return subprocess.run(
            [ROOT / "scripts" / "audit"],
            env=os.environ | {"PIP_AUDIT": str(program)} | env,
            capture_output=True,
            text=True,
        )

    return run


def test_packages_without_known_vulnerabilities_pass(audit):
    done = audit([CLEAN])
    assert (done.returncode, done.stderr) == (0, "")
    assert "requirements/run.txt: no known vulnerability" in done.stdout


@pytest.mark.parametrize("packages", [[CLEAN, WEAK], [WEAK, UNKNOWN]])
def test_a_known_vulnerability_fails_and_is_named(audit, packages):
    done = audit(packages, MAX_DAYS="100000")
    assert done.returncode == 1
    assert "pyyaml 1.0 PYSEC-2026-1" in done.stdout


@pytest.mark.parametrize("packages", [None, [], [CLEAN, UNKNOWN]], ids=["no network", "empty", "a part"])
@pytest.mark.parametrize(("days", "code"), [("100000", 0), ("-1", 1)])
def test_without_the_database_the_age_of_the_locks_decides(audit, packages, days, code):
    done = audit(packages, MAX_DAYS=days)
    assert done.returncode == code
    assert "could not be reached" in done.stdout
    assert "no known vulnerability" not in done.stdout

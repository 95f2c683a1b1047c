import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def entries(lock: Path) -> Iterator[str]:
    """Each requirement with its continuation lines joined."""
    text = lock.read_text().replace("\\\n", " ")
    return (line for line in text.splitlines() if line and not line.startswith("#"))


def names(lock: Path) -> set[str]:
    return {re.match(r"[A-Za-z0-9._-]+", entry).group().lower() for entry in entries(lock)}  # type: ignore[union-attr]


def test_there_is_a_lock_for_each_list():
    assert {lock.stem for lock in LOCKS} == {"docs", "run", "test", "test-build"}
    assert all(lock.with_suffix(".in").exists() for lock in LOCKS)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_every_requirement_is_pinned_and_hashed(lock):
    for entry in entries(lock):
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_lock_names_no_index_and_no_place_on_this_machine(lock):
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)
    assert not re.search(r"(^|\s)/\w", text)


def test_running_needs_nothing_the_tests_do_not_have():
    pins = [
        {entry.split()[0] for entry in entries(ROOT / "requirements" / f"{n}.txt")} for n in ("run", "test")
    ]
    assert pins[0] <= pins[1]


def test_lock_holds_every_declared_dependency_and_the_build_back_end():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = project["project"]["dependencies"] + project["build-system"]["requires"]
    wanted = {re.split(r"[<>=~! \[]", line)[0].lower() for line in declared}
    assert wanted <= names(ROOT / "requirements" / "run.txt")


def test_installed_packages_agree_with_each_other():
    # Locks are installed without resolving, so this is where a conflict would show.
    for package in distributions():
        for text in package.requires or []:
            needs = Requirement(text)
            if needs.marker is None or needs.marker.evaluate({"extra": ""}):
                assert needs.specifier.contains(version(needs.name), prereleases=True), (
                    f"{package.name}: {needs}"
                )


def test_clients_of_others_are_pinned_and_hashed_and_their_lock_names_no_registry():
    text = (ROOT / "tests" / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"]
    assert all(entry["version"] and entry["integrity"].startswith("sha512-") for entry in packages.values())

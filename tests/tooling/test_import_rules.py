"""Each row is an import that must break the import rule it names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# (module, what it must not import, the rule broken)
FORBIDDEN = [
    ("loom.streams.service", "loom.http", "Imports go downwards"),
    ("loom.http", "loom.client", "Imports go downwards"),
    ("loom.new_module", "os", "Imports go downwards"),
    (
        "loom.store.files.stream",
        "loom.store.files.commit",
        "No module or package imports another in a circle",
    ),
    ("loom.wire.times", "loom.wire.rows", "No module or package imports another in a circle"),
    ("loom.model", "asyncio", "Values and rules do no I/O"),
    ("loom.access.auth", "loom.access.revocations", "Values and rules do no I/O"),
    ("loom.access.ids", "asyncio", "Values and rules do no I/O"),
    ("loom.streams.ledger", "asyncio", "Values and rules do no I/O"),
    ("loom.store.files", "loom.config", "Stores know their contract"),
    ("loom.store.rules", "asyncio", "Values and rules do no I/O"),
    ("loom.store.base", "loom.store.memory", "The store contract knows no store"),
    ("loom.store.rules", "loom.store.files", "The store contract knows no store"),
    ("loom.cli", "loom.testing.tools", "Imports go downwards"),
    ("loom.testing", "loom.store.memory", "The store's test suite knows"),
    ("loom.streams.spy", "pytest", "Only loom.testing imports pytest"),
    ("loom.streams.hub", "loom.access.auth", "The use cases know nothing"),
    ("loom.http", "loom.store.base", "HTTP reaches the streams"),
    ("loom.http.service", "loom.http.stream.sse", "Within HTTP imports go downwards"),
    ("loom.http.stream.write", "loom.http.tus.protocol", "Within HTTP imports go downwards"),
    ("loom.http.tus.uploads", "loom.http.durable.framing", "Within HTTP imports go downwards"),
    ("loom.client", "loom.streams.service", "The client knows nothing"),
    ("loom.streams.service", "loom.store.files", "Only the assembly picks a store"),
    ("loom.store.memory", "loom.store.files", "Only the assembly picks a store"),
    ("loom.cli.serving", "loom.store.files", "Only the assembly picks a store"),
    ("loom.store.files.writer", "loom.store.files.testing", "Only tests look inside the files store"),
    ("loom.http.app", "loom.assembly", "Imports go downwards"),
    ("loom.http.stream.read", "loom.config", "Settings are seen by"),
    ("loom.http.server", "loom.config", "Settings are seen by"),
    ("loom.http.app", "httptools", "Only the server imports httptools"),
    ("loom.http.server", "uvicorn", "Only the server imports httptools"),
    ("loom.streams.spy", "starlette", "Only HTTP imports Starlette"),
    ("loom.http", "yaml", "Only the settings import pydantic"),
    ("loom.config", "yaml", "Only the settings import pydantic"),
    ("loom.store.memory", "sqlite3", "Only the files store imports SQLite"),
    ("loom.http", "aiohttp", "Only the client and webhooks import aiohttp"),
    ("loom.client.client", "anyio", "Only the client without asyncio imports anyio"),
    ("loom.client.session", "loom.client.push", "Within the client imports go downwards"),
    ("loom.client", "rich", "Only the command line imports click"),
    ("loom.client.grep", "mcp", "Only the tools for agents import the SDK of MCP"),
    ("loom.http.stream.grep", "re2", "Only the tools for agents import the SDK of MCP"),
    ("loom.http.service", "msgspec", "Only the tools for agents import the SDK of MCP"),
]


def _broken_rules(folder: Path) -> set[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    env = dict(os.environ, PYTHONPATH=str(folder / "src"))
    out = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True).stdout
    assert "Analyzed" in out, out
    return set(re.findall(r"^(.+) BROKEN", out, re.MULTILINE))


def _add_import(folder: Path, module: str, imported: str) -> None:
    path = folder / "src" / module.replace(".", "/")
    file = path / "added.py" if path.is_dir() else path.with_suffix(".py")
    with file.open("a") as out:
        out.write(f"\nimport {imported}\n")


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("module", "imported", "rule"), FORBIDDEN)
def test_forbidden_import_breaks_its_rule(copy, module, imported, rule):
    _add_import(copy, module, imported)
    broken = _broken_rules(copy)
    assert any(name.startswith(rule) for name in broken), broken

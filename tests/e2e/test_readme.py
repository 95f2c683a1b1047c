"""The blocks of the README are run as written, from an empty folder, and print what they show."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import aiohttp
import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import follow, soon
from tests.support.program import environment, free_port
from tests.support.server import Server, die_with_parent

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
NEEDED = ("LICENSE", "Makefile", "README.md", "pyproject.toml", "requirements", "scripts", "src")
"""What `make install` needs of a checkout."""
SERVER = "http://localhost:3060"
MARK = "--- next ---\n"
TOOK = re.compile(r" in \S+s \(\S+/s\)")
"""How long a command took: the only thing that differs from run to run."""

Block = dict[str, str]
"""Commands, each with what it prints."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[Block]:
    steps = re.compile(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", re.MULTILINE)
    return [dict(steps.findall(block)) for block in blocks("console")]


[FIRST, *TOUR] = commands()
LIVE = [block for block in TOUR if any("curl -fsS -N" in command for command in block)]
PLAIN = [block for block in TOUR if block not in LIVE]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The working directory of a reader of the README: an empty folder with the result of `make install`."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


async def shell(server: Server, home: Path, script: str) -> asyncio.subprocess.Process:
    script = script.replace(SERVER, f"http://localhost:{server.port}")
    return await asyncio.create_subprocess_exec("bash", "-c", script, cwd=home, stdout=PIPE, stderr=STDOUT)


@pytest.mark.parametrize("block", PLAIN, ids=lambda block: list(block)[-1].split("|")[0].strip())
async def test_commands_print_what_the_readme_shows(serve: Serve, home: Path, tool, block: Block):
    tool("curl")
    script = "".join(f"{command}code=$?; printf '%s' '{MARK}'; (exit $code)\n" for command in block)
    server = await serve()
    printed, _ = await soon((await shell(server, home, script)).communicate())
    shown = TOOK.sub("", printed.decode().replace(f"http://localhost:{server.port}", SERVER)).split(MARK)
    assert dict(zip(block, shown, strict=False)) == {key: TOOK.sub("", text) for key, text in block.items()}


async def test_second_terminal_shows_each_line_immediately(serve: Serve, home: Path, tool):
    tool("curl")
    [[sending, reading]] = LIVE
    server = await serve()
    async with follow(server, "/spy") as spy:
        first = await shell(server, home, sending)
        await soon(spy.until(b"START: count\n"))
        second = await shell(server, home, reading)
    assert second.stdout
    assert await soon(second.stdout.readline()) == b"1\n"
    assert first.returncode is None
    assert (await soon(second.communicate()))[0] == b"2\n3\n4\n5\n"
    assert (await soon(first.communicate()))[0] == b""
    assert [first.returncode, second.returncode] == [0, 0]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make install` needs, and nothing that was built."""
    for name in NEEDED:
        source, target = ROOT / name, tmp_path / "checkout" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target)
    return tmp_path / "checkout"


@pytest.mark.timeout(400)  # `make install` installs thirty packages into an environment of its own
async def test_first_commands_install_loom_and_end_in_the_page(checkout: Path, tool, tmp_path: Path):
    for name in ("curl", "make"):
        tool(name)
    opened = tmp_path / "opened"
    (browser := tmp_path / "bin" / "xdg-open").parent.mkdir()
    browser.write_text(f'#!/bin/sh\ncurl -fsS -o {opened} "$1"\n')
    browser.chmod(0o755)
    port = free_port()
    env = environment() | {
        "LOOM_PORT": str(port),
        "LOOM_SERVER": f"http://localhost:{port}",
        "PATH": f"{browser.parent}:{os.environ['PATH']}",
        "PIP_NO_COMPILE": "1",
    }
    script = "".join(FIRST).replace("3060", str(port)) + "code=$?; kill %1; wait %1; exit $code\n"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -m\n{script}"),
        cwd=checkout,
        stdout=PIPE,
        stderr=STDOUT,
        env=env,
        preexec_fn=die_with_parent,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert "failure" in printed.decode()
    assert b"<title>" in opened.read_bytes()
    # `make serve` is the first two commands in one.
    process = await asyncio.create_subprocess_exec(
        *("make", "serve", f"PORT={port}"), cwd=checkout, stdout=PIPE, env=env, preexec_fn=die_with_parent
    )
    assert process.stdout
    try:
        line = await soon(process.stdout.readline())
    finally:
        process.terminate()
        await soon(process.communicate())
    assert f"http://127.0.0.1:{port}" in line.decode()


def test_every_make_target_that_the_readme_names_exists(tool):
    named = set(re.findall(r"\bmake ([a-z]+)\b", " ".join(re.findall("`make .*?`", README.read_text()))))
    assert named >= {"serve", "test", "docs", "bench"}
    made = subprocess.run([tool("make"), "-n", *sorted(named)], cwd=ROOT, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()


@pytest.mark.parametrize("text", blocks("yaml"))
async def test_the_server_starts_with_each_example_of_its_configuration(tmp_path: Path, serve: Serve, text):
    (tmp_path / "loom.yaml").write_text(text)
    server = await serve(config=tmp_path / "loom.yaml", host="127.0.0.1")
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/streams") as response:
        assert response.status == 401

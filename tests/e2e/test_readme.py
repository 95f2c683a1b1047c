"""The console blocks of the README are run as written, and print what they show."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.support.peers import follow, soon
from tests.support.program import environment, free_port
from tests.support.server import Server

README = Path(__file__).parents[2] / "README.md"
SERVER = "http://localhost:3060"
MARK = "--- next ---\n"
TOOK = re.compile(r" in \S+s \(\S+/s\)")
"""How long a command took: the only thing that differs from run to run."""

Block = dict[str, str]
"""Commands, each with what it prints."""


def tour() -> list[Block]:
    """Return the console blocks that use a server."""
    blocks = re.findall(r"^```console\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    steps = re.compile(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", re.MULTILINE)
    return [dict(steps.findall(block)) for block in blocks if SERVER in block]


[FIRST, *TOUR] = tour()
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


async def test_first_commands_end_in_the_page(home: Path, tool, tmp_path: Path):
    tool("curl")
    opened = tmp_path / "opened"
    (browser := tmp_path / "bin" / "xdg-open").parent.mkdir()
    browser.write_text(f'#!/bin/sh\ncurl -fsS -o {opened} "$1"\n')
    browser.chmod(0o755)
    install, *commands = FIRST
    assert install.startswith("make install")
    script = "".join(commands) + "code=$?; kill %1; wait %1; exit $code\n"
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", "set -m\n" + script.replace("3060", str(port))),
        cwd=home,
        stdout=PIPE,
        stderr=STDOUT,
        env=environment()
        | {
            "LOOM_PORT": str(port),
            "LOOM_SERVER": f"http://localhost:{port}",
            "PATH": f"{browser.parent}:{os.environ['PATH']}",
        },
    )
    printed, _ = await soon(process.communicate())
    assert process.returncode == 0, printed.decode()
    assert "failure" in printed.decode()
    assert b"<title>" in opened.read_bytes()

"""What real tools print when a build fails: run in an empty folder, without a network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TEST = """
import pytest

def total(prices):
    return sum(prices) + 1

@pytest.mark.parametrize("number", range(40))
def test_nothing_costs_nothing(number):
    assert number >= 0

def test_the_total_is_the_sum():
    assert total([1, 2, 3]) == 6, "one is added"
"""

SOURCE = """#include <stdio.h>

static int unused(void) { return 1; }

int main(int argc, char **argv) {
    int count = argc;
    printf("%s\\n", count);
    return total;
}
"""

SCRIPT = """
console.log("> bundling 214 modules");
require("./missing-module");
"""


def output_of(folder: Path, *command: str) -> bytes:
    """Return what a command prints on both its outputs."""
    environment = {
        **os.environ,
        "NO_UPDATE_NOTIFIER": "1",
        "npm_config_cache": str(folder / "npm"),
        "LC_ALL": "C",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    ).stdout


def pytest_output(folder: Path) -> bytes:
    (folder / "test_prices.py").write_text(TEST)
    return output_of(
        folder,
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "--color=yes",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "--rootdir=.",
    )


def c_output(folder: Path, tool: Callable[[str], str]) -> bytes:
    (folder / "main.c").write_text(SOURCE)
    (folder / "Makefile").write_text(
        f"main: main.c\n\t{tool('gcc')} -Wall -fdiagnostics-color=always -o $@ $<\n"
    )
    return output_of(folder, tool("make"), "--no-print-directory")


def npm_output(folder: Path, tool: Callable[[str], str]) -> bytes:
    (folder / "package.json").write_text(
        '{"name": "shop", "version": "1.0.0", "scripts": {"build": "node build.js"}}'
    )
    (folder / "build.js").write_text(SCRIPT)
    return output_of(folder, tool("npm"), "run", "build")


def github_output(folder: Path, tool: Callable[[str], str]) -> bytes:
    """Return the output of a whole build, in groups as GitHub Actions writes them."""
    steps = [
        b"##[group]Run actions/checkout\nSyncing repository: shop/shop\n::group::Fetching the repository\n",
        b"".join(b"remote: Counting objects: %d%%\n" % percent for percent in range(0, 101, 5)),
        b"::endgroup::\nHEAD is now at 3f2a91c\n##[endgroup]\n",
        b"::group::Run make\n",
        c_output(folder, tool),
        b"::endgroup::\n::warning file=main.c,line=3::The function is never used\n",
        b"::group::Run pytest\n",
        pytest_output(folder),
        b"::endgroup::\n##[error]Process completed with exit code 2.\n",
        b"::group::Post checkout\nCleaning up\n::endgroup::\n",
    ]
    return b"".join(steps)

"""Run the programs in the documentation."""

import re
import subprocess
import sys
from pathlib import Path

from tests.client.test_blocking import url

from loom.client import Client

__all__ = ["url"]

DOCS = Path(__file__).parents[2] / "docs"


def programs(page: str, url: str) -> list[str]:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace("http://localhost:3060", url) for block in blocks]


def printed(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def test_programs_print_what_they_read(url):
    with Client(url) as client:
        client.push("greeting", b"hello\nworld\n")
        results = [printed(program) for program in programs("reading.md", url)]
        assert results == ["hello\nworld\nb'hello'\ngreeting complete 12\n", "0\n1\n4\n9\n"]
        assert client.read("job/log") == b"done\n"


def test_cells_of_the_notebook_page_send_and_read_a_log(url):
    assert printed("".join(programs("notebooks.md", url))) == "epoch 1: loss 0.482\n"

"""Run the programs in the documentation."""

import re
import subprocess
import sys
from pathlib import Path

from tests.client.test_blocking import url

from loom.client import Client

__all__ = ["url"]

PAGE = Path(__file__).parents[2] / "docs" / "reading.md"


def test_programs_print_what_they_read(url):
    with Client(url) as client:
        client.push("greeting", b"hello\nworld\n")
        programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        printed = [
            subprocess.run(
                [sys.executable, "-c", program.replace("http://localhost:3060", url)],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            ).stdout
            for program in programs
        ]
        assert printed == ["hello\nworld\nb'hello'\ngreeting complete 12\n", "0\n1\n4\n9\n"]
        assert client.read("job/log") == b"done\n"

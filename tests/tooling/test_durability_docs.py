"""The evidence that pages name for what they promise exists."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "SECURITY.md"
PLACES = "src|tests|docs|deploy|scripts|requirements"


@pytest.mark.parametrize("page", [ROOT / "docs" / "durability.md", SECURITY], ids=lambda page: page.name)
def test_every_file_and_test_that_a_page_names_exists(page: Path):
    named = re.findall(rf"`((?:{PLACES})/[\w./-]*)(?:::(\w+))?`", page.read_text())
    assert len(named) > 15
    for file, name in named:
        assert (ROOT / file).exists(), file
        if name:
            text = (ROOT / file).read_text()
            assert re.search(rf"^ *(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"


def test_every_requirement_of_the_security_page_has_one_row_with_a_verdict():
    rows = re.findall(r"^\| ([\d., ]+) \| (.*) \| (.*) \| (.*) \|$", SECURITY.read_text(), re.MULTILINE)
    items = Counter(item for row in rows for item in row[0].split(", "))
    assert items
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", item) and times == 1 for item, times in items.items())
    assert {verdict for _, _, verdict, _ in rows} == {"yes", "part", "operator", "no"}
    assert all(requirement and evidence for _, requirement, _, evidence in rows)

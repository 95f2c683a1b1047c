import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"


def test_every_test_that_the_durability_page_names_exists():
    named = re.findall(r"`((?:src|tests)/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 15
    for file, name in named:
        text = (ROOT / file).read_text()
        assert not name or re.search(rf"^ *(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"

"""The tree in ARCHITECTURE.md names every module, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "loom"
NAMED = "main|command|options|exit_codes|target|running|sending|child|serving|ports|agents|terminal"
ELSEWHERE = re.compile(rf"cli/(?!{NAMED})|testing/store/|.*/__init__|__init__|__main__|pages/assets/")
"""Modules that the tree covers with one line for many."""


def drawn() -> set[str]:
    """Return the modules that the tree names."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    tree = text[text.index("src/loom/\n") :].partition("```")[0]
    modules, folders = set(), [""]
    for indent, name in re.findall(r"^( +)([\w./]+)(?: |$)", tree, re.MULTILINE):
        del folders[len(indent) // 2 :]
        if name.endswith("/"):
            folders.append(folders[-1] + name)
        elif name.endswith(".py"):
            modules.add(folders[-1] + name)
    return modules


def test_the_tree_names_every_module_and_no_other():
    modules = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py")}
    assert drawn() == {name for name in modules if not ELSEWHERE.match(name)}

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))
SCRIPTS = sorted((ROOT / "src").rglob("*.js"))
MODULE_LINES = 350
SCRIPT_LINES = 250
FUNCTION_LINES = 60


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_and_its_functions_are_of_readable_size(module):
    text = module.read_text()
    assert text.count("\n") <= MODULE_LINES
    long = [f.name for f in _functions(ast.parse(text)) if (f.end_lineno or 0) - f.lineno >= FUNCTION_LINES]
    assert not long


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_script_of_the_page_is_of_readable_size(script):
    assert script.read_text().count("\n") <= SCRIPT_LINES

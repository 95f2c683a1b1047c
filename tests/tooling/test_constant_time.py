"""Secrets are compared in constant time: how long a refusal takes reveals nothing of the token."""

import ast
from pathlib import Path

import pytest

from loom.access import auth

ACCESS = Path(auth.__file__).parent
SECRETS = ("digest", "given", "token", "known", "key")


def named(node: ast.expr) -> str:
    """Return the name that an expression ends with."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def variable_time(source: str) -> list[int]:
    """Return the lines that compare a secret by value with something that is computed."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops)
        and sum(named(each) in SECRETS for each in (node.left, *node.comparators)) > 1
    ]


@pytest.mark.parametrize("module", sorted(ACCESS.glob("*.py")), ids=lambda path: path.stem)
def test_no_secret_is_compared_by_value(module: Path):
    assert variable_time(module.read_text()) == []


def test_such_a_comparison_is_found():
    assert variable_time("known = [g for g in grants if given == g.digest]") == [1]


def test_tokens_are_compared_by_compare_digest():
    assert "hmac.compare_digest(given, grant.digest)" in (ACCESS / "auth.py").read_text()

"""The text that a filter on metadata compares."""

import pytest

from loom.model import member_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"x y"', "x y"),
        (r'"\u00fc\n"', "ü\n"),
        ('""', ""),
        ("1", "1"),
        ("1.50", "1.50"),
        ("-1E400", "-1E400"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
        ('[1, "a", {"b": 2.5}]', '[1,"a",{"b":2.5}]'),
        (r'{"\u00fc": "x"}', '{"ü":"x"}'),
    ],
)
def test_a_member_is_compared_as_text(value, text):
    assert member_text(f'{{"other": "x", "name": {value}}}', "name") == text


@pytest.mark.parametrize(
    "metadata", ["{}", '{"other": 1}', '["name"]', '"name"', "1", "null", '{"a": {"name": 1}}']
)
def test_a_nested_member_is_none(metadata):
    assert member_text(metadata, "name") is None

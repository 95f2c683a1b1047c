"""The text that a filter on metadata compares."""

import pytest

from loom.model import members


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
    assert members(f'{{"other": "x", "name": {value}}}') == {"other": "x", "name": text}


@pytest.mark.parametrize(
    "metadata", ["{}", '{"other": 1}', '["name"]', '"name"', "1", "null", '{"a": {"name": 1}}']
)
def test_a_nested_member_is_none(metadata):
    assert "name" not in members(metadata)


@pytest.mark.parametrize("metadata", ["", "{", "[" * 100_000, '{"name": ' + "[" * 100_000])
def test_what_an_older_version_stored_has_no_members(metadata):
    assert members(metadata) == {}

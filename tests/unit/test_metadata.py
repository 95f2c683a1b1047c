import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import InvalidMetadata
from loom.http.stream.metadata import merge_metadata, parse_merge_patch, parse_metadata
from loom.wire.metadata import MAX_DEPTH

LIMIT = 4096


def parsed(*values: bytes, limit: int = LIMIT) -> str:
    return parse_metadata(values, limit)


def test_absent_is_an_empty_object():
    assert parsed() == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "true",
        "17",
        '"text"',
        "[]",
        "[1, 2 ,3]",
        '{"a":1,  "b" : 2}',
        "1e400",
        "1.10",
        "-0",
        "1" * 4096,
        '{"b":1,"a":2,"b":3}',
        '{"a":\t1}',
        r'"\u00e9\/\n"',
        "12345678901234567890",
        r'"\ud83d\ude00"',
        '""',
    ],
)
def test_text_is_kept_as_it_was_written(text):
    assert parsed(text.encode()) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('"é"', r'"\u00e9"'),
        ('{"ключ":"😀"}', r'{"\u043a\u043b\u044e\u0447":"\ud83d\ude00"}'),
        ('"\x7f"', r'"\u007f"'),
        ('"\ufeff"', r'"\ufeff"'),
        ('"a\u2028b"', r'"a\u2028b"'),
    ],
)
def test_characters_that_a_header_cannot_have_are_escaped(text, kept):
    assert parsed(text.encode()) == kept


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b"text",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"01",
        b"[1,]",
        b"\xff",
        b'"\xff"',
        "é".encode(),
        "\ufeff{}".encode(),
        b'"\xed\xa0\x80"',
        rb'"\x"',
        b'"a',
        b"\xc2\xa0{}",
        b'"\x00"',
        b'"\x1b"',
        b"{\n}",
        b"{\r}",
    ],
)
def test_invalid_json_is_refused(raw):
    with pytest.raises(InvalidMetadata):
        parsed(raw)


@pytest.mark.parametrize(
    "text",
    [
        r'"\ud800"',
        r'"\udc00"',
        r'{"\ud800":1}',
        r'{"a":"\ud800","a":1}',
        r'["\ude00\ud83d"]',
        r'[[{"a":["\ud800"]}]]',
    ],
)
def test_half_of_a_surrogate_pair_is_refused_everywhere(text):
    with pytest.raises(InvalidMetadata, match="surrogate"):
        parsed(text.encode())


def test_more_than_one_header_is_refused():
    with pytest.raises(InvalidMetadata, match="more than once"):
        parsed(b"{}", b"{}")


def test_the_limit_counts_the_bytes_as_returned():
    assert len(parsed(b'"' + b"a" * (LIMIT - 2) + b'"')) == LIMIT
    with pytest.raises(InvalidMetadata, match=str(LIMIT)):
        parsed(b'"' + b"a" * (LIMIT - 1) + b'"')
    fits = (LIMIT - 2) // 6
    assert parsed(f'"{"é" * fits}"'.encode())
    with pytest.raises(InvalidMetadata):
        parsed(f'"{"é" * (fits + 1)}"'.encode())


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"":', "}")])
def test_nesting_has_a_limit_that_does_not_depend_on_the_interpreter(opening, closing):
    assert parsed(f"{opening * MAX_DEPTH}1{closing * MAX_DEPTH}".encode())
    deeper = MAX_DEPTH + 1
    for depth in (deeper, 2_000, 200_000):
        with pytest.raises(InvalidMetadata, match="nested"):
            parsed(f"{opening * depth}1{closing * depth}".encode(), limit=10_000_000)


def test_a_long_number_costs_nothing():
    with pytest.raises(InvalidMetadata):
        parsed(b"9" * 1_000_000, limit=1_000_000)


def values() -> st.SearchStrategy[Any]:
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
    )


@given(values(), st.booleans())
def test_every_json_value_survives(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    kept = parsed(text.encode(), limit=1 << 20)
    assert json.loads(kept) == value
    assert all(" " <= char <= "~" for char in kept)


@given(st.binary(max_size=40))
def test_any_bytes_are_either_json_or_refused(raw):
    try:
        kept = parsed(raw)
    except InvalidMetadata:
        return
    json.loads(kept)


MERGES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]
"""The examples of RFC 7396, appendix A."""


@pytest.mark.parametrize(("before", "patch", "after"), MERGES)
def test_a_merge_patch_follows_rfc_7396(before, patch, after):
    assert json.loads(merge_metadata(before, parse_merge_patch(patch.encode()), LIMIT)) == json.loads(after)


def test_numbers_and_the_order_of_keys_survive_a_merge_patch():
    before = '{"z":1.10, "y":12345678901234567890, "a":1e400}'
    patch = parse_merge_patch('{\n  "m": [-0, {"é": 0.10}],\r\n\t"y": null\n}'.encode())
    assert merge_metadata(before, patch, LIMIT) == r'{"z": 1.10, "a": 1e400, "m": [-0, {"\u00e9": 0.10}]}'


def test_the_result_of_a_merge_patch_is_within_the_limit():
    assert merge_metadata('{"long":"aaaa"}', '{"long":null}', 2) == "{}"
    with pytest.raises(InvalidMetadata, match="8 bytes"):
        merge_metadata("{}", '{"a":1}', 7)


@pytest.mark.parametrize("body", [b"", b"{", b"[NaN]", b'{"a":"\n"}', b"\xff", b'"\\ud800"', b"[" * 9999])
def test_a_merge_patch_that_is_not_json_is_refused(body):
    with pytest.raises(InvalidMetadata, match="merge patch"):
        parse_merge_patch(body)


@given(values(), values())
def test_a_merge_patch_of_any_value_makes_a_value_that_a_header_carries(before, patch):
    text = merge_metadata(json.dumps(before), parse_merge_patch(json.dumps(patch).encode()), 1 << 20)
    assert all(" " <= char <= "~" for char in text)
    again = merge_metadata(text, parse_merge_patch(json.dumps(patch).encode()), 1 << 20)
    assert json.loads(again) == json.loads(text)

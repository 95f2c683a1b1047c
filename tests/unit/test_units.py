"""Durations and sizes as people write them."""

import pytest

from loom.config import Settings, default
from loom.config.entries import DURATION, SIZE
from loom.units import duration_text, parse_duration, parse_size, rough_text, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("90", 90), ("2.5", 2.5), ("0s", 0), ("1.5s", 1.5), ("90s", 90), ("30m", 1800)),
        *(("24h", 86_400), ("7d", 604_800), ("4w", 2_419_200), ("1h30m", 5400), ("1w2d3h4m5.5s", 788_645.5)),
    ],
)
def test_a_duration_is_a_number_with_units_or_of_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "s", "-1s", "1s1m", "1 s", "1e3", "1e3s", "nan", "inf", "7D", "soon", "\u0663m", "1h\n"]
)
def test_other_text_is_no_duration(text):
    with pytest.raises(ValueError, match="duration such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("4096", 4096), ("7B", 7), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("64M", 64 << 20)),
        *(("64mib", 64 << 20), ("64MB", 64_000_000), ("1.5K", 1536), ("2GiB", 2 << 30), ("1T", 1 << 40)),
        ("999999999999999999", 999_999_999_999_999_999),
    ],
)
def test_a_size_is_a_number_with_a_unit_or_of_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1  K", "1KiBs", "1e3", "0x10", "1,5K", "\u0663K", "1K\n"])
def test_other_text_is_no_size(text):
    with pytest.raises(ValueError, match="size such as 64MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "0.5s"), (30, "30s"), (90, "90s"), (120, "2m"), (86_400, "1d"), (604_800, "7d")],
)
def test_a_duration_is_printed_as_it_is_parsed(seconds, text):
    assert duration_text(seconds) == text
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0.0s"), (0.26, "0.3s"), (9.99, "10.0s"), (95.4, "95s"), (330, "5m30s"), (5400, "90m")),
        *((9000, "2h30m"), (170_000, "47h"), (200_000, "2d7h"), (10_000_000, "115d")),
    ],
)
def test_a_measured_duration_is_rounded(seconds, text):
    assert rough_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (64 << 20, "64MiB"), (5 << 50, "5120TiB")],
)
def test_a_size_is_printed_as_it_is_parsed(count, text):
    assert size_text(count) == text
    assert parse_size(text) == count


def test_defaults_of_settings_are_printed_so_that_they_can_be_written():
    for name, field in Settings.model_fields.items():
        for mark, parse in ((DURATION, parse_duration), (SIZE, parse_size)):
            if mark in field.metadata:
                assert parse(default(name)) == field.default

"""The Grafana dashboard uses only metrics of /metrics, and all of Loom's own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loom.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana-dashboard.json"
NAME = re.compile(r"\b((?:loom|process)_\w+)")
LABELS = re.compile(r"\bby \(([\w, ]+)\)")


def texts(value: Any) -> Iterator[str]:
    """Return every expression in the dashboard."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("expr", "query", "definition") and isinstance(each, str):
                yield each
            else:
                yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


@pytest.fixture(scope="module")
def expressions() -> list[str]:
    return list(texts(json.loads(DASHBOARD.read_text())))


@pytest.fixture(scope="module")
def samples() -> dict[str, str]:
    """Return the family of each sample name."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {
        family.name + suffix: family.name
        for family in Metrics().registry.collect()
        for suffix in suffixes.get(family.type, [""])
    }


def test_every_metric_of_the_dashboard_exists(expressions, samples):
    used = {name for text in expressions for name in NAME.findall(text)}
    assert used <= samples.keys(), used - samples.keys()


def test_every_metric_of_ours_is_shown(expressions, samples):
    shown = {samples[name] for text in expressions for name in NAME.findall(text)}
    assert {family for family in samples.values() if family.startswith("loom_")} <= shown


def test_panels_group_by_existing_labels(expressions):
    source = (Path(__file__).parents[2] / "src" / "loom" / "metrics.py").read_text()
    grouped = {name for text in expressions for found in LABELS.findall(text) for name in found.split(", ")}
    for name in grouped - {"le", "instance"}:
        assert f'"{name}"' in source, name


def test_panels_do_not_overlap():
    places: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        covered = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not places & covered, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= covered

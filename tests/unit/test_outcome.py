"""The outcome of a stream: the rule."""

import json

import pytest

from loom.model import Outcome, State, outcome_of


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ('{"outcome": "success"}', "success"),
        ('{"outcome": "failure"}', "failure"),
        ('{"outcome": "cancelled"}', "cancelled"),
        ('{"outcome": "skipped"}', "skipped"),
        ('{"outcome": "success", "exit_code": 1}', "success"),
        ('{"outcome": "unstable", "exit_code": 1}', "failure"),
        ('{"outcome": null, "exit_code": 0}', "success"),
        ('{"outcome": ["failure"]}', None),
        ('{"outcome": "Success"}', None),
        ('{"exit_code": 0}', "success"),
        ('{"exit_code": -0}', "success"),
        ('{"exit_code": 1}', "failure"),
        ('{"exit_code": -9}', "failure"),
        ('{"exit_code": 3221225786}', "failure"),
        ('{"exit_code": "0"}', "success"),
        ('{"exit_code": "2"}', "failure"),
        ('{"exit_code": ""}', None),
        ('{"exit_code": "--1"}', None),
        ('{"exit_code": "١"}', None),
        ('{"exit_code": 0.0}', None),
        ('{"exit_code": null}', None),
        ('{"exit_code": true}', None),
        ('{"\\u006futcome": "failure"}', "failure"),
        ('{"exit\\u005fcode": 0}', "success"),
        ('{"nested": {"outcome": "failure"}}', None),
        ('["outcome", "failure"]', None),
        ('"outcome"', None),
        ("{}", None),
        ('{"outcome": ', None),
    ],
)
def test_the_outcome_comes_from_metadata(metadata: str, outcome: str | None):
    assert outcome_of(State.COMPLETE, metadata) == outcome


@pytest.mark.parametrize("state", [each for each in State if each is not State.COMPLETE])
def test_only_a_complete_stream_has_an_outcome(state: State):
    for outcome in Outcome:
        assert outcome_of(state, json.dumps({"outcome": outcome, "exit_code": 0})) is None

"""Settings of tokens that would mean something else than their author meant are refused at the start."""

import hashlib

import pytest
from tests.unit.test_config import refused

from loom.config import load


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "loom.yaml"
        path.write_text(text)
        return path

    return write


def test_an_empty_list_of_tokens_is_refused_with_what_to_do(write):
    advice = "leave it out to run without authentication"
    assert advice in refused([write("tokens: []")])
    assert advice in refused(environ={"LOOM_TOKENS": "[]"})
    assert advice in refused(flags={"tokens": "[]"})
    assert load([write("port: 0")], {}, {}).tokens == []


def test_an_empty_variable_of_tokens_is_refused_with_what_to_do():
    sentence = refused(environ={"LOOM_TOKENS": ""})
    assert "LOOM_TOKENS is empty" in sentence
    assert "to run without authentication" in sentence


@pytest.mark.parametrize(
    "value",
    [
        "[12345678901234567890]",
        "12345678901234567890",
        "[{token: 12345678901234567890}]",
        f"[{{sha256: {'1' * 64}}}]",
        "[1.0e+20]",
        "[2030-01-01]",
        "[true]",
    ],
)
def test_a_token_that_yaml_does_not_read_as_text_is_refused_with_what_to_do(write, value):
    sentence = refused([write(f"tokens: {value}")])
    assert "quote it" in sentence
    assert "1234567890" not in sentence


def test_a_signing_key_that_yaml_reads_as_a_number_is_refused_with_what_to_do(write):
    assert "quote it" in refused([write(f"signing_key: {'1' * 40}")])


def test_a_number_as_a_token_is_accepted_in_quotes_and_in_the_environment(write):
    for settings in (
        load([write("tokens: ['12345678901234567890']")], {}, {}),
        load([], {"LOOM_TOKENS": "12345678901234567890"}, {}),
    ):
        assert [each.token for each in settings.tokens] == ["12345678901234567890"]


@pytest.mark.parametrize("value", ["hidden-15-chars", ["hidden"], [{"token": "hidden-15-chars"}]])
def test_a_short_token_is_refused_with_what_to_do_and_without_being_quoted(value):
    sentence = refused(flags={"tokens": value})
    assert "fewer than 16 characters" in sentence
    assert "hidden" not in sentence


def test_a_short_token_is_accepted_by_its_sha_256(write):
    digest = hashlib.sha256(b"short").hexdigest()
    [token] = load([write(f"tokens: [{{sha256: {digest!r}}}]")], {}, {}).tokens
    assert token.digest.hex() == digest

import hashlib
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loom.config import Settings, TokenEntry, flag, load, variable
from loom.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def refused(files=(), environ=None, flags=None) -> str:
    """Return the sentence that refuses these settings."""
    with pytest.raises(ConfigError) as caught:
        load(files, environ or {}, flags or {})
    sentence = str(caught.value)
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence
    return sentence


def test_defaults_apply_without_sources():
    assert load([], {}, {}) == Settings()


def test_every_setting_is_described_and_spelled_from_its_name():
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description.endswith(".")
        assert (variable(name), flag(name)) == (f"LOOM_{name.upper()}", f"--{name.replace('_', '-')}")


def test_flags_win_over_environment_over_later_files_over_earlier_ones(write):
    first = write("first.yaml", "host: first\nport: 1\nlog_level: debug\nmin_free_inodes: 5")
    second = write("second.yaml", "host: second\nport: 2\nlog_level: error")
    settings = load([first, second], {"LOOM_HOST": "env", "LOOM_PORT": "3"}, {"host": "flag"})
    assert settings.host == "flag"
    assert settings.port == 3
    assert settings.log_level == "error"
    assert settings.min_free_inodes == 5


def test_directory_stands_for_its_yaml_files_in_name_order(write, tmp_path):
    write("conf/20.yml", "port: 20")
    write("conf/10.yaml", "port: 10\nhost: ten")
    write("conf/30.txt", "port: 30")
    settings = load([tmp_path / "conf"], {}, {})
    assert (settings.port, settings.host) == (20, "ten")


def test_list_of_a_later_file_replaces_the_earlier_one(write):
    files = [
        write("1.yaml", "tokens: [one-token-of-the-test, two-token-of-the-test]"),
        write("2.yaml", "tokens: [three-token-of-the-test]"),
    ]
    assert load(files, {}, {}).tokens == [TokenEntry(token="three-token-of-the-test", scopes=["admin"])]
    assert "empty list" in refused([*files, write("3.yaml", "tokens: []")])
    assert [each.token for each in load([*files, write("4.yaml", "# nothing")], {}, {}).tokens] == [
        "three-token-of-the-test"
    ]


@pytest.mark.parametrize(
    "spelled", ["https://a, https://b", '["https://a", "https://b"]', ' ["https://a","https://b"] ']
)
def test_list_in_environment_and_flags_is_json_or_separated_by_commas(spelled):
    assert load([], {"LOOM_CORS_ORIGINS": spelled}, {}).cors_origins == ["https://a", "https://b"]
    assert load([], {}, {"cors_origins": spelled}).cors_origins == ["https://a", "https://b"]


@pytest.mark.parametrize(
    ("given", "store", "directory"),
    [
        ("{}", "file:", "data"),
        ("{data: /var/lib/loom}", "file:", "/var/lib/loom"),
        ("{store: files, data: /var/lib/loom}", "file:", "/var/lib/loom"),
        ("{store: memory, data: /var/lib/loom}", "memory:", None),
        ("{store: 'memory:'}", "memory:", None),
        ("{store: 'file:./x'}", "file:./x", "x"),
        ("{store: 'file:/var/lib/loom'}", "file:/var/lib/loom", "/var/lib/loom"),
        ("{store: 'file:///var/lib/loom', data: /var/lib/loom}", "file:///var/lib/loom", "/var/lib/loom"),
    ],
)
def test_store_is_a_url_and_data_is_short_for_a_directory(write, given, store, directory):
    settings = load([write("a.yaml", given)], {}, {})
    assert settings.store == store
    assert settings.directory == (directory and Path(directory))


def test_two_directories_are_refused_rather_than_one_of_them_ignored(write):
    path = write("a.yaml", "store: file:./a")
    assert "data and store" in refused([path], flags={"data": "./b"})


def test_configuration_of_the_version_before_still_loads(write):
    path = write(
        "loom.yaml",
        """
        data: /var/lib/loom
        store: files
        durability: os
        min_free_bytes: 1GiB
        min_free_inodes: 10
        tokens: [a-long-random-token]
        retention: 604800
        """,
    )
    settings = load([path], {"LOOM_DURABILITY": "disk"}, {"min_free_inodes": "20"})
    assert settings.directory == Path("/var/lib/loom")
    assert (settings.durability, settings.min_free_bytes, settings.min_free_inodes) == ("disk", 1 << 30, 20)
    assert load([path], {}, {"store": "memory"}).directory is None


def test_sizes_and_durations_may_have_a_unit_wherever_they_are_given(write):
    file = write(
        "a.yaml",
        "min_free_bytes: 1GiB\nretention: 7d\nscrub_interval: 60\ntokens: [{sha256: "
        f"{'a' * 64}, max_bytes_per_day: 10G}}]",
    )
    settings = load([file], {"LOOM_OPEN_WINDOW": "1h30m"}, {"scrub_rate": "64K"})
    assert (settings.min_free_bytes, settings.retention, settings.scrub_interval) == (1 << 30, 604_800, 60)
    assert (settings.open_window, settings.scrub_rate) == (5400, 64 << 10)
    assert settings.tokens[0].max_bytes_per_day == 10 << 30
    assert refused(flags={"retention": "soon"}) == (
        'The setting retention on the command line cannot be "soon": it is not a duration such as 90s, 30m, '
        "24h or 7d."
    )


def test_unknown_key_names_key_file_and_what_was_meant(write):
    path = write("a.yaml", "# first\nresume_windw: 3")
    sentence = f"Unknown setting 'resume_windw' in line 2 of {path}; did you mean resume_window?"
    assert refused([path]) == sentence
    assert refused([write("b.yaml", "qqq: 3")]).endswith("b.yaml.")
    assert "3060" in refused([write("c.yaml", "3060: port")])


def test_unknown_variable_is_named_but_those_of_clients_and_other_programs_pass():
    assert refused(environ={"LOOM_PROT": "1"}) == (
        "Unknown setting LOOM_PROT in the environment; did you mean LOOM_PORT?"
    )
    load([], {"LOOM_SERVER": "http://x", "LOOM_TOKEN": "t", "PORT": "x", "HEIRLOOM_X": "1"}, {})


def test_variables_that_kubernetes_sets_for_a_service_named_loom_are_ignored():
    environ = {
        "LOOM_SERVICE_HOST": "10.0.0.1",
        "LOOM_SERVICE_PORT": "3060",
        "LOOM_PORT": "tcp://10.0.0.1:3060",
        "LOOM_PORT_3060_TCP": "tcp://10.0.0.1:3060",
        "LOOM_PORT_3060_TCP_ADDR": "10.0.0.1",
    }
    assert load([], environ, {}) == Settings()
    assert load([], {"LOOM_PORT": "4000"}, {}).port == 4000
    assert "whole number" in refused(environ={"LOOM_PORT": "tcp"})


@pytest.mark.parametrize("name", ["tokens", "port", "data", "cors_origins"])
def test_empty_variable_is_refused_rather_than_ignored(name):
    assert f"LOOM_{name.upper()} is empty" in refused(environ={variable(name): ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "x"),
        ("port", "70000"),
        ("port", -1),
        ("port", 1.5),
        ("host", ""),
        ("store", "disk"),
        ("store", "file://host/data"),
        ("store", "file://"),
        ("trusted_proxies", "proxy.example"),
        ("trusted_proxies", "10.0.0.1,10.0.0.0/33"),
        ("trusted_proxies", "10.0.0.1,"),
        ("rate_limit", "-1"),
        ("durability", "none"),
        ("early_response", "maybe"),
        ("resume_window", "nan"),
        ("resume_window", "inf"),
        ("resume_window", -0.1),
        ("shutdown_timeout", "soon"),
        ("max_metadata_bytes", 1),
        ("min_free_bytes", "2 parsecs"),
        ("cors_origins", "[x"),
        ("cors_origins", None),
        ("allowed_hosts", [1]),
    ],
)
def test_wrong_value_is_reported_with_its_setting_and_source(name, value):
    sentence = refused(flags={name: value})
    assert re.search(rf"The setting {name}(\[0\])? on the command line cannot be", sentence)
    assert not FOREIGN.search(sentence)
    assert str(value if value is not None else "null") in sentence


@pytest.mark.parametrize(
    "value", ["a,,b", ["hidden", ""], ["hidden word"], ["hidden\n"], "hiddén", [17], None, {}]
)
def test_wrong_token_is_refused_without_being_quoted(value, write):
    sentence = refused(flags={"tokens": value})
    assert "tokens" in sentence
    assert "hidd" not in sentence
    assert "17" not in sentence


def test_repr_of_settings_shows_no_token():
    assert "hidden" not in repr(Settings(tokens=["hidden-token-of-the-test"]))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tokens: [hidden", "a bracket that is not closed, or a missing comma"),
        ("tokens: {token: hidden", "a bracket that is not closed, or a missing comma"),
        ("\ttokens: hidden", "a tab; indent with spaces"),
        ("tokens: hidden: x", "a colon too many or a wrong indentation; quote text with a colon"),
        ("tokens:\n  - hidden\n port: 1", "a wrong indentation, or text after a closing quote"),
        ("tokens: 'hidden", "a quote or bracket that is not closed"),
        ("tokens: @hidden", "a character that text may begin with only in quotes"),
        ("tokens: *hidden", "text that begins with *; quote it"),
        ("tokens: !hidden", "text that begins with !; quote it"),
        ("tokens: hidden\nport", "a key without a colon, or a quote that is not closed"),
        ("tokens: 2026-02-30", "a date or time that does not exist; quote it if it is text"),
        ("\x00", ""),
        ("[" * 5000, "too many levels"),
    ],
)
def test_invalid_yaml_is_reported_with_its_file_and_line_but_not_its_content(text, hint, write):
    path = write("broken.yaml", text)
    sentence = refused([path])
    assert f"{path} is not valid YAML{': probably ' if hint else ''}{hint}." in sentence
    assert sentence.startswith(("Line ", "The file "))
    assert "hidden" not in sentence


FOREIGN = re.compile("Input|Extra|valid|unable|validation|frozenset|Errno|input_", re.IGNORECASE)
"""Words that are pydantic's or the system's, not ours."""
ENTRIES = """
tokens:
  - one-token-of-the-test
  - token: two-token-of-the-test
    {}
webhooks:
  - {}
"""


@pytest.mark.parametrize(
    ("entry", "key", "fault"),
    [
        ("max_streams: x", "max_streams", "must be a whole number."),
        ("max_streams: -1", "max_streams", "must be at least 0."),
        ("max_bytes_per_day: x", "max_bytes_per_day", "is not a size such as 64MiB."),
        ("prefix: 5", "prefix", "has a value that YAML reads as a number, a date or true; quote it."),
        ("prefix: [a]", "prefix", "must be text."),
        ("scopes: [fly]", "scopes[0]", "must be 'read', 'write', 'replace' or 'admin'."),
        ("scopes: fly", "scopes", "must be a list."),
        ("scopes: []", "scopes", "must not be empty."),
        ("expires: 2030-01-01T00:00:00", "expires", "must be a time with its offset from UTC, as "),
        (f"name: {'x' * 200}", "name", "must have at most 100 characters."),
        ("sha256: hidden", "sha256", "must be 64 hexadecimal digits."),
        ("url: nowhere", "url", "must be a URL such as https://example.com/hook."),
        ("prefix: x", "url", "must be a URL such as https://example.com/hook."),
        ("{url: 'https://x', secret: whsec_%}", "secret", "has a secret that is not Base64 after whsec_."),
    ],
)
def test_a_wrong_part_of_a_setting_is_named_with_its_line(write, entry, key, fault):
    hook = key in ("url", "secret")
    path = write(
        "a.yaml", ENTRIES.format("name: x", entry) if hook else ENTRIES.format(entry, "url: https://x")
    )
    part, line = ("webhooks[0]", 7) if hook else ("tokens[1]", 5)
    sentence = refused([path])
    assert sentence.startswith(
        f"The setting {part}.{key} in line {line} of {path} cannot be used: it {fault}"
    )
    assert not FOREIGN.search(sentence.replace(str(path), ""))
    assert "hidden" not in sentence


def test_an_unknown_part_of_a_setting_is_named_with_its_line_and_what_was_meant(write):
    path = write("a.yaml", ENTRIES.format("scope: [read]", "url: https://x"))
    assert refused([path]) == f"Unknown setting tokens[1].scope in line 5 of {path}; did you mean scopes?"
    path = write("b.yaml", ENTRIES.format("name: x", "{url: 'https://x', key: hidden}"))
    assert refused([path]) == (
        f"Unknown setting webhooks[0].key in line 7 of {path}; there are url, prefix, secret."
    )


def test_a_setting_that_is_given_twice_is_refused_rather_than_one_of_them_ignored(write):
    path = write("a.yaml", "port: 1\nhost: x\nport: 2\n")
    assert refused([path]) == f"The setting port is given twice; the second is in line 3 of {path}."


@pytest.mark.parametrize("value", [True, -1, 1.5, 1e30, float("nan"), "x", "", [], [1], {}, {"a": 1}, None])
def test_no_wrong_value_of_any_setting_is_explained_in_the_words_of_a_library(value):
    for name in Settings.model_fields:
        with suppress(ConfigError):
            load([], {}, {name: value})
            continue
        sentence = refused(flags={name: value})
        assert not FOREIGN.search(sentence.replace(f"setting {name}", "")), sentence


def test_file_that_is_not_a_mapping_is_refused(write):
    assert "list.yaml" in refused([write("list.yaml", "- port")])


def test_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"host: \xe9")
    assert "not valid YAML" in refused([path])


def test_file_that_cannot_be_read_is_named(tmp_path):
    assert refused([tmp_path / "none.yaml"]) == (
        f"The file {tmp_path / 'none.yaml'} cannot be read: No such file or directory."
    )


def test_an_entry_of_tokens_may_be_a_mapping(write):
    digest = hashlib.sha256(b"hidden").hexdigest()
    text = f"""
tokens:
  - token-for-everything
  - name: job
    sha256: {digest}
    scopes: [write]
    prefix: build-42/
    expires: 2030-01-01T00:00:00Z
"""
    first, second = load([write("1.yaml", text)], {}, {}).tokens
    assert first.scopes == {"admin"}
    assert (second.name, second.scopes, second.prefix) == ("job", frozenset({"write"}), "build-42/")
    assert second.digest == hashlib.sha256(b"hidden").digest()
    assert second.expires == datetime(2030, 1, 1, tzinfo=UTC)
    assert load([], {"LOOM_TOKENS": '[{"token": "token-of-the-test", "scopes": ["read"]}]'}, {}).tokens[
        0
    ].scopes == {"read"}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"token": "hidden-token-of-the-test", "sha256": "0" * 64},
        {"token": "hidden token of the test"},
        {"token": "hidden-token-of-the-test", "scope": ["read"]},
        {"token": "hidden-token-of-the-test", "scopes": ["fly"]},
        {"token": "hidden-token-of-the-test", "scopes": []},
        {"token": "hidden-token-of-the-test", "expires": "2030-01-01T00:00:00"},
        {"sha256": "hidden"},
        7,
    ],
)
def test_an_ambiguous_entry_is_refused_without_being_quoted(entry):
    sentence = refused(flags={"tokens": [entry]})
    assert "tokens" in sentence
    assert "hidden" not in sentence

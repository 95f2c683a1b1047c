"""The sources of server and token, and the errors for wrong ones."""

import os

import pytest

from loom.cli.target import Target, config_path, resolve
from loom.client.address import DEFAULT_SERVER
from loom.errors import ConfigError

URL = "http://loom.example:8080/base"


@pytest.fixture
def environ(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def write(environ):
    def write(text):
        path = config_path(environ)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_without_any_source_the_default_is_used(environ):
    assert resolve(environ=environ) == Target(DEFAULT_SERVER, None, None)


def test_flag_beats_environment_beats_file(environ, write):
    write("server: http://file\ntoken: from-file\nproxy: http://proxy:1\n")
    assert resolve(environ=environ) == Target("http://file", "from-file", "http://proxy:1")
    environ |= {"LOOM_SERVER": "http://env", "LOOM_TOKEN": "from-env", "LOOM_PROXY": "http://other"}
    assert resolve(environ=environ) == Target("http://env", "from-env", "http://other")
    assert resolve("http://flag", "flag", environ=environ) == Target("http://flag", "flag", "http://other")


def test_an_empty_variable_counts_as_unset(environ, write):
    write("token: from-file\n")
    assert resolve(environ=environ | {"LOOM_TOKEN": "", "LOOM_SERVER": ""}).token == "from-file"


def test_file_is_found_by_its_variable_then_xdg_then_home(tmp_path):
    assert config_path({"HOME": "/home/x"}) == config_path({"HOME": "/home/x", "XDG_CONFIG_HOME": "rel"})
    assert str(config_path({"HOME": "/home/x"})) == "/home/x/.config/loom/client.yaml"
    assert str(config_path({"LOOM_CLIENT_CONFIG": "/c.yaml", "XDG_CONFIG_HOME": "/x"})) == "/c.yaml"


def test_a_token_is_not_in_the_repr():
    assert "secret" not in repr(Target(token="secret"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "server: nowhere",
            "The server 'nowhere' in line 1 of {} is not a URL such as http://localhost:3060.",
        ),
        ("server: http://x/?a=b", "The server 'http://x/?a=b' in line 1 of {} must end with its path."),
        ("servre: x", "Unknown setting 'servre' in line 1 of {}; did you mean server?"),
        ("token: 17", "The token in line 1 of {} is not a text; put it in quotes."),
        ("token: a b", "The token in line 1 of {} is empty or has spaces or characters outside ASCII."),
        ("- a", 'The file {} does not have the form "setting: value".'),
        ("xyz: 1", "Unknown setting 'xyz' in line 1 of {}; there are server, token, proxy."),
        (
            "token: 'SECRET",
            "Line 1 of the file {} is not valid YAML: probably a quote or bracket that is not closed.",
        ),
    ],
)
def test_a_wrong_file_is_named_in_the_error(environ, write, text, sentence):
    path = write(text)
    with pytest.raises(ConfigError) as raised:
        resolve(environ=environ)
    assert str(raised.value) == sentence.format(path)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"server": "x"}, "in --server"),
        ({"environ": {"LOOM_SERVER": "x"}}, "in the environment variable LOOM_SERVER"),
        ({"environ": {"LOOM_PROXY": "x"}}, "in the environment variable LOOM_PROXY"),
    ],
)
def test_a_wrong_value_is_reported_with_its_source(given, where, environ):
    with pytest.raises(ConfigError, match=f"'x' {where} is not a URL"):
        resolve(**{**given, "environ": environ | given.get("environ", {})})


def test_a_user_in_the_url_and_a_token_exclude_each_other(environ):
    with pytest.raises(
        ConfigError, match="in --server has a user in its URL, and there is a token in --token"
    ):
        resolve("http://u:p@x", "t", environ=environ)


def test_a_file_named_by_the_variable_must_exist_and_be_readable(tmp_path):
    with pytest.raises(ConfigError, match="named by LOOM_CLIENT_CONFIG, does not exist"):
        resolve(environ={"LOOM_CLIENT_CONFIG": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=f"cannot be read: {os.strerror(21)}"):
        resolve(environ={"LOOM_CLIENT_CONFIG": str(tmp_path)})


def test_a_misspelt_variable_is_reported_and_others_are_not(environ, recwarn):
    resolve(environ=environ | {"LOOM_SEVER": "http://x"})
    assert [str(each.message) for each in recwarn] == [
        "The variable LOOM_SEVER has no meaning; did you mean LOOM_SERVER?"
    ]
    recwarn.clear()
    resolve(environ=environ | {"LOOM_TOKENS": "a setting of the server", "LOOM_X": "1", "SEVER": "1"})
    assert not recwarn.list


def test_a_url_that_cannot_be_parsed_is_wrong(environ):
    with pytest.raises(ConfigError, match="is not a URL"):
        resolve("http://[", environ=environ)

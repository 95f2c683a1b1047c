import pytest

from loom.auth import Action, Auth, Principal
from loom.errors import ConfigError, Unauthorized


def test_without_tokens_everyone_is_let_in():
    auth = Auth([])
    assert not auth.required
    assert auth.principal(None) == auth.principal(b"Bearer whatever") == Principal()


@pytest.mark.parametrize(
    "given", [b"Bearer one", b"bearer two", b"BEARER two", b"Bearer   one ", b" Bearer one"]
)
def test_any_of_the_tokens_opens_with_the_scheme_in_any_case(given):
    auth = Auth(["one", "two"])
    assert auth.required
    assert auth.principal(given).allowed(Action.WRITE, "any/id")


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"one",
        b"Bearer",
        b"Bearer ",
        b"Bearer three",
        b"Bearer onetwo",
        b"Bearer on",
        b"Bearer ONE",
        b"Basic one",
        b"Bearer one,Bearer one",
        b"Bearer one two",
        b"Bearer\tone",
        b"Bearer \xff",
    ],
)
def test_anything_else_is_unauthorized(given):
    with pytest.raises(Unauthorized) as caught:
        Auth(["one", "two"]).principal(given)
    assert "one" not in str(caught.value).split()


def test_a_token_outside_ascii_is_compared_as_utf8():
    assert Auth(["clé"]).principal("Bearer clé".encode())


def test_an_empty_token_is_refused_at_start():
    with pytest.raises(ConfigError):
        Auth(["one", ""])

"""Clients warn when a token travels to another machine in plain HTTP."""

import asyncio

import pytest
from tests.support.program import run

from loom.cli.doctor import Route
from loom.cli.exit_codes import LOST, OK
from loom.client import AsyncClient, Client, UnencryptedToken

TOKEN = "a-token-of-this-test"
REMOTE = "http://build.example:3060/path"


@pytest.mark.parametrize("server", [REMOTE, "http://192.0.2.1", "http://[2001:db8::1]:80"])
async def test_library_warns_of_a_token_for_another_machine(server):
    with pytest.warns(UnencryptedToken, match="unencrypted") as caught:
        AsyncClient(server, token=TOKEN)
    assert TOKEN not in str(caught[0].message)


def test_doctor_warns_of_a_token_for_another_machine():
    with pytest.warns(UnencryptedToken):
        Route(REMOTE, TOKEN)


def test_library_warns_of_a_user_in_the_url_without_the_password():
    with pytest.warns(UnencryptedToken) as caught:
        Client("http://user:secret@build.example").close()
    assert "secret" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("server", "token"),
    [
        (REMOTE, None),
        ("https://build.example", TOKEN),
        ("http://127.0.0.1:3060", TOKEN),
        ("http://[::1]:3060", TOKEN),
        ("http://loom.localhost", TOKEN),
    ],
)
async def test_library_is_silent_where_nobody_can_read_the_token(server, token):
    AsyncClient(server, token=token)  # a warning is an error in these tests


@pytest.fixture
async def proxy():
    """A proxy that closes each connection, in place of the other machine."""

    async def close(_reader, writer):
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("command", [["rm", "s"], ["ls"]], ids=lambda command: command[0])
async def test_command_warns_once_in_one_line(proxy, command):
    env = {"LOOM_SERVER": "http://192.0.2.1", "LOOM_TOKEN": TOKEN, "LOOM_PROXY": proxy}
    async with asyncio.timeout(50):
        _, _, err = await run("loom", *command, env=env)
    first, *rest = err.splitlines()
    assert first == (
        "loom: The token is sent to 192.0.2.1 unencrypted, so that others can read it on the way; use https."
    )
    assert "unencrypted" not in "".join(rest)
    assert TOKEN not in err


async def test_command_is_silent_for_this_machine(proxy):
    code, _, err = await run("loom", "ls", env={"LOOM_SERVER": proxy, "LOOM_TOKEN": TOKEN})
    assert code in (OK, LOST)
    assert "unencrypted" not in err

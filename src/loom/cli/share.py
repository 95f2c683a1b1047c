"""The commands `loom share` and `loom token`: the server signs a token that allows one thing for a while.

Owns how they are told: one line on standard output, for a script as well.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli import options, running
from loom.errors import ConfigError, InvalidId
from loom.model import check_id, quote_id

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


Expires = Annotated[
    str,
    typer.Option(
        "--expires", metavar="TIME", help="For how long: 90s, 30m, 24h, 7d or 4w; 366 days at most."
    ),
]
Name = Annotated[str, typer.Option("--name", help="Who will hold it; stands in the server's log.")]

SHARE_EPILOG = options.epilog("loom share build/42 --expires 7d")
TOKEN_EPILOG = options.epilog("loom token --write --prefix build-42/ --expires 2h")


def share(
    id: Annotated[str, typer.Argument(metavar="ID", help="The stream; it need not exist yet.")],
    expires: Expires = "24h",
    name: Name = "",
    server: options.Server = None,
    token: options.Token = None,
) -> None:
    """Print a link with which whoever has it may read one stream, and nothing else, for a while.

    The link opens the stream's page. Its token stands behind the #, which browsers do not send. A link cannot
    be taken back by itself: another signing key of the server ends all of them. Where the server needs no
    token, the link has none.
    """

    async def work(client: "AsyncClient") -> None:
        wanted = {"scopes": ["read"], "id": _id(id), "expires_in": _seconds(expires), "name": name}
        signed = await _sign(client, wanted)
        page = client.session.url(f"/ui/stream/{quote_id(id)}").with_user(None)
        running.write((f"{page}\n" if signed is None else f"{page}#token={signed}\n").encode())

    running.run("loom share", server, token, work)


def token(
    write: Annotated[bool, typer.Option("--write", help="Create streams and go on with them.")] = False,
    read: Annotated[bool, typer.Option("--read", help="Read, list and follow.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite and delete.")] = False,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Of this stream only.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Of streams whose ids begin so.")] = None,
    expires: Expires = "24h",
    name: Name = "",
    server: options.Server = None,
    token: options.Token = None,
) -> None:
    """Print a token that allows no more than is said here, for a while.

    For a job that is not trusted: with --write it writes its own streams, reads none of others and erases
    nothing. It never allows more than the token it is made with, nor for longer.
    """
    scopes = [word for word, given in (("read", read), ("write", write), ("replace", replace)) if given]

    async def work(client: "AsyncClient") -> None:
        if not scopes:
            raise ConfigError("Say what it allows: some of --read, --write and --replace.")
        if (id is None) == (prefix is None):
            raise ConfigError('Say of which streams: --id or --prefix; --prefix "" means all.')
        only = {"prefix": prefix} if id is None else {"id": _id(id)}
        wanted = {"scopes": scopes, **only, "expires_in": _seconds(expires), "name": name}
        signed = await _sign(client, wanted)
        if signed is None:
            raise ConfigError("This server lets everyone in: there is nothing that a token could open.")
        running.write(f"{signed}\n".encode())

    running.run("loom token", server, token, work)


async def _sign(client: "AsyncClient", wanted: Mapping[str, object]) -> str | None:
    """The token the server signs; None where it needs none. Raises ClientError."""
    from loom.client.errors import Conflict

    session = client.session
    try:
        body = json.dumps(wanted).encode()
        async with session.request("POST", session.url("/tokens"), data=body) as answer:
            return str((await answer.json())["token"])
    except Conflict:
        return None


def _id(text: str) -> str:
    try:
        return check_id(text)
    except InvalidId as error:
        raise ConfigError(str(error)) from None


def _seconds(text: str) -> int:
    try:
        return options.seconds(text)
    except ValueError as error:
        raise ConfigError(f"--expires {error}") from None


def main(arguments: list[str], name: str) -> None:
    """The command of that name with these arguments; leaves with its exit code."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    if name == "share":
        app.command(epilog=SHARE_EPILOG)(share)
    else:
        app.command(epilog=TOKEN_EPILOG)(token)
    app(arguments, prog_name=f"loom {name}")

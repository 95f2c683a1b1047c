"""The commands `loom share` and `loom token`: the server signs a token that allows one thing for a while.

Owns how they are told: one line on standard output, for a script as well.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from loom.cli import options
from loom.errors import ConfigError, InvalidId
from loom.model import check_id, quote_id

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
DURATION = re.compile(r"(\d{1,9})([smhdw])")

Expires = Annotated[
    str,
    typer.Option(
        "--expires", metavar="TIME", help="For how long: 90s, 30m, 24h, 7d or 4w; 366 days at most."
    ),
]
Name = Annotated[str, typer.Option("--name", help="Who will hold it; stands in the server's log.")]

_CODES = [options.OK, options.REFUSED, options.USAGE, options.CONFLICT, options.UNAUTHORIZED, options.LOST]
EPILOG = "Exit codes: " + "; ".join(f"{code} {options.EXITS[code]}" for code in _CODES) + "."


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

    Example:  loom share build/42 --expires 7d
    """

    def link(target: options.Target) -> str:
        signed = _sign(
            target, {"scopes": ["read"], "id": _id(id), "expires_in": _seconds(expires), "name": name}
        )
        fragment = "" if signed is None else f"#token={signed}"
        return f"{target.server.rstrip('/')}/ui/stream/{quote_id(id)}{fragment}"

    _tell("loom share", link, server, token)


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

    Example:  loom token --write --prefix build-42/ --expires 2h
    """
    scopes = [word for word, given in (("read", read), ("write", write), ("replace", replace)) if given]

    def signed(target: options.Target) -> str:
        if not scopes:
            raise ConfigError("Say what it allows: some of --read, --write and --replace.")
        if (id is None) == (prefix is None):
            raise ConfigError('Say of which streams: --id or --prefix; --prefix "" means all.')
        only = {"prefix": prefix} if id is None else {"id": _id(id)}
        made = _sign(target, {"scopes": scopes, **only, "expires_in": _seconds(expires), "name": name})
        if made is None:
            raise ConfigError("This server lets everyone in: there is nothing that a token could open.")
        return made

    _tell("loom token", signed, server, token)


def _tell(prog: str, make: Any, server: str | None, token: str | None) -> None:
    """Print what `make` gives for the server that is meant; leaves with the exit code."""
    from loom.client import errors

    try:
        line = make(options.resolve(server, token))
    except (ConfigError, errors.ClientError) as error:
        sys.stderr.write(f"{prog}: {error}\n")
        raise typer.Exit(_code(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(options.INTERRUPTED) from None
    sys.stdout.write(f"{line}\n")


def _code(error: Exception) -> int:
    from loom.client import errors

    codes: dict[type[Exception], int] = {
        ConfigError: options.USAGE,
        errors.InvalidRequest: options.USAGE,
        errors.Conflict: options.CONFLICT,
        errors.Unauthorized: options.UNAUTHORIZED,
        errors.Forbidden: options.UNAUTHORIZED,
        errors.Lost: options.LOST,
        errors.Unavailable: options.LOST,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), options.REFUSED)


def _sign(target: options.Target, wanted: Mapping[str, object]) -> str | None:
    """The token the server signs; None where it needs none. Raises ClientError."""
    from loom.client.errors import Conflict
    from loom.client.session import Session

    async def ask() -> Any:
        async with (
            Session(target.server, token=target.token, proxy=target.proxy) as session,
            session.request("POST", session.url("/tokens"), data=json.dumps(wanted).encode()) as answer,
        ):
            return await answer.json()

    try:
        return str(asyncio.run(ask())["token"])
    except Conflict:
        return None


def _id(text: str) -> str:
    try:
        return check_id(text)
    except InvalidId as error:
        raise ConfigError(str(error)) from None


def _seconds(text: str) -> int:
    found = DURATION.fullmatch(text)
    if not found:
        raise ConfigError(f"--expires {text!r} is not a time like 90s, 30m, 24h, 7d or 4w.")
    return int(found[1]) * UNITS[found[2]]


def main(arguments: list[str], name: str) -> None:
    """The command of that name with these arguments; leaves with its exit code."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    command: Callable[..., None] = share if name == "share" else token
    app.command(epilog=EPILOG)(command)
    app(arguments, prog_name=f"loom {name}")

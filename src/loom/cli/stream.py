"""The command `stream`: standard input becomes a stream on a server, in one request.

Starts fast: aiohttp is imported only after the arguments are valid.
"""

import asyncio
import json
import sys
from typing import NoReturn

import click

from loom.cli import options
from loom.cli.command import Stop, declare, launch
from loom.cli.exit_codes import CONFLICT, INPUT, INTERRUPTED, OK, REFUSED, UNAUTHORIZED
from loom.client.address import has_user, url_fault

BY_STATUS = {401: UNAUTHORIZED, 403: UNAUTHORIZED, 409: CONFLICT}


def _url(text: str) -> str:
    if fault := url_fault(text):
        raise click.BadParameter(f"{text!r} {fault}.")
    return text


@declare("stream", "make 2>&1 | stream http://localhost:3060 build/42")
@click.argument("server", metavar="SERVER_URL", type=_url)
@click.argument("id", metavar="STREAM_ID", type=options.stream_id)
@click.option("--force", is_flag=True, help="Replace a stream of that name.")
@click.option(
    "--token",
    metavar="TOKEN",
    type=options.header,
    envvar="LOOM_TOKEN",
    help="Bearer token; safer in the environment, as LOOM_TOKEN.",
)
@options.meta
@options.content_type
def command(
    server: str, id: str, force: bool, token: str | None, meta: tuple[tuple[str, str], ...], content_type: str
) -> int:
    """Send standard input to a Loom server as a stream.

    Every byte is sent as it arrives, in one request. Proxies named in the environment are not used: many hold
    back a request until its end.
    """
    if sys.stdin is None:
        raise click.UsageError("Standard input is closed.")
    if token and has_user(server):
        raise click.UsageError("Give a token or a user in the URL, not both.")
    from loom.client.errors import InputFailed, Refused
    from loom.client.files import read_chunks
    from loom.client.post import post

    try:
        asyncio.run(
            post(
                server,
                id,
                read_chunks(sys.stdin.fileno()),
                token=token,
                metadata=json.dumps(dict(meta)) if meta else None,
                content_type=content_type,
                force=force,
            )
        )
    except Refused as error:
        raise Stop(BY_STATUS.get(error.status, REFUSED), str(error)) from None
    except InputFailed as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise Stop(INPUT, f"Standard input could not be read: {reason}.") from None
    except KeyboardInterrupt:
        raise Stop(INTERRUPTED, "Interrupted before the server confirmed the stream.") from None
    return OK


def main() -> NoReturn:
    """Run the program `stream`."""
    launch(command, "stream")

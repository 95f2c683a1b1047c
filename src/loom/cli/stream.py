"""The command `stream`: send standard input to a server as a stream, in one request.

Starts fast: aiohttp is imported only after the arguments are valid.
"""

import asyncio
import json
import sys
from typing import NoReturn

import click

from loom.cli import options, sending
from loom.cli.command import declare, launch

CONNECT_TIMEOUT = 30.0


@declare("stream", "make 2>&1 | stream http://localhost:3060 build/42")
@click.argument("server", metavar="SERVER_URL")
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
@sending.reporting_interrupt
def command(
    server: str, id: str, force: bool, token: str | None, meta: tuple[tuple[str, str], ...], content_type: str
) -> None:
    """Send standard input to a Loom server as a stream.

    Every byte is sent as it arrives, in one request. Proxies named in the environment are not used: many hold
    back a request until its end.
    """
    if sys.stdin is None:
        raise click.UsageError("Standard input is closed.")
    from loom.client.files import read_chunks
    from loom.client.producing import send_once
    from loom.client.session import Session, Timeouts

    headers = {"Content-Type": content_type}
    if meta:
        headers["X-Stream-Metadata"] = json.dumps(dict(meta))
    chunks = read_chunks(sys.stdin.fileno())

    async def work() -> None:
        async with Session(server, token=token, timeouts=Timeouts(connect=CONNECT_TIMEOUT)) as session:
            await send_once(session, id, chunks, headers=headers, force=force)

    asyncio.run(work())


def main() -> NoReturn:
    """Run the program `stream`."""
    launch(command, "stream")

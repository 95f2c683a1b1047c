"""The command `loom spy`."""

from contextlib import aclosing
from typing import TYPE_CHECKING

from loom.cli import options
from loom.cli.command import declare, tell, worded
from loom.cli.running import STDOUT, colored, is_terminal, with_client, write
from loom.cli.terminal import Screen

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


@declare("spy", "loom spy", "loom spy --color always | less -R")
@options.color
@with_client
async def command(client: "AsyncClient", color: str) -> None:
    """Show everything that is sent to the server.

    All streams share one output, until you stop the command. After a disconnect the command reconnects and
    reports it; bytes sent in between are not shown.
    """
    from loom.client.errors import ClientError
    from loom.client.session import Backoff

    backoff = Backoff(client.session.timeouts.patience)
    guard = Screen(shared=True) if is_terminal(STDOUT) else None
    joined = False
    while True:
        try:
            async with aclosing(client.spy(color=colored(color))) as pieces:
                async for piece in pieces:
                    joined = True
                    backoff.reset()
                    write(piece if guard is None else guard.feed(piece))
        except ClientError as error:
            if not joined:
                raise
            tell("loom spy", f"{worded(error)} Reconnecting.")
            await backoff.wait(error)

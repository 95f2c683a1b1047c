"""The command `loom token`."""

from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import with_client, write
from loom.cli.share import limits, sign

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


@declare("token", "loom token --write --prefix build-42/ --expires 2h")
@click.option("--write", "can_write", is_flag=True, help="Allow creating streams and appending to them.")
@click.option("--read", "can_read", is_flag=True, help="Allow reading, listing and following.")
@click.option("--replace", "can_replace", is_flag=True, help="Allow replacing and deleting.")
@click.option("--id", metavar="ID", type=options.stream_id, help="Allow this stream only.")
@click.option("--prefix", metavar="PREFIX", help="Allow streams with this prefix.")
@limits
@with_client
async def command(
    client: "AsyncClient",
    can_write: bool,
    can_read: bool,
    can_replace: bool,
    id: str | None,
    prefix: str | None,
    expires: int,
    name: str,
) -> None:
    """Create a limited, expiring token.

    For a job that is not trusted: with --write it writes its own streams, reads no others and deletes
    nothing. A token never allows more, nor lasts longer, than the token that creates it.
    """
    granted = {"read": can_read, "write": can_write, "replace": can_replace}
    scopes = [scope for scope, given in granted.items() if given]
    if not scopes:
        raise click.UsageError("Give what the token allows: some of --read, --write and --replace.")
    if (id is None) == (prefix is None):
        raise click.UsageError('Give the streams: --id or --prefix; --prefix "" means all.')
    only = {"prefix": prefix} if id is None else {"id": id}

    signed = await sign(client, {"scopes": scopes, **only, "expires_in": expires, "name": name})
    if signed is None:
        raise Stop(exit_codes.USAGE, "This server needs no tokens: it lets everyone in.")
    write(f"{signed}\n".encode())

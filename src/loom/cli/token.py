"""The commands `loom token` and `loom token revoke`."""

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import click

from loom.cli import exit_codes, options
from loom.cli.command import Command, Stop, declare
from loom.cli.running import with_client, write
from loom.cli.share import limits, sign

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


TOKEN_ID = re.compile("[0-9a-f.]{20,60}")


class Token(Command):
    """The command. The word `revoke` after it makes it another one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments."""
        if args[:1] == ["revoke"]:
            return revoke.make_context(f"{info_name} revoke", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage of both commands."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] (--id ID | --prefix PREFIX)")
        formatter.write_usage(f"{ctx.command_path} revoke", "[OPTIONS] TOKEN|LINK|ID", prefix="   or: ")


@declare("token", "loom token --write --prefix build-42/ --expires 2h", "loom token revoke TOKEN", cls=Token)
@click.option("--write", "can_write", is_flag=True, help="Allow creating streams and appending to them.")
@click.option("--read", "can_read", is_flag=True, help="Allow reading, listing and following.")
@click.option("--replace", "can_replace", is_flag=True, help="Allow replacing and deleting.")
@click.option(
    "--id", metavar="ID", type=options.stream_id, help="Allow this stream only; this or --prefix is required."
)
@click.option(
    "--prefix",
    metavar="PREFIX",
    help="Allow these streams: build means build and build/..., build/ only the latter, build-* all that "
    "begin with build-; this or --id is required.",
)
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
    """Create a limited, expiring token, or revoke one.

    Use --write alone for a job that is not trusted: the job can write streams, but not read or delete any. A
    token never allows more, nor lasts longer, than the token that creates it.
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
        raise Stop(exit_codes.USAGE, "This server has no tokens: it allows every request.")
    write(f"{signed}\n".encode())


@declare(
    "revoke",
    "loom token revoke eyJhbGciOi...",
    "loom token revoke 'http://127.0.0.1:3060/ui/stream/a#token=eyJ...'",
)
@click.argument("signed", metavar="TOKEN|LINK|ID")
@with_client
async def revoke(client: "AsyncClient", signed: str) -> None:
    """Revoke a signed token, a link, or a token by its id.

    The tokens that were signed with it are revoked, too, and the readers that use them are disconnected. A
    token can be revoked with itself, with the configured token that it was signed for, and with one that
    allows everything.
    """
    async with client.session.request("DELETE", client.session.url(f"/tokens/{token_id(signed)}")):
        pass


def token_id(text: str) -> str:
    """Return the id of a token, a link or an id. The error does not quote it."""
    signed = text.rpartition("#token=")[2]
    if TOKEN_ID.fullmatch(signed):
        return signed
    try:
        claims = signed.split(".")[1]
        id = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
        if TOKEN_ID.fullmatch(id):
            return str(id)
    except (ValueError, IndexError, KeyError, TypeError):
        pass
    raise click.BadParameter(
        "This text is not a signed token, a link or the id of a token.", param_hint="TOKEN|LINK|ID"
    )

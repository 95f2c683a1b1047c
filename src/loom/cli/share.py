"""The command `loom share`: a link with a token that the server signs."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from loom.cli import options
from loom.cli.command import declare
from loom.cli.running import with_client, write
from loom.client.address import page_url

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


def limits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a signed token: --expires and --name."""
    expires = click.option(
        "--expires",
        metavar="TIME",
        default="24h",
        type=options.lifetime,
        help="Lifetime: 90s, 30m, 24h, 7d or 4w; at most 366 days.",
    )
    name = click.option(
        "--name", metavar="NAME", default="", show_default=False, help="Holder's name, for the server's log."
    )
    return expires(name(function))


@declare("share", "loom share build/42 --expires 7d")
@options.stream
@limits
@with_client
async def command(client: "AsyncClient", id: str, expires: int, name: str) -> None:
    """Create a read-only link to one stream.

    The link opens the stream's page; the stream need not exist yet. The token follows the #, which browsers
    do not send; `loom token revoke LINK` revokes it. If the server needs no token, the link has none.
    """
    signed = await sign(client, {"scopes": ["read"], "id": id, "expires_in": expires, "name": name})
    page = page_url(client.session.name, id)
    write((f"{page}\n" if signed is None else f"{page}#token={signed}\n").encode())


async def sign(client: "AsyncClient", wanted: Mapping[str, object]) -> str | None:
    """Have the server sign a token. Return None if the server needs none. Raises ClientError."""
    from loom.client.errors import Conflict

    session = client.session
    try:
        body = json.dumps(wanted).encode()
        async with session.request("POST", session.url("/tokens"), data=body) as response:
            return str((await response.json())["token"])
    except Conflict:
        return None

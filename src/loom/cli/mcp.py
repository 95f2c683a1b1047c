"""The command `loom mcp`: streams for agents, by the Model Context Protocol."""

from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare, write_line
from loom.cli.running import with_client

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from loom.client.client import AsyncClient

PATH = "/mcp"
HOST = "127.0.0.1"


@declare(
    "mcp",
    "loom mcp                       on standard input and output, for an agent that starts this command",
    "loom mcp --http 3061           at http://127.0.0.1:3061/mcp, for agents on this machine",
)
@click.option(
    "--http",
    "port",
    metavar="PORT",
    type=options.whole(0, 65535),
    help="Listen on this port of 127.0.0.1 instead; 0 picks a free one.",
)
@with_client
async def command(client: "AsyncClient", port: int | None) -> None:
    """Let agents list, search and follow streams (Model Context Protocol).

    It needs the package loom-streams[mcp]. Agents can do no more than the token allows: give one with the
    scope read, and a prefix if they shall not see every stream.
    """
    try:
        from loom.cli.agents import build_server
    except ImportError:
        raise Stop(
            exit_codes.USAGE, "loom mcp needs more packages. Run: pip install 'loom-streams[mcp]'"
        ) from None
    server = build_server(client)
    if port is None:
        await server.run_stdio_async()
    else:
        await _serve(server, port)


async def _serve(server: "MCPServer", port: int) -> None:
    """Serve agents by HTTP until the command is stopped."""
    from loom.http.server.run import Server

    # Without an address beyond this machine: agents need no token of their own.
    app = server.streamable_http_app(streamable_http_path=PATH, host=HOST)
    async with app.router.lifespan_context(app):
        http = Server(
            app, host=HOST, port=port, on_listening=lambda url: write_line(f"Agents connect to {url}{PATH}")
        )
        await http.serve_until_stopped()

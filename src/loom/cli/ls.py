"""The command `loom ls`."""

import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from loom.cli import options
from loom.cli.command import declare
from loom.cli.running import colored, with_client, write
from loom.cli.terminal import printable
from loom.units import rough_text, size_text

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.client.info import StreamInfo

STATE_COLORS = {"live": 32, "open": 36, "interrupted": 33, "aborted": 31}


@declare(
    "ls",
    "loom ls build/ --state live,interrupted",
    "loom ls --meta commit=3f2a91c --json | jq -r .id",
)
@click.argument("prefix", metavar="[PREFIX]", default="", shell_complete=options.complete_id)
@click.option(
    "--state",
    "states",
    metavar="STATE",
    multiple=True,
    type=options.states,
    help="List only streams in this state: live, interrupted, open, complete, aborted; repeatable.",
)
@click.option(
    "--meta",
    metavar="KEY=VALUE",
    multiple=True,
    type=options.pair,
    help="List only streams with this in their metadata; repeatable.",
)
@click.option("--limit", "-n", metavar="N", type=click.IntRange(min=1), help="List no more than N streams.")
@options.json
@options.color
@with_client
async def command(
    client: "AsyncClient",
    prefix: str,
    states: tuple[list[str], ...],
    meta: tuple[tuple[str, str], ...],
    limit: int | None,
    as_json: bool,
    color: str,
) -> None:
    """List streams, newest first: state, size, age, id."""
    found = client.streams(
        prefix,
        states=[state for each in states for state in each],
        metadata=dict(meta),
        limit=limit,
    )
    now = datetime.now(UTC)
    colors = colored(color)
    async with aclosing(found):
        async for info in found:
            line = json.dumps(info.row) if as_json else _row(info, now, colors)
            write(f"{line}\n".encode())


def _row(info: "StreamInfo", now: datetime, colors: bool) -> str:
    state = f"{info.state:<11}"
    if colors and (number := STATE_COLORS.get(info.state)):
        state = f"\x1b[{number}m{state}\x1b[0m"
    age = rough_text((now - info.created).total_seconds())
    return f"{state} {size_text(info.size):>9} {age:>6}  {printable(info.id)}"

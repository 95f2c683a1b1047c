"""The command `loom ls`."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

import click

from loom.cli import options
from loom.cli.command import declare, write_line
from loom.cli.running import STDOUT, colored, is_terminal, with_client, write
from loom.cli.terminal import printable, shortened
from loom.model import COUNTED, Outcome, State
from loom.units import rough_text, size_text

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.client.info import StreamInfo

LIMIT = 50
HEADER = ("STATE", "OUTCOME", "SIZE", "AGE", "ID")
COLORS = {"live": 32, "open": 36, "interrupted": 33, "aborted": 31, "success": 32, "failure": 31}
COLORS |= {"cancelled": 90, "skipped": 90}


class Filters(TypedDict):
    """Which streams to list."""

    states: list[str]
    outcomes: list[str]
    metadata: dict[str, str]


@declare(
    "ls",
    "loom ls build/                                   the newest streams whose ids begin with build/",
    "loom ls --outcome failure --state aborted        what failed or was lost",
    "loom ls --meta commit=3f2a91c --json | jq -r .id",
)
@click.argument("prefix", metavar="[PREFIX]", default="", shell_complete=options.complete_id)
@options.words_option("state", State)
@options.words_option("outcome", Outcome)
@click.option(
    "--meta",
    metavar="KEY=VALUE",
    multiple=True,
    type=options.pair,
    help="List only streams with this in their metadata; repeatable.",
)
@click.option(
    "--limit",
    "-n",
    metavar="N",
    type=options.whole(1),
    help=f"List no more than N streams.  [default: {LIMIT}; with --json: all]",
)
@options.json
@options.color
@with_client
async def command(
    client: "AsyncClient",
    prefix: str,
    states: list[str],
    outcomes: list[str],
    meta: tuple[tuple[str, str], ...],
    limit: int | None,
    as_json: bool,
    color: str,
) -> None:
    """List streams, the newest first.

    PREFIX is text: build/4 matches build/42 too. The age is the time since the stream was created.
    """
    given: Filters = {"states": states, "outcomes": outcomes, "metadata": dict(meta)}
    if as_json:
        async with aclosing(client.streams(prefix, **given, limit=limit)) as infos:
            async for info in infos:
                write(f"{json.dumps(info.row)}\n".encode())
        return
    shown = limit or LIMIT
    found = [info async for info in client.streams(prefix, **given, limit=shown + 1)]
    if not found:
        filtered = prefix or states or outcomes or meta
        write_line("No stream matches." if filtered else "There is no stream yet.")
        return
    write("".join(f"{line}\n" for line in _table(found[:shown], colored(color))).encode())
    if len(found) > shown:
        total = await client.total(prefix, **given)
        more = max(total, len(found)) - shown
        write_line(f"… {'at least ' if total >= COUNTED else ''}{more:,} more (--limit)")


def _table(infos: "Sequence[StreamInfo]", colors: bool) -> Iterator[str]:
    """Yield the header and a line for each stream. On a terminal, long ids are cut to its width."""
    now = datetime.now(UTC)
    rows = [HEADER]
    for info in infos:
        age = rough_text((now - info.created).total_seconds())
        rows.append((info.state, info.outcome or "-", size_text(info.size), age, printable(info.id)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    room = 1 << 20
    if is_terminal(STDOUT):
        room = (os.get_terminal_size(STDOUT).columns or 80) - sum(widths) - 2 * len(widths)
    for state, outcome, size, age, id in rows:
        cells = [
            _painted(f"{state:<{widths[0]}}", state, colors),
            _painted(f"{outcome:<{widths[1]}}", outcome, colors),
            f"{size:>{widths[2]}}",
            f"{age:>{widths[3]}}",
            shortened(id, room),
        ]
        yield "  ".join(cells)


def _painted(cell: str, word: str, colors: bool) -> str:
    return f"\x1b[{COLORS[word]}m{cell}\x1b[0m" if colors and word in COLORS else cell

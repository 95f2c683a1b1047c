"""The command `loom rm`."""

import sys
from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import is_terminal, with_client, write
from loom.cli.terminal import counted, printable

if TYPE_CHECKING:
    from loom.client.client import AsyncClient


@declare(
    "rm",
    "loom rm build/42",
    "loom rm --prefix build/ --dry-run    how many would be deleted",
    "loom rm --prefix build/ --yes        delete them without confirmation",
)
@options.streams
@click.option(
    "--prefix",
    metavar="PREFIX",
    help="Delete all streams whose ids begin with this text.",
)
@click.option("--yes", "-y", is_flag=True, help="Delete the streams of a prefix without confirmation.")
@click.option("--dry-run", is_flag=True, help="Only print how many streams have the prefix.")
@with_client
async def command(
    client: "AsyncClient", ids: tuple[str, ...], prefix: str | None, yes: bool, dry_run: bool
) -> None:
    """Delete streams permanently.

    A prefix is text: build/4 matches build/42 too. A live stream is deleted too: its producer and its readers
    are disconnected.
    """
    options.check_selection(ids, prefix)
    if dry_run and prefix is None:
        raise click.UsageError("--dry-run needs --prefix.")

    for id in ids:
        await client.delete(id)
    if prefix is None:
        return
    count = await client.count(prefix)
    found = counted(count, "stream")
    begin = f"{'begins' if count == 1 else 'begin'} with {printable(prefix)!r}"
    if dry_run or not count:
        write(f"{found} {begin}.\n".encode())
    elif yes or _confirmed(f"Delete {found} that {begin} permanently? [y/N] "):
        deleted = await client.delete_all(prefix, confirm=count)
        write(f"{counted(deleted, 'stream')} deleted.\n".encode())
    else:
        raise Stop(exit_codes.REFUSED, "Nothing was deleted.")


def _confirmed(question: str) -> bool:
    if not is_terminal(0):
        raise Stop(
            exit_codes.USAGE, "Standard input is not a terminal: give --yes to delete without confirmation."
        )
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

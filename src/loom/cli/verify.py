"""The command `loom verify`: look for damage in a data directory that no server is using."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from loom.errors import LoomError
from loom.model import steady_clock

GOOD, DAMAGED, CANNOT = 0, 1, 2

EXITS = f"""Exit codes: {GOOD} no damage, {DAMAGED} damage, {CANNOT} the directory cannot be looked at: it is
none, or a server is using it."""


def command(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The data directory.", show_default=True)
    ] = Path("./data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for damage in a data directory that no server is using.

    Does what a start does first: replays the commit log. Then all bytes of complete streams are compared with
    their SHA-256; of the others, and of those that ended just before a crash, only the length can be.
    """
    from loom.store.files.verify import verify

    streams = compared = size = 0
    damaged: list[dict[str, object]] = []
    try:
        for each in verify(directory, steady_clock()):
            streams += 1
            compared += each.whole
            size += each.info.size
            if each.fault:
                found: dict[str, object] = {
                    "id": each.info.id,
                    "key": each.info.key,
                    "file": each.file,
                    "fault": each.fault,
                }
                damaged.append(found)
                if not as_json:
                    typer.echo(f"damaged: {each.info.id} ({each.file}): {each.fault}")
    except LoomError as error:
        sys.stderr.write(f"loom verify: {error}\n")
        raise typer.Exit(CANNOT) from None
    if as_json:
        typer.echo(json.dumps({"streams": streams, "bytes": size, "compared": compared, "damaged": damaged}))
    else:
        typer.echo(
            f"{streams} streams, {size} bytes: {len(damaged)} damaged, "
            f"{compared} compared with their digest, {streams - compared - len(damaged)} by length only"
        )
    raise typer.Exit(DAMAGED if damaged else GOOD)


def main(arguments: list[str]) -> None:
    """The command with these arguments; leaves with its exit code."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXITS)(command)
    app(arguments, prog_name="loom verify")

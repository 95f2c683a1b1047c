"""The command `loom verify`."""

import json
from pathlib import Path

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import write
from loom.cli.terminal import counted, printable
from loom.errors import LoomError
from loom.model import steady_clock

GOOD, DAMAGED, CANNOT = exit_codes.OK, exit_codes.REFUSED, exit_codes.USAGE


@declare("verify", "loom verify /var/lib/loom")
@click.argument("directory", metavar="[DIR]", default="./data", type=click.Path(path_type=Path))
@options.json
def command(directory: Path, as_json: bool) -> int:
    """Check a data directory that no server uses for damage.

    DIR is ./data by default. Replays the commit log, as a server does when it starts. Then compares complete
    streams with their SHA-256. Of other streams, and of those that ended just before a crash, only the length
    can be checked.
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
                damaged.append(
                    {"id": each.info.id, "key": each.info.key, "file": each.file, "fault": each.fault}
                )
                if not as_json:
                    write(f"damaged: {printable(each.info.id)} ({each.file}): {each.fault}\n".encode())
    except LoomError as error:
        raise Stop(CANNOT, str(error)) from None
    if as_json:
        report = json.dumps({"streams": streams, "bytes": size, "compared": compared, "damaged": damaged})
    else:
        report = (
            f"{counted(streams, 'stream')}, {counted(size, 'byte')}: {len(damaged)} damaged, "
            f"{compared} compared with their digest, {streams - compared - len(damaged)} by length only"
        )
    write(f"{report}\n".encode())
    return DAMAGED if damaged else GOOD

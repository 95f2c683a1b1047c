"""The command `loom push`: send a file or standard input as a stream, or `--resume` from the spool.

Starts fast: aiohttp is imported only after the arguments are valid.
"""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loom.cli import exit_codes, options, sending
from loom.cli.command import Stop, declare, tell, worded
from loom.cli.running import is_terminal
from loom.cli.sending import Arguments
from loom.cli.target import Target, resolve
from loom.errors import ConfigError, LoomError
from loom.model import State

if TYPE_CHECKING:
    from loom.client import spool

PROG = "loom push"
FILE_BUFFER = 8 << 20
"""Bytes of a file to keep in memory: a file can be read late, unlike a pipe."""


@declare(
    "push",
    "make 2>&1 | loom push build/42",
    "loom push --ttl 7d reports/42 report.html",
    "loom push --resume",
)
@click.argument("id", required=False, metavar="[ID]", type=options.stream_id)
@click.argument("file", required=False, metavar="[FILE]")
@click.option(
    "--resume",
    is_flag=True,
    help="Send what is in the spool directory: that of --spool, or ~/.local/state/loom/spool.",
)
@sending.shared
@sending.reporting_interrupt
def command(id: str | None, file: str | None, resume: bool, arguments: Arguments) -> int:
    """Send a file or standard input as a stream.

    Every byte is sent as it arrives. After an outage of the network or the server, the command resumes from
    the last confirmed byte.
    """
    if resume is (id is not None):
        raise click.UsageError("Give the ID of a stream, or --resume.")
    target = resolve(arguments.server, arguments.token)
    if id is None:
        return _resume(arguments, target)
    if file in (None, "-"):
        if sys.stdin is None:
            raise click.UsageError("Standard input is closed.")
        return _push(id, arguments, target, sys.stdin.fileno())
    try:
        with open(file, "rb", buffering=0) as opened:
            return _push(id, arguments, target, opened.fileno())
    except OSError as error:
        raise Stop(exit_codes.INPUT, f"{file} cannot be read: {error.strerror}.") from None


def _push(id: str, arguments: Arguments, target: Target, fd: int) -> int:
    from loom.client.files import file_size, read_chunks
    from loom.client.producing import push
    from loom.client.session import Session

    total = file_size(fd)
    if total is not None:
        arguments = replace(arguments, max_buffer=min(arguments.max_buffer, FILE_BUFFER))

    async def work(reporter: sending.Reporter) -> None:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.push_options(arguments)
            await push(session, id, read_chunks(fd), on_progress=reporter, **parts)

    try:
        with sending.reporter(
            PROG, target, quiet=arguments.quiet, total=total, typed=is_terminal(fd)
        ) as reporter:
            asyncio.run(work(reporter))
    except LoomError as error:
        if lost := sending.unsent(error):
            tell(PROG, worded(error))
            raise Stop(exit_codes.of(error), lost) from None
        raise
    reporter.done(sending.result(dict(arguments.meta)))
    return exit_codes.OK


def _resume(arguments: Arguments, target: Target) -> int:
    """Send every spool file. Return the exit code of the last one that failed."""
    from loom.client import spool

    code = exit_codes.OK
    directory: Path = arguments.spool or spool.default_directory()
    paths = spool.find(directory)
    if not paths:
        tell(PROG, f"Nothing to send in {directory}.")
    try:
        for path in paths:
            try:
                with spool.open_file(path) as file:
                    _resume_one(arguments, target, file)
                    path.unlink()
            except LoomError as error:
                tell(PROG, worded(error))
                code = exit_codes.of(error)
    except KeyboardInterrupt:
        raise Stop(exit_codes.INTERRUPTED, f"Interrupted. The rest is still in {directory}.") from None
    if code != exit_codes.OK:
        tell(PROG, f"The rest is still in {directory}.")
    return code


def _resume_one(arguments: Arguments, target: Target, file: "spool.SpoolFile") -> None:
    from loom.client.producing import resume
    from loom.client.push import Pace
    from loom.client.session import Session

    left = file.remainder

    async def work(reporter: sending.Reporter) -> None:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            # The file chooses no server: the token would go there.
            if not arguments.server and session.name != left.server:
                raise ConfigError(
                    f"The bytes of {left.id} are for {left.server}, and the configured server is "
                    f"{session.name}: give --server URL to choose one."
                )
            await resume(
                session,
                file,
                force=arguments.force,
                new_id=arguments.new_id,
                pace=Pace(patience=arguments.patience),
                on_progress=reporter,
            )

    with sending.reporter(PROG, target, quiet=arguments.quiet, total=left.size) as reporter:
        asyncio.run(work(reporter))
    members = {**json.loads(left.metadata), **(left.members or {})}
    reporter.done(sending.result(members) if left.whole else State.OPEN)

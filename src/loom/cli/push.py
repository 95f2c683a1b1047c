"""The command `loom push`: a file or standard input becomes a stream; `--resume` sends what was left earlier.

Starts fast: aiohttp is imported only after the arguments are valid.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loom.cli import options, sending
from loom.cli.command import declare
from loom.cli.exit_codes import INPUT, INTERRUPTED, OK
from loom.cli.sending import Arguments
from loom.cli.target import Target, resolve
from loom.errors import LoomError

if TYPE_CHECKING:
    from loom.client import spool

PROG = "loom push"
FILE_BUFFER = 8 << 20
"""A file waits in its own place."""


@declare(
    "push",
    "make 2>&1 | loom push build/42",
    "loom push --ttl 7d reports/42 report.html",
    "loom push --resume",
)
@click.argument("id", required=False, metavar="[ID]", type=options.stream_id)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--resume", is_flag=True, help="Send what is left in the spool.")
@sending.shared
def command(id: str | None, file: str | None, resume: bool, arguments: Arguments) -> int:
    """Send a file or standard input as a stream.

    Every byte is sent as it arrives. If the connection or the server is lost, bytes are kept and sent once
    after the server is back.
    """
    try:
        return _run(id, file, resume, arguments)
    except KeyboardInterrupt:
        sending.say(PROG, "Interrupted before the server confirmed the stream.")
        return INTERRUPTED


def _run(id: str | None, file: str | None, resume: bool, arguments: Arguments) -> int:
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
        sending.say(PROG, f"{file} cannot be read: {error.strerror}.")
        return INPUT


def _push(id: str, arguments: Arguments, target: Target, fd: int) -> int:
    from loom.client.errors import InputFailed
    from loom.client.files import file_size, read_chunks
    from loom.client.producing import push
    from loom.client.session import Session

    total = file_size(fd)
    if total is not None:
        arguments = replace(arguments, max_buffer=min(arguments.max_buffer, FILE_BUFFER))
    reporter = sending.reporter(PROG, total)

    async def work() -> None:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.parts(arguments, arguments.spool)
            await push(session, id, read_chunks(fd), tell=reporter, **parts)

    try:
        asyncio.run(work())
    except InputFailed as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        reporter.say(f"The input could not be read: {reason}.")
        return INPUT
    except LoomError as error:
        reporter.say(str(error))
        return sending.code_of(error)
    finally:
        reporter.close()
    return OK


def _resume(arguments: Arguments, target: Target) -> int:
    """Send every spool file; the exit code is that of the last that could not be."""
    from loom.client import spool

    code = OK
    directory: Path = arguments.spool or spool.default_directory()
    for path in spool.find(directory):
        try:
            with spool.open_left(path) as left:
                _resume_one(arguments, target, left)
                path.unlink()
        except LoomError as error:
            sending.say(PROG, str(error))
            code = sending.code_of(error)
    return code


def _resume_one(arguments: Arguments, target: Target, left: "spool.Spooled") -> None:
    from loom.client.producing import resume
    from loom.client.push import Pace
    from loom.client.session import Session

    # Where it was to go at first, unless told otherwise.
    server = target.server if arguments.server else left.left.server
    reporter = sending.reporter(PROG, left.left.size)

    async def work() -> None:
        async with Session(server, token=target.token, proxy=target.proxy) as session:
            await resume(session, left, pace=Pace(patience=arguments.patience), tell=reporter)

    try:
        asyncio.run(work())
    finally:
        reporter.close()
    sys.stdout.write(f"{left.left.id}: {left.left.size} bytes are stored.\n")
    sys.stdout.flush()

"""The command `loom push`: a file or standard input becomes a stream; `--resume` sends what was left earlier.

Starts fast: argparse instead of Typer, and aiohttp is imported once the arguments are found right.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from loom.cli import sending
from loom.cli.options import CONFLICT, INTERRUPTED, LOST, OK, REFUSED, UNAUTHORIZED, USAGE, Target
from loom.cli.sending import INPUT, SPOOLED
from loom.errors import LoomError

if TYPE_CHECKING:
    from loom.client import spool

PROG = "loom push"
USAGE_LINE = """loom push [options] ID [FILE]
       loom push --resume [--spool DIR] [--server URL] [--token TOKEN]"""
DESCRIPTION = """Send FILE, or standard input, to a Loom server as the stream ID, every byte as it arrives.
Where the connection or the server is lost, the bytes are kept and sent once it is back, each of them once."""
CODES = (OK, REFUSED, USAGE, CONFLICT, UNAUTHORIZED, LOST, INPUT, SPOOLED, INTERRUPTED)
FILE_BUFFER = 8 << 20
"""A file waits in its own place."""


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command and leave with its exit code."""
    try:
        code = _run(argv)
    except KeyboardInterrupt:
        sending.say(PROG, "Interrupted before the server confirmed the stream.")
        code = INTERRUPTED
    # Straight out: nothing is left to write, and a standard error without a reader must not change the code.
    os._exit(code)


def _run(argv: Sequence[str]) -> int:
    parser = sending.parser(PROG, USAGE_LINE, DESCRIPTION, sending.exits(CODES))
    parser.add_argument("id", metavar="ID", nargs="?", type=sending.stream_id, help="may have slashes")
    parser.add_argument("file", metavar="FILE", nargs="?", help="standard input if it is absent, or -")
    parser.add_argument("--resume", action="store_true", help="send what is left in the spool")
    arguments = parser.parse_args(argv)
    if arguments.resume is (arguments.id is not None):
        parser.error("give the ID of a stream, or --resume")
    target = sending.target(arguments, parser)
    if arguments.resume:
        return _resume(arguments, target)
    if arguments.file in (None, "-"):
        if sys.stdin is None:
            parser.error("standard input is closed")
        return _push(arguments, target, sys.stdin.fileno())
    try:
        with open(arguments.file, "rb", buffering=0) as file:
            return _push(arguments, target, file.fileno())
    except OSError as error:
        sending.say(PROG, f"{arguments.file} cannot be read: {error.strerror}.")
        return INPUT


def _push(arguments: argparse.Namespace, target: Target, fd: int) -> int:
    from loom.client.errors import InputFailed
    from loom.client.files import file_size, read_chunks
    from loom.client.producing import push
    from loom.client.session import Session

    total = file_size(fd)
    if total is not None:
        arguments.max_buffer = min(arguments.max_buffer, FILE_BUFFER)
    reporter = sending.reporter(PROG, total)

    async def work() -> None:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.parts(arguments, arguments.spool)
            await push(session, arguments.id, read_chunks(fd), tell=reporter, **parts)

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


def _resume(arguments: argparse.Namespace, target: Target) -> int:
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


def _resume_one(arguments: argparse.Namespace, target: Target, left: "spool.Spooled") -> None:
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

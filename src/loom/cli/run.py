"""The command `loom run`: run a command as usual, and send its output as a stream while it is printed.

Ensures that the stream never affects the command: if the server fails, the command still runs to its end,
and its exit code is that of `loom run`.
"""

import asyncio
import os
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from loom.cli import options, sending
from loom.cli.child import Child, exit_code, on_terminal
from loom.cli.command import Command, declare, tell, worded
from loom.cli.sending import Arguments
from loom.cli.target import Target, resolve
from loom.cli.terminal import stamp
from loom.errors import LoomError

PROG = "loom run"
COMMAND_CHARS = 500
"""Characters of the command line to store in the metadata, whose size is limited."""
WAITING_BYTES = 64 << 20
"""Bytes of output that the push has not taken. Above this the stream is given up: the command never waits."""


class Overflow(Exception):
    """The output arrived faster than it could be stored or sent."""

    strerror = "the command printed more than --max-buffer allows to keep"


class Output:
    """The output of the command, for the push. Never makes the command wait."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._overflow = False
        self._closed = False

    def write(self, data: bytes) -> None:
        """Add output. Drop it, and all that follows, if too much is waiting."""
        self._overflow = self._overflow or self._waiting + len(data) > WAITING_BYTES
        if not self._overflow and not self._closed:
            self._waiting += len(data)
            self._pieces.put_nowait(data)

    def end(self) -> None:
        """Mark the end of the output."""
        self._pieces.put_nowait(None)

    def close(self) -> None:
        """Drop all further output: the push has ended."""
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            self._waiting -= len(piece)
            yield piece
        if self._overflow:
            raise Overflow


class Run(Command):
    """The command. Arguments after the first -- belong to the command that it runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the other command's arguments from the parser."""
        mark = args.index("--") if "--" in args else len(args)
        ctx.obj = args[mark + 1 :]
        return super().parse_args(ctx, args[:mark])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the parts of the usage line."""
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND", "[ARGUMENT]..."]


@declare("run", "loom run build/42 -- make", "loom run --mask API_KEY deploy/7 -- ./deploy.sh", cls=Run)
@options.stream
@click.option(
    "--mask",
    metavar="NAME",
    multiple=True,
    help="Hide the value of this environment variable in the stream; repeatable.",
)
@sending.shared
@click.pass_obj
def command(child: list[str], id: str, mask: tuple[str, ...], arguments: Arguments) -> int:
    """Run a command and send its output as a stream.

    The output is shown as usual, and sent while it is printed. On a terminal the command gets a terminal too,
    so that it keeps its colours. Exit code, start, end and host are stored in the stream's metadata. A lost
    server neither ends nor delays the command. The exit code is that of the command.
    """
    if not child:
        raise click.UsageError("Give the command to run, after --.")
    target = resolve(arguments.server, arguments.token)
    from loom.client.mask import secrets_in

    secrets: set[bytes] = set()
    for name in mask:
        if name not in os.environ:
            tell(PROG, f"The environment variable {name} is not set: there is no value to hide.")
        secrets |= secrets_in(os.environ.get(name, ""))
    return asyncio.run(_run(id, arguments, target, child, secrets))


async def _run(
    id: str, arguments: Arguments, target: Target, command: Sequence[str], secrets: set[bytes]
) -> int:
    try:
        child = Child(command, terminal=on_terminal())
    except OSError as error:
        tell(PROG, f"{command[0]} cannot be run: {error.strerror}.")
        return exit_code(error)
    from loom.client.mask import Mask

    result: dict[str, Any] = {"started": stamp(datetime.now(UTC)), "host": socket.gethostname()}
    output, mask, line = Output(), Mask(secrets), Mask(secrets)
    shown = line.feed(os.fsencode(shlex.join(command))) + line.end()
    described = ("command", shown.decode("utf-8", "replace")[:COMMAND_CHARS])
    arguments = replace(arguments, meta=(described, *arguments.meta))
    pushing = asyncio.create_task(_push(id, arguments, target, output, result))
    code = await child.run(lambda data: output.write(mask.feed(data)))
    result |= {"exit_code": code, "ended": stamp(datetime.now(UTC))}
    output.write(mask.end())
    output.end()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, pushing.cancel)
    await asyncio.wait({pushing})
    if pushing.cancelled():
        tell(PROG, "Interrupted: the stream is not complete.")
    return code


async def _push(
    id: str, arguments: Arguments, target: Target, output: Output, result: Mapping[str, Any]
) -> None:
    """Send the output. Errors are reported, and affect nothing else."""
    from loom.client.errors import InputFailed
    from loom.client.producing import push
    from loom.client.session import Session

    try:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.push_options(arguments)
            await push(session, id, output, final_members=lambda: result, **parts)
    except InputFailed as error:
        reason = getattr(error.__cause__, "strerror", error.__cause__)
        tell(PROG, f"The stream is not complete: {reason}.")
    except LoomError as error:
        tell(PROG, f"The stream is not complete: {worded(error)}")
        if lost := sending.unsent(error):
            tell(PROG, lost)
    finally:
        output.close()

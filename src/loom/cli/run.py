"""The command `loom run`: runs a command as usual, and sends what it prints as a stream while it prints it.

Owns that the stream never matters to the command: whatever becomes of the server, the command runs to its own
end, and its exit code is ours.
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
from loom.cli.command import Command, declare
from loom.cli.sending import Arguments
from loom.cli.target import Target, resolve
from loom.errors import LoomError

PROG = "loom run"
COMMAND_CHARS = 500
"""Of the command line that the metadata tells; what it may have in all is bounded."""
WAITING_BYTES = 64 << 20
"""Of output that the push does not take: then it is given up, so that the command need not wait."""


class Overflow(Exception):
    """The output came faster than it could be kept."""

    strerror = "more output came than --max-buffer allows to keep"


class Output:
    """What the command prints, for the push. Never makes the command wait."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._overflow = False
        self._closed = False

    def write(self, data: bytes) -> None:
        """Nothing is taken any more once too much waits."""
        self._overflow = self._overflow or self._waiting + len(data) > WAITING_BYTES
        if not self._overflow and not self._closed:
            self._waiting += len(data)
            self._pieces.put_nowait(data)

    def end(self) -> None:
        """Nothing comes any more."""
        self._pieces.put_nowait(None)

    def close(self) -> None:
        """Nobody takes anything any more."""
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
            sending.say(PROG, f"There is no environment variable {name} whose value could be hidden.")
        secrets |= secrets_in(os.environ.get(name, ""))
    return asyncio.run(_run(id, arguments, target, child, secrets))


async def _run(
    id: str, arguments: Arguments, target: Target, command: Sequence[str], secrets: set[bytes]
) -> int:
    try:
        child = Child(command, terminal=on_terminal())
    except OSError as error:
        sending.say(PROG, f"{command[0]} cannot be run: {error.strerror}.")
        return exit_code(error)
    from loom.client.mask import Mask

    result: dict[str, Any] = {"started": _now(), "host": socket.gethostname()}
    output, mask, line = Output(), Mask(secrets), Mask(secrets)
    shown = line.feed(os.fsencode(shlex.join(command))) + line.end()
    described = ("command", shown.decode("utf-8", "replace")[:COMMAND_CHARS])
    arguments = replace(arguments, meta=(described, *arguments.meta))
    pushing = asyncio.create_task(_push(id, arguments, target, output, result))
    code = await child.run(lambda data: output.write(mask.feed(data)))
    result |= {"exit_code": code, "ended": _now()}
    output.write(mask.end())
    output.end()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, pushing.cancel)
    await asyncio.wait({pushing})
    if pushing.cancelled():
        sending.say(PROG, "Interrupted: the stream is not complete.")
    return code


async def _push(
    id: str, arguments: Arguments, target: Target, output: Output, result: Mapping[str, Any]
) -> None:
    """Send all of it; whatever goes wrong is told, and no more."""
    from loom.client.errors import InputFailed
    from loom.client.producing import push
    from loom.client.session import Session

    try:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.parts(arguments, arguments.spool)
            await push(session, id, output, closing=lambda: result, **parts)
    except InputFailed as error:
        sending.say(
            PROG, f"The stream is not complete: {getattr(error.__cause__, 'strerror', error.__cause__)}."
        )
    except LoomError as error:
        sending.say(PROG, f"The stream is not complete: {error}")
    finally:
        output.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

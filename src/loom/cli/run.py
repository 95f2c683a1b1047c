"""The command `loom run`: run a command as usual, and send its output as a stream while it is printed.

Ensures that the stream never affects the command: if the id is taken or the server fails, the command still
runs to its end, and its exit code is that of `loom run`.
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
from loom.cli.child import Child, OnOutput, exit_code
from loom.cli.command import Command, declare, tell, worded
from loom.cli.running import STDOUT, is_terminal
from loom.cli.sending import Arguments
from loom.cli.target import Target, resolve
from loom.cli.terminal import stamp
from loom.errors import LoomError

PROG = "loom run"
COMMAND_CHARS = 500
"""Characters of the command line to store in the metadata, whose size is limited."""
START = 1.0
"""Seconds to wait for the server before the command starts: a taken id should be reported first."""
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
@click.option(
    "--no-pty", is_flag=True, help="Give the command pipes, not a terminal: no colours, lines end in LF."
)
@sending.shared
@click.pass_obj
def command(child: list[str], id: str, mask: tuple[str, ...], no_pty: bool, arguments: Arguments) -> int:
    """Run a command and send its output as a stream.

    The output is shown as usual, and sent while it is printed. On a terminal the command gets a terminal too,
    so that it keeps its colours; its lines then end in CR LF. Exit code, start, end and host are stored in
    the stream's metadata. The command starts once the server has answered, or after a second, and runs to its
    end whether or not its output can be stored. The exit code is that of the command in any case.
    """
    if not child:
        raise click.UsageError("Give the command to run, after --.")
    target = resolve(arguments.server, arguments.token)
    from loom.wire.masking import secrets_in

    secrets: set[bytes] = set()
    for name in mask:
        if name not in os.environ:
            tell(PROG, f"The environment variable {name} is not set: there is no value to hide.")
        secrets |= secrets_in(os.environ.get(name, ""))
    return asyncio.run(_run(id, arguments, target, child, secrets, pty=not no_pty))


async def _run(
    id: str, arguments: Arguments, target: Target, command: Sequence[str], secrets: set[bytes], *, pty: bool
) -> int:
    from loom.client.mask import Mask

    result: dict[str, Any] = {"started": stamp(datetime.now(UTC)), "host": socket.gethostname()}
    output, mask, line = Output(), Mask(secrets), Mask(secrets)
    shown = line.feed(os.fsencode(shlex.join(command))) + line.end()
    described = ("command", shown.decode("utf-8", "replace")[:COMMAND_CHARS])
    arguments = replace(arguments, meta=(described, *arguments.meta))
    reporter = sending.Reporter(PROG, target, quiet=arguments.quiet)
    pushing = asyncio.create_task(_push(id, arguments, target, output, result, reporter))
    connecting = asyncio.create_task(reporter.connected.wait())
    await asyncio.wait({pushing, connecting}, timeout=START, return_when=asyncio.FIRST_COMPLETED)
    connecting.cancel()
    if pushing.done() and (fault := pushing.result()):
        reporter.tell(f"{fault} The command runs all the same.")

    terminal = pty and is_terminal(STDOUT)
    if terminal:
        reporter.hold()  # the command has the screen
    code = await _run_child(command, terminal, reporter, lambda data: output.write(mask.feed(data)))
    reporter.release()
    result |= {"exit_code": code, "ended": stamp(datetime.now(UTC))}
    output.write(mask.end())
    output.end()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, pushing.cancel)
    await asyncio.wait({pushing})
    if pushing.cancelled():
        reporter.tell("Interrupted: the stream is not complete.")
    elif fault := pushing.result():
        reporter.tell(fault)
    else:
        reporter.done(sending.result({**dict(arguments.meta), **result}))
    return code


async def _run_child(
    command: Sequence[str], terminal: bool, reporter: sending.Reporter, on_output: OnOutput
) -> int:
    """Run the command. Return its exit code, or that of shells if it cannot be run."""
    try:
        child = Child(command, terminal=terminal)
    except OSError as error:
        sentence = f"{command[0]} cannot be run: {error.strerror}."
        reporter.tell(sentence)
        on_output(f"{PROG}: {sentence}\n".encode())
        return exit_code(error)
    return await child.run(on_output)


async def _push(
    id: str,
    arguments: Arguments,
    target: Target,
    output: Output,
    result: Mapping[str, Any],
    reporter: sending.Reporter,
) -> str:
    """Send the output. Return what went wrong, in sentences; empty if all is stored."""
    from loom.client.errors import InputFailed
    from loom.client.producing import push
    from loom.client.session import Session

    try:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.push_options(arguments)
            await push(session, id, output, final_members=lambda: result, on_progress=reporter, **parts)
    except InputFailed as error:
        return f"The stream is not complete: {getattr(error.__cause__, 'strerror', error.__cause__)}."
    except LoomError as error:
        begin = "The stream is not complete" if reporter.page else "The output is not stored"
        return f"{begin}: {worded(error)} {sending.unsent(error)}".rstrip()
    finally:
        output.close()
    return ""

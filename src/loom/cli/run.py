"""The command `loom run`: runs a command as usual, and sends what it prints as a stream while it prints it.

Owns that the stream never matters to the command: whatever becomes of the server, the command runs to its own
end, and its exit code is ours.
"""

import argparse
import asyncio
import os
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from loom.cli import sending
from loom.cli.child import Child, exit_code, on_terminal
from loom.cli.options import USAGE, Target
from loom.errors import LoomError

PROG = "loom run"
USAGE_LINE = "loom run [options] ID -- COMMAND [ARGUMENT ...]"
DESCRIPTION = """Run COMMAND, show its output as usual, and send it to a Loom server as the stream ID while
it comes. On a terminal the command gets one too, so that it keeps its colours. Its exit code, start, end and
host are kept in the stream's metadata. A lost server neither ends nor delays the command."""
EPILOG = f"""exit codes:
  that of the command; 128 and the number of the signal that ended it; 127 if there is no such command, 126
  if it cannot be run; {USAGE} if the arguments are wrong. What goes wrong with the stream is told on standard
  error."""
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


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command and leave with its exit code."""
    parser = sending.parser(PROG, USAGE_LINE, DESCRIPTION, EPILOG)
    parser.add_argument(
        "--mask",
        metavar="NAME",
        action="append",
        default=[],
        help="hide the value of this environment variable in what is sent; repeatable",
    )
    parser.add_argument("id", metavar="ID", type=sending.stream_id, help="may have slashes")
    mark = argv.index("--") if "--" in argv else len(argv)
    arguments, command = parser.parse_args(argv[:mark]), argv[mark + 1 :]
    if not command:
        parser.error("give the command to run, behind --")
    target = sending.target(arguments, parser)
    from loom.client.mask import secrets_in

    secrets: set[bytes] = set()
    for name in arguments.mask:
        if name not in os.environ:
            sending.say(PROG, f"There is no environment variable {name} whose value could be hidden.")
        secrets |= secrets_in(os.environ.get(name, ""))
    os._exit(asyncio.run(_run(arguments, target, command, secrets)))


async def _run(
    arguments: argparse.Namespace, target: Target, command: Sequence[str], secrets: set[bytes]
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
    arguments.meta.insert(0, ("command", shown.decode("utf-8", "replace")[:COMMAND_CHARS]))
    pushing = asyncio.create_task(_push(arguments, target, output, result))
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
    arguments: argparse.Namespace, target: Target, output: Output, result: Mapping[str, Any]
) -> None:
    """Send all of it; whatever goes wrong is told, and no more."""
    from loom.client.errors import InputFailed
    from loom.client.producing import push
    from loom.client.session import Session

    try:
        async with Session(target.server, token=target.token, proxy=target.proxy) as session:
            parts = sending.parts(arguments, arguments.spool)
            await push(session, arguments.id, output, closing=lambda: result, **parts)
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

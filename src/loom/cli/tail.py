"""The command `loom tail`. Owns how several streams share one output.

The bytes of a single stream are written as they arrive. With --grep, and with several streams, output is by
line; with several streams each line follows the name of its stream.
"""

import asyncio
import re
from contextlib import aclosing
from itertools import cycle
from typing import TYPE_CHECKING, TypedDict

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare, tell, worded
from loom.cli.running import STDOUT, Output, colored, is_terminal, with_client, write
from loom.cli.terminal import one_line, printable
from loom.errors import LoomError

if TYPE_CHECKING:
    from loom.client.client import AsyncClient
    from loom.client.reading import Reading

PROG = "loom tail"
LINES = 10
COLORS = 36, 32, 33, 35, 34, 96, 92, 93, 95, 94
UNFINISHED = ("live", "interrupted", "open")


class _Start(TypedDict, total=False):
    """Where following starts: arguments of AsyncClient.follow."""

    lines: int
    since: str


@declare(
    "tail",
    "loom tail build/42                   the last 10 lines, then new ones, to the end",
    "loom tail -n 100 build/42 test/42    two streams, each line after the name of its stream",
    "loom tail --prefix build/            all unfinished streams, and each new one",
    "loom tail --since 10m --grep ERROR build/42",
    "loom tail --wait build/43            as soon as it exists",
)
@options.streams
@click.option(
    "--prefix",
    metavar="PREFIX",
    help="Follow all unfinished streams whose ids begin with this text, and new ones.",
)
@click.option(
    "--lines",
    "-n",
    metavar="N",
    type=options.whole(0),
    help=f"Start N lines before the end.  [default: {LINES}]",
)
@click.option(
    "--since",
    metavar="TIME",
    type=options.since,
    help="Start with the bytes that arrived since: 10m, 2h, 2026-01-31T12:00:00Z.",
)
@click.option("--grep", metavar="RE", help="Show only lines that match this regular expression.")
@options.wait
@options.color
@click.option("--raw", is_flag=True, help="Write binary and control sequences to a terminal unchanged.")
@with_client
async def command(
    client: "AsyncClient",
    ids: tuple[str, ...],
    prefix: str | None,
    lines: int | None,
    since: str | None,
    grep: str | None,
    wait: bool,
    color: str,
    raw: bool,
) -> int:
    """Follow the end of streams until they are complete.

    After a disconnect or a restart of the server it resumes at the exact byte. With --prefix it runs until
    you stop it. On a terminal, control sequences other than colours are shown, not obeyed.
    """
    options.check_selection(ids, prefix)
    if wait and prefix is not None:
        raise click.UsageError("--prefix includes streams that do not exist yet: give --prefix or --wait.")
    if lines is not None and since is not None:
        raise click.UsageError("Give --lines or --since, not both.")
    try:
        pattern = None if grep is None else re.compile(grep.encode())
    except re.error as error:
        raise click.UsageError(f"--grep is not a regular expression: {error}.") from None
    start: _Start = {"since": since} if since else {"lines": LINES if lines is None else lines}

    weave = _Weave(pattern, names=prefix is not None or len(ids) > 1, color=colored(color), raw=raw)
    if prefix is not None:
        return await _follow_prefix(client, weave, prefix, start)
    codes = await asyncio.gather(
        *(weave.show(id, client.follow(id, wait=wait, **start)) for id in dict.fromkeys(ids))
    )
    return max(codes)


async def _follow_prefix(client: "AsyncClient", weave: "_Weave", prefix: str, start: _Start) -> int:
    """Show the unfinished streams from `start`, and each new stream from its first byte."""
    shown: set[str] = set()
    async with asyncio.TaskGroup() as tasks:

        def join(id: str, key: str, start: _Start) -> None:
            if key not in shown:
                shown.add(key)
                reading = client.follow(id, key=key, persistent=True, **start)
                tasks.create_task(weave.show(id, reading))

        first = True
        async with aclosing(client.events(prefix)) as changes:
            async for change in changes:
                if change.kind == "reset":
                    for info in [each async for each in client.streams(prefix, states=UNFINISHED)]:
                        join(info.id, info.key, start if first else {})
                    first = False
                elif change.kind == "created" and change.info is not None:
                    join(change.info.id, change.info.key, {})
    return exit_codes.OK


class _Weave:
    """The output that all streams share."""

    def __init__(self, pattern: re.Pattern[bytes] | None, *, names: bool, color: bool, raw: bool) -> None:
        self._pattern = pattern
        self._names = names
        self._color = color
        self._guarded = is_terminal(STDOUT) and not raw
        self._colors = cycle(COLORS)
        self._width = 0

    async def show(self, id: str, reading: "Reading") -> int:
        """Show a stream to its end. Return the exit code that reports the end."""
        name, color = printable(id), next(self._colors)
        self._width = max(self._width, len(name))
        output = Output(id, guarded=self._guarded, option="--raw")
        try:
            async with reading:
                if self._names or self._pattern is not None:
                    async for line in reading.lines():
                        output.check(line)
                        if self._pattern is None or self._pattern.search(line.removesuffix(b"\n")):
                            write(self._label(name, color) + self._line(line))
                else:
                    async for piece in reading:
                        output.write(piece)
                    output.end()
        except (LoomError, Stop) as error:
            if str(error):
                tell(PROG, f"{id}: {worded(error)}" if self._names else worded(error))
            return error.code if isinstance(error, Stop) else exit_codes.of(error)
        return exit_codes.OK

    def _line(self, line: bytes) -> bytes:
        """Return `line` with a line end, and with its colours reset."""
        if self._guarded:
            return one_line(line.decode(errors="replace")).encode() + b"\n"
        line = line.removesuffix(b"\n")
        return line + (b"\x1b[0m\n" if self._color and b"\x1b" in line else b"\n")

    def _label(self, name: str, color: int) -> bytes:
        """Return what precedes a line: the name of its stream, as wide as the widest one so far."""
        if not self._names:
            return b""
        padded = f"{name:<{self._width}}"
        return (f"\x1b[{color}m{padded}\x1b[0m | " if self._color else f"{padded} | ").encode()

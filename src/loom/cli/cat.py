"""The command `loom cat`: a stream to standard output, all of it, or an exit code that says why not."""

import re
import sys
import time
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli import options
from loom.cli.options import Server, Token
from loom.cli.running import STDERR, STDOUT, Stop, is_terminal, run, write
from loom.cli.terminal import Shown, is_binary, printable

if TYPE_CHECKING:
    from loom.client.client import AsyncClient

PROG = "loom cat"
BAR_AFTER = 1.0
"""Seconds a download takes before it gets a progress bar."""

EPILOG = options.epilog(
    "loom cat build/42 > build.log        all of it; of a live one what comes too, to its end",
    "loom cat -n build/42 | grep error    what is there now",
    "loom cat --range 0-99 core           the first 100 bytes",
    "loom cat --offset -1000 build/42     the last 1000 bytes, and what comes",
)


def cat(
    id: Annotated[str, typer.Argument(metavar="ID", autocompletion=options.complete_id)],
    range: Annotated[
        str | None, typer.Option(metavar="A-B", help="Bytes A to B of what is there now; also A- and -LAST.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option(metavar="N", help="Begin at byte N; negative: N bytes before the end.")
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", "-n", help="Do not wait for what a live stream is still to get.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", help="Wait for a stream that is not there yet; show it from its start."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", help="Write to a terminal as it is, binary and control sequences."),
    ] = False,
    progress: Annotated[
        bool,
        typer.Option("--progress/--no-progress", help="A progress bar, if standard error is a terminal."),
    ] = True,
    server: Server = None,
    token: Token = None,
) -> None:
    """Write a stream to standard output.

    A download that breaks goes on at the byte where it broke off, of the very same stream. A stream that is
    complete and was read as a whole is compared with its digest. On a terminal binary is refused, and
    control sequences other than colours are shown instead of obeyed.
    """

    async def work(client: "AsyncClient") -> None:
        output = _Output(id, terminal=is_terminal(STDOUT) and not force)
        if range is not None and offset is not None:
            raise Stop(options.USAGE, "Give --range or --offset, not both.")
        if wait and (range is not None or no_follow or offset):
            raise Stop(options.USAGE, "Give --wait, or --range, --offset or --no-follow.")
        if range is not None:
            pieces, total = client.download(id, *_range(range)), None
        elif no_follow:
            pieces, total = client.download(id, offset or 0), None
        else:
            reading = client.follow(id, offset=offset, verify=not offset, wait=wait)
            pieces, total = aiter(reading), lambda: reading.size
        bar = progress and is_terminal(STDERR) and not is_terminal(STDOUT)
        async with aclosing(pieces):
            with _Bar(id, total) if bar else nullcontext() as shown:
                async for piece in pieces:
                    output.write(piece)
                    if shown is not None:
                        shown.advance(len(piece))
        output.end()

    run(PROG, server, token, work)


class _Output:
    """Standard output, guarded if it is a terminal."""

    def __init__(self, id: str, *, terminal: bool) -> None:
        self._id = id
        self._shown = Shown() if terminal else None
        self._begun = False

    def write(self, data: bytes) -> None:
        if self._shown is None:
            write(data)
            return
        if not self._begun and is_binary(data):
            raise Stop(
                options.USAGE,
                f"The stream {self._id} is binary, and this is a terminal: send it to a file or a program, "
                "or use --force.",
            )
        self._begun = True
        write(self._shown.feed(data))

    def end(self) -> None:
        if self._shown is not None:
            write(self._shown.rest())


class _Bar:
    """A progress bar on standard error, for what takes longer than a moment."""

    def __init__(self, id: str, total: Any) -> None:
        self._id = id
        self._total = total
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._bytes = 0
        self._progress: Any = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._draw()
            self._progress.stop()

    def advance(self, size: int) -> None:
        self._bytes += size
        now = time.monotonic()
        if now - self._begun > BAR_AFTER and now - self._drawn > 0.1:
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        if self._progress is None:
            self._progress, self._task = self._start()
        total = self._total() if self._total else None
        self._progress.update(self._task, completed=self._bytes, total=total)

    def _start(self) -> tuple[Any, Any]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        name = TextColumn("{task.description}", markup=False)
        bar = Progress(name, *columns, console=Console(file=sys.stderr), transient=True)
        bar.start()
        return bar, bar.add_task(printable(self._id), total=None)


def _range(text: str) -> tuple[int, int | None]:
    """Start and stop of a range as HTTP writes it (RFC 9110 section 14.1.2)."""
    found = re.fullmatch(r"(\d{0,18})-(\d{0,18})", text)
    if found is None or text == "-" or (found[1] and found[2] and int(found[1]) > int(found[2])):
        raise Stop(options.USAGE, f"The range {text!r} is not of the form 0-99, 100- or -100.")
    if not found[1]:
        # The last 0 bytes are none, and a start of 0 would be the first.
        return (-int(found[2]), None) if int(found[2]) else (0, 0)
    return int(found[1]), int(found[2]) + 1 if found[2] else None

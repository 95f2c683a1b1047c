"""What `loom push` and `loom run` share: arguments, exit codes, and how a push looks on standard error."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loom.cli import options
from loom.cli.exit_codes import CONFLICT, INPUT, LOST, REFUSED, SPOOLED, UNAUTHORIZED
from loom.errors import LoomError

if TYPE_CHECKING:
    from loom.client.push import Progress

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
BY_STATUS = {401: UNAUTHORIZED, 403: UNAUTHORIZED, 409: CONFLICT, 412: CONFLICT}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values of the options that both commands have."""

    server: str | None
    token: str | None
    meta: tuple[tuple[str, str], ...]
    content_type: str
    force: bool
    resume_window: int
    ttl: int | None
    spool: Path | None
    max_buffer: int
    patience: float


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]?)i?B?", text, re.IGNORECASE)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{text!r} is not a size such as 64M.")
    return int(found[1]) * UNITS[found[2].upper()]


def _ttl(text: str) -> int:
    return 0 if text == "0" else options.duration(text)


OPTIONS = (
    options.server,
    options.token,
    options.meta,
    options.content_type,
    click.option("--force", "--replace", "force", is_flag=True, help="Replace a stream of that name."),
    click.option(
        "--resume-window",
        metavar="SECONDS",
        type=int,
        default=86400,
        show_default=True,
        help="Time that the stream waits for this producer after a disconnect.",
    ),
    click.option(
        "--ttl",
        metavar="TIME",
        type=_ttl,
        help="Delete the stream this long after its end: 7d, 12h; 0: never.",
    ),
    click.option(
        "--spool",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Directory for bytes that could not be sent.",
    ),
    click.option(
        "--max-buffer",
        metavar="BYTES",
        type=_size,
        default="1G",
        show_default=True,
        help="Unconfirmed bytes to keep, in memory and then in a file, such as 64M.",
    ),
    click.option(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=60.0,
        show_default=True,
        help="Give up if the server is lost this long while the input waits or has ended.",
    ),
)


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both commands. The function gets their values as `arguments`."""

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        values = {each.name: given.pop(each.name) for each in fields(Arguments)}
        return function(arguments=Arguments(**values), **given)

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered


def parts(arguments: Arguments, spool: Path | None) -> dict[str, Any]:
    """What the arguments mean to `client.producing.push`."""
    from loom.client.producing import Keeping
    from loom.client.push import Creation, Pace

    return {
        "creation": Creation(
            metadata=json.dumps(dict(arguments.meta)),
            content_type=arguments.content_type,
            force=arguments.force,
            resume_window=arguments.resume_window,
            ttl=arguments.ttl,
        ),
        "pace": Pace(patience=arguments.patience),
        "keeping": Keeping(limit=arguments.max_buffer, spool=spool),
    }


def code_of(error: LoomError) -> int:
    """The exit code that tells an error."""
    from loom.client import errors

    if isinstance(error, errors.Spooled):
        return SPOOLED
    if isinstance(error, errors.InputFailed):
        return INPUT
    if isinstance(error, errors.Fenced):
        return CONFLICT
    if isinstance(error, errors.Refused):
        return BY_STATUS.get(error.status, REFUSED)
    return LOST if isinstance(error, errors.Lost) else REFUSED


def say(prog: str, sentence: str) -> None:
    """One line on standard error, whatever becomes of it."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{prog}: {sentence if sentence.isprintable() else ascii(sentence)}\n")
            sys.stderr.flush()


class Reporter:
    """Tells of trouble, once each time, and that it is over; a moment's trouble is not told."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._attempts = 0

    def __call__(self, progress: "Progress") -> None:
        if progress.trouble is None:
            if self._attempts > 1:
                self.say("The server is there again.")
            self._attempts = 0
            return
        self._attempts += 1
        if self._attempts == 2:
            self.say(f"{progress.trouble} Trying again; nothing is lost.")

    def say(self, sentence: str) -> None:
        """A line for people."""
        say(self._prog, sentence)

    def close(self) -> None:
        """Nothing more comes."""


class Bar(Reporter):
    """The same with a progress bar: how much is stored, how fast, for how long still if that is known."""

    def __init__(self, prog: str, total: int | None) -> None:
        super().__init__(prog)
        from rich import progress
        from rich.console import Console

        columns = [progress.BarColumn(), progress.DownloadColumn(binary_units=True)]
        columns += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
        self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def __call__(self, progress: "Progress") -> None:
        super().__call__(progress)
        self._bar.update(self._task, completed=progress.durable)

    def say(self, sentence: str) -> None:
        self._bar.console.print(f"{self._prog}: {sentence}", markup=False, highlight=False)

    def close(self) -> None:
        self._bar.stop()


def reporter(prog: str, total: int | None) -> Reporter:
    """A bar where it can be seen."""
    return Bar(prog, total) if sys.stderr is not None and os.isatty(2) else Reporter(prog)

"""What `loom push`, `loom run` and `stream` share: options, and the progress of a push on standard error."""

import asyncio
import functools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import click

from loom.cli import exit_codes, options
from loom.cli.command import STDERR, Stop, worded, write_line
from loom.cli.running import is_terminal, progress_bar
from loom.cli.target import Target
from loom.cli.terminal import outcome_text, printable
from loom.client.address import page_url
from loom.errors import LoomError
from loom.model import State, outcome_of
from loom.units import rough_text, size_text

if TYPE_CHECKING:
    from loom.client.push import PushProgress

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values of the options that both commands have."""

    server: str | None
    token: str | None
    meta: tuple[tuple[str, str], ...]
    content_type: str
    force: bool
    new_id: bool
    resume_window: int
    ttl: int | None
    spool: Path | None
    max_buffer: int
    patience: float
    quiet: bool


OPTIONS = (
    options.server,
    options.token,
    options.meta,
    options.content_type,
    click.option("--force", "--replace", "force", is_flag=True, help="Replace a stream of that name."),
    click.option("--new-id", is_flag=True, help="Take the next free id if ID is taken: ID-2, ID-3, ..."),
    click.option(
        "--resume-window",
        metavar="TIME",
        type=options.seconds,
        default="1d",
        help="Time that the stream waits for this producer after a disconnect.",
    ),
    click.option(
        "--ttl",
        metavar="TIME",
        type=options.seconds,
        help="Delete the stream this long after its end: 7d, 12h; 0: never.",
    ),
    click.option(
        "--spool",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Directory for bytes that could not be sent; without it they are lost.",
    ),
    click.option(
        "--max-buffer",
        metavar="SIZE",
        type=options.size,
        default="1GiB",
        help="Unconfirmed bytes to keep, in memory and then in a file, such as 64MiB.",
    ),
    click.option(
        "--patience",
        metavar="TIME",
        type=options.duration,
        default="60s",
        help="Give up if the server is lost this long while the input waits or has ended.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print errors only, not the page and the result."),
)


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both commands. The function gets their values as `arguments`."""

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        arguments = Arguments(**{each.name: given.pop(each.name) for each in fields(Arguments)})
        if arguments.force and arguments.new_id:
            raise click.UsageError("Give --force or --new-id, not both.")
        return function(arguments=arguments, **given)

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered


def reporting_interrupt(function: Callable[P, T]) -> Callable[P, T]:
    """Report on standard error that Ctrl-C ended the command before its time."""

    @functools.wraps(function)
    def run(*args: P.args, **given: P.kwargs) -> T:
        try:
            return function(*args, **given)
        except KeyboardInterrupt:
            sentence = "Interrupted before the server confirmed the stream."
            raise Stop(exit_codes.INTERRUPTED, sentence) from None

    return run


def unsent(error: LoomError) -> str:
    """Return a sentence about the bytes that a push read and could not send; empty if none are lost."""
    from loom.client.errors import ClientError

    # A server that refused the stream would refuse the kept bytes, too.
    if not (isinstance(error, ClientError) and error.temporary and error.unsent):
        return ""
    return (
        f"{error.unsent} bytes that were read are not stored. With --spool DIR they are kept, and "
        "`loom push --resume` sends them."
    )


def result(members: Mapping[str, Any]) -> str:
    """Return the outcome of a complete stream with this metadata, or its state if it has none."""
    return outcome_text(outcome_of(State.COMPLETE, json.dumps(members)) or State.COMPLETE, members)


def push_options(arguments: Arguments) -> dict[str, Any]:
    """Return the arguments as those of `client.producing.push`."""
    from loom.client.producing import Keeping
    from loom.client.push import Pace
    from loom.client.uploads import Creation

    return {
        "creation": Creation(
            metadata=json.dumps(dict(arguments.meta)),
            content_type=arguments.content_type,
            force=arguments.force,
            new_id=arguments.new_id,
            resume_window=arguments.resume_window,
            ttl=arguments.ttl,
        ),
        "pace": Pace(patience=arguments.patience),
        "keeping": Keeping(limit=arguments.max_buffer, spool=arguments.spool),
    }


class Reporter:
    """Report on standard error: the page of the stream, an outage and its end, and the result.

    Once the stream exists, an error that the next attempt overcomes is not reported. `hold` keeps the lines
    back until `release`.
    """

    def __init__(self, prog: str, target: Target, *, quiet: bool) -> None:
        self.page = ""
        """The address of the stream's page; empty until the stream exists."""
        self.connected = asyncio.Event()
        """Set at the first response or error."""
        self._prog = prog
        self._server = target.server
        self._quiet = quiet
        self._begun = time.monotonic()
        self._size = 0
        self._attempts = 0
        self._held: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: "PushProgress") -> None:
        self._size = progress.durable
        if progress.trouble is not None:
            self._attempts += 1
            if not progress.trouble.temporary:
                self.tell(worded(progress.trouble))
            elif self._attempts == (2 if self.page else 1):
                self.tell(f"{progress.trouble} Retrying; unsent bytes are kept meanwhile.")
        else:
            if not self.page:
                self.page = page_url(self._server, progress.id)
                self._say(f"→ {self.page}")
            elif self._attempts > 1:
                self.tell("The server is back.")
            self._attempts = 0
        self.connected.set()

    def done(self, outcome: str) -> None:
        """Report the result."""
        took = time.monotonic() - self._begun
        rate = size_text(self._size / max(took, 0.001))
        self._say(
            f"{self._prog}: {outcome}, {size_text(self._size)} in {rough_text(took)} ({rate}/s) → {self.page}"
        )

    def tell(self, sentence: str) -> None:
        """Write a line, also if quiet."""
        self._line(f"{self._prog}: {sentence}")

    def hold(self) -> None:
        """Keep lines back: they would appear amid what another program shows or a user types."""
        self._held = []

    def release(self) -> None:
        """Write the lines that were kept back."""
        held, self._held = self._held or [], None
        for line in held:
            self._line(line)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._line(line)

    def _line(self, line: str) -> None:
        if self._held is None:
            self._write(line)
        else:
            self._held.append(line)

    def _write(self, line: str) -> None:
        write_line(line)


class Bar(Reporter):
    """A Reporter with a progress bar: bytes stored, their rate and, if the total is known, the time left."""

    def __init__(self, prog: str, target: Target, total: int | None) -> None:
        super().__init__(prog, target, quiet=False)
        self._bar = progress_bar()
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: "PushProgress") -> None:
        super().__call__(progress)
        self._bar.update(self._task, completed=progress.durable)

    def _write(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def reporter(
    prog: str, target: Target, *, quiet: bool, total: int | None = None, typed: bool = False
) -> Reporter:
    """Return a Reporter, with a bar if standard error is a terminal on which the input is not typed."""
    if quiet or typed or not is_terminal(STDERR):
        return Reporter(prog, target, quiet=quiet)
    return Bar(prog, target, total)

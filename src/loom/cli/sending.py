"""What `loom push`, `loom run` and `stream` share: options, and the progress of a push on standard error."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import click

from loom.cli import exit_codes, options
from loom.cli.command import STDERR, Stop, tell
from loom.cli.running import is_terminal, progress_bar
from loom.cli.terminal import printable
from loom.errors import LoomError

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
    resume_window: int
    ttl: int | None
    spool: Path | None
    max_buffer: int
    patience: float


OPTIONS = (
    options.server,
    options.token,
    options.meta,
    options.content_type,
    click.option("--force", "--replace", "force", is_flag=True, help="Replace a stream of that name."),
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


def push_options(arguments: Arguments) -> dict[str, Any]:
    """Return the arguments as those of `client.producing.push`."""
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
        "keeping": Keeping(limit=arguments.max_buffer, spool=arguments.spool),
    }


class Reporter:
    """Report an outage, once, and its end. An error that the next attempt overcomes is not reported."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._attempts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: "PushProgress") -> None:
        if progress.trouble is None:
            if self._attempts > 1:
                self.say("The server is back.")
            self._attempts = 0
            return
        self._attempts += 1
        if self._attempts == 2:
            self.say(f"{progress.trouble} Retrying; unsent bytes are kept meanwhile.")

    def say(self, sentence: str) -> None:
        """Write a line to standard error."""
        tell(self._prog, sentence)


class Bar(Reporter):
    """A Reporter with a progress bar: bytes stored, their rate and, if the total is known, the time left."""

    def __init__(self, prog: str, total: int | None) -> None:
        super().__init__(prog)
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

    def say(self, sentence: str) -> None:
        self._bar.console.print(f"{self._prog}: {printable(sentence)}", markup=False, highlight=False)


def reporter(prog: str, total: int | None) -> Reporter:
    """Return a Reporter, with a bar if standard error is a terminal."""
    return Bar(prog, total) if is_terminal(STDERR) else Reporter(prog)

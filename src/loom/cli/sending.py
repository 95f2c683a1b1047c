"""What `loom push` and `loom run` share: arguments, exit codes, and how a push looks on standard error."""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom.cli import options
from loom.cli.options import CONFLICT, INTERRUPTED, LOST, OK, REFUSED, UNAUTHORIZED, USAGE, Target
from loom.errors import ConfigError, InvalidId, LoomError
from loom.model import DEFAULT_CONTENT_TYPE, check_id

if TYPE_CHECKING:
    from loom.client.push import Progress

INPUT, SPOOLED = 6, 75

EXITS = {
    OK: "the server has confirmed that everything is stored",
    REFUSED: "the server refused for a reason that has no code of its own",
    USAGE: "the arguments or the settings are wrong",
    CONFLICT: "the stream exists (--force replaces it), or another producer has taken or replaced it",
    UNAUTHORIZED: "the token is missing, unknown, or may not do this",
    LOST: "the server was not reached, or was lost and did not come back",
    INPUT: "the input could not be read to its end; what came before is stored, the stream is not complete",
    SPOOLED: "not all was sent; the rest is kept in the spool, for loom push --resume",
    INTERRUPTED: "interrupted; the stream is not complete",
}
BY_STATUS = {401: UNAUTHORIZED, 403: UNAUTHORIZED, 409: CONFLICT, 412: CONFLICT}
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parser(prog: str, usage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """With the options of both commands."""
    made = argparse.ArgumentParser(
        prog=prog,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--server", metavar="URL", help=f"default: LOOM_SERVER, client.yaml, {options.DEFAULT_SERVER}")
    add("--token", metavar="TOKEN", help="better given in the environment, as LOOM_TOKEN")
    add("--meta", metavar="KEY=VALUE", type=_pair, action="append", default=[], help="metadata; repeatable")
    add("--content-type", metavar="TYPE", type=_header, default=DEFAULT_CONTENT_TYPE)
    add("--force", "--replace", action="store_true", help="replace a stream of that name")
    add("--resume-window", metavar="SECONDS", type=int, default=86400, help="the stream waits so long for us")
    add("--ttl", metavar="TIME", type=_ttl, help="delete the stream so long after its end; 7d, 12h; 0: never")
    add("--spool", metavar="DIR", type=Path, help="keep there what could not be sent")
    add(
        "--max-buffer",
        metavar="BYTES",
        type=_size,
        default=1 << 30,
        help="unconfirmed bytes that are held, in memory and then in a file; such as 64M; default: 1G",
    )
    add(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="give up when the input has ended, or has to wait, and the server is lost so long; default: 60",
    )
    return made


def exits(codes: Sequence[int]) -> str:
    """The end of a help text."""
    return "exit codes:\n" + "\n".join(f"  {code:<5}{EXITS[code]}" for code in codes)


def target(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> Target:
    """Whom to talk to; leaves with USAGE if that cannot be."""
    try:
        return options.resolve(arguments.server, arguments.token)
    except ConfigError as error:
        parser.error(str(error))


def parts(arguments: argparse.Namespace, spool: Path | None) -> dict[str, Any]:
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


def stream_id(text: str) -> str:
    """An argument that names a stream."""
    try:
        return check_id(text)
    except InvalidId as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _header(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError("must be printable ASCII characters, and not empty")
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    return key, value


def _ttl(text: str) -> int:
    try:
        return 0 if text == "0" else options.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]?)i?B?", text, re.IGNORECASE)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64M")
    return int(found[1]) * UNITS[found[2].upper()]

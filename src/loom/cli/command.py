"""How a command of `loom` and `stream` is declared, run and ended. Owns the form of help and errors."""

import errno
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import click

from loom.cli import exit_codes
from loom.cli.terminal import printable
from loom.errors import LoomError

STDERR = 2
SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
"""Context settings of every command."""
TOPICS = "Exit codes: loom help exit-codes. Variables: loom help environment."
"""The end of every help text."""


class Stop(Exception):
    """End the command with this exit code, and report `sentence` unless it is empty."""

    def __init__(self, code: int, sentence: str = "") -> None:
        super().__init__(sentence)
        self.code = code


class Command(click.Command):
    """A command whose function returns its exit code, None for success, or raises Stop or a LoomError."""

    def invoke(self, ctx: click.Context) -> int:
        """Run the function. Return the exit code."""
        try:
            return super().invoke(ctx) or exit_codes.OK
        except KeyboardInterrupt:
            return exit_codes.INTERRUPTED
        except Exception as raised:
            error: BaseException = raised
            # A task group wraps the errors of its tasks.
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if not isinstance(error, Stop | LoomError):
                raise
            if str(error):
                tell(ctx.command_path, worded(error))
            return error.code if isinstance(error, Stop) else exit_codes.of(error)


def declare(
    name: str, *examples: str, cls: type[Command] = Command
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a function as the command `name`; its docstring is the help text."""
    return click.command(name, cls=cls, epilog=epilog(examples), context_settings=SETTINGS)


def launch(command: click.Command, prog: str) -> NoReturn:
    """Run `command` with the arguments of this process and exit with its code."""
    warnings.showwarning = lambda message, *_: tell(prog, str(message))
    try:
        code = command.main(prog_name=prog, standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else prog
        message = error.format_message()
        tell(path, f"{message}{'' if message.endswith(('.', '?')) else '.'} See '{path} --help'.")
        code = exit_codes.USAGE
    except click.Abort:  # Ctrl-C before the command runs
        code = exit_codes.INTERRUPTED
    for output in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            output.flush()
    # Everything is written and closed. An interpreter shutdown would only add time, and change
    # the code if the reader of an output is gone.
    os._exit(code)


def tell(prog: str, sentence: str) -> None:
    """Write a line to standard error, if that is open."""
    write_line(f"{prog}: {sentence}")


def write_line(text: str) -> None:
    """Write `text` as one line to standard error, if that is open."""
    with suppress(OSError):
        os.write(STDERR, f"{printable(text)}\n".encode())


def worded(error: BaseException) -> str:
    """Return the sentence of an error, with options in place of a server's advice for HTTP clients."""
    text, code = str(error), getattr(error, "code", "")
    if code == "spooled" and error.__cause__:
        return text.replace(str(error.__cause__), worded(error.__cause__))
    if code == "exists":
        return "The stream exists already; use --force to replace it, or --new-id to take another id."
    if getattr(error.__cause__, "errno", 0) == errno.ECONNREFUSED:
        return f"{text} Start a server with `loom serve`, or name another with --server or in LOOM_SERVER."
    if getattr(error, "status", 0) == 401:
        if "Authorization" in text:
            return "The server needs a token: give one with --token or in LOOM_TOKEN."
        return f"{text} Give a valid token with --token or in LOOM_TOKEN."
    return text if text.endswith((".", "?")) else f"{text}."


def summary(text: str | None) -> str:
    """Return the first sentence of a help text."""
    return " ".join((text or "").partition("\n\n")[0].split())


def epilog(examples: tuple[str, ...]) -> str:
    """Return the end of a help text."""
    # A \b keeps click from wrapping the paragraph.
    shown = "\b\n" + "\n".join(["Examples:", *(f"  {each}" for each in examples)]) + "\n\n"
    return f"{shown if examples else ''}{TOPICS}"

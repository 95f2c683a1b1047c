"""What commands share while they run: a client, Ctrl-C, an output that may be closed, a progress bar."""

import asyncio
import functools
import os
import select
import signal
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from loom.cli import exit_codes, options
from loom.cli.command import STDERR, Stop
from loom.cli.target import Target, resolve
from loom.cli.terminal import RESET, Screen, is_binary

if TYPE_CHECKING:
    from rich.progress import Progress

STDOUT = 1


def with_client(function: Callable[..., Awaitable[int | None]]) -> Callable[..., int | None]:
    """Add --server and --token to a command. Its coroutine function gets a client as first argument."""

    @options.server
    @options.token
    @functools.wraps(function)
    def run(server: str | None, token: str | None, **arguments: Any) -> int | None:
        signal.signal(signal.SIGINT, _interrupted)
        return asyncio.run(_run(function, resolve(server, token), arguments))

    return run


async def _run(
    function: Callable[..., Awaitable[int | None]], target: Target, arguments: Mapping[str, Any]
) -> int | None:
    from loom.client.client import AsyncClient

    _watch_output()
    async with AsyncClient(target.server, token=target.token, proxy=target.proxy) as client:
        return await function(client, **arguments)


def write(data: bytes, fd: int = STDOUT) -> None:
    """Write all of `data`. Block while the reader of the output is slow: that slows the server's side too."""
    view = memoryview(data)
    with output_errors():
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                # Another process that shares the terminal may have made it non-blocking.
                select.select([], [fd], [])


class Output:
    """Standard output for the bytes of one stream. If `guarded`, it is a terminal that gets no binary.

    `option` turns the guard off.
    """

    def __init__(self, id: str, *, guarded: bool, option: str) -> None:
        self._id = id
        self._screen = Screen() if guarded else None
        self._option = option
        self._checked = False

    def write(self, data: bytes) -> None:
        """Write bytes. Raise Stop if the stream is binary."""
        self.check(data)
        write(data if self._screen is None else self._screen.feed(data))

    def check(self, data: bytes) -> None:
        """Raise Stop if these first bytes of the stream are binary, and a terminal would get them."""
        if self._screen is not None and not self._checked and is_binary(data):
            raise Stop(
                exit_codes.USAGE,
                f"The stream {self._id} is binary, and this is a terminal: send it to a file or a program, "
                f"or use {self._option}.",
            )
        self._checked = True

    def end(self) -> None:
        """Write what is held, at the end of the stream."""
        if self._screen is not None:
            write(self._screen.rest())


@contextmanager
def output_errors() -> Iterator[None]:
    """End the command if an output cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise Stop(exit_codes.BROKEN_PIPE) from None
    except OSError as error:
        raise Stop(exit_codes.OUTPUT, f"The output could not be written: {error.strerror}.") from None


def is_terminal(fd: int) -> bool:
    """Return True if `fd` is a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def progress_bar() -> "Progress":
    """Return a progress bar for bytes, on standard error; its tasks are named by plain text."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def colored(choice: str) -> bool:
    """Return True if colours are to be written: `choice` is auto, always or never (https://no-color.org)."""
    if choice == "auto":
        return is_terminal(STDOUT) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


def _watch_output() -> None:
    """Exit as soon as the reader of the output is gone, even with nothing to write: `tail x | head`."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
            # A pipe's write end never becomes readable. The loop wakes up for the error of a closed read end.
            asyncio.get_running_loop().add_reader(STDOUT, os._exit, exit_codes.BROKEN_PIPE)


def _interrupted(*_: object) -> None:
    # A write that waits for a pager must not delay the exit, and there is nothing to clean up.
    for fd, left in ((STDOUT, RESET), (STDERR, "\x1b[?25h")):  # colours, and a cursor hidden by a bar
        if is_terminal(fd):
            with suppress(OSError):
                os.write(fd, left.encode())
    os._exit(exit_codes.INTERRUPTED)

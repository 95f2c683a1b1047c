"""How a reading command runs: its client, its output, and the exit code of each way it can end."""

import asyncio
import os
import select
import signal
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from loom.cli import options
from loom.cli.terminal import printable
from loom.errors import ConfigError, LoomError

if TYPE_CHECKING:
    from loom.client.client import AsyncClient

STDOUT, STDERR = 1, 2
BY_CODE = {
    "lost": options.LOST,
    "aborted": options.ABORTED,
    "corrupted": options.OUTPUT,
    "invalid_request": options.USAGE,
}
BY_STATUS = {
    401: options.UNAUTHORIZED,
    403: options.UNAUTHORIZED,
    404: options.NOT_FOUND,
    409: options.CONFLICT,
    412: options.CONFLICT,
}


class Stop(Exception):
    """The command ends with this exit code, and a sentence where there is one to say."""

    def __init__(self, code: int, sentence: str = "") -> None:
        super().__init__(sentence)
        self.code = code


def run(
    prog: str,
    server: str | None,
    token: str | None,
    work: Callable[["AsyncClient"], Awaitable[int | None]],
) -> NoReturn:
    """Do the work with a client, tell what went wrong on standard error, and leave with its exit code."""
    signal.signal(signal.SIGINT, _interrupted)
    try:
        target = options.resolve(server, token)
        code = asyncio.run(_work(target, work)) or options.OK
    except Exception as error:
        code = _ended(prog, error)
    # Straight out: all is written, and an output without a reader must not change the code.
    os._exit(code)


def _ended(prog: str, error: BaseException) -> int:
    """Tell what ended the command; its exit code. What nobody expected is raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        return options.BROKEN_PIPE
    if isinstance(error, OSError):
        tell(prog, f"The output could not be written: {error.strerror}.")
        return options.OUTPUT
    if not isinstance(error, Stop | LoomError):
        raise error
    if str(error):
        tell(prog, str(error))
    return error.code if isinstance(error, Stop) else exit_code(error)


def exit_code(error: LoomError) -> int:
    """The exit code that tells of this error."""
    if isinstance(error, ConfigError):
        return options.USAGE
    return BY_CODE.get(error.code) or BY_STATUS.get(getattr(error, "status", 0), options.REFUSED)


def tell(prog: str, sentence: str) -> None:
    """A line on standard error, if anyone can have it."""
    with suppress(OSError):
        os.write(STDERR, f"{prog}: {printable(sentence)}\n".encode())


def write(data: bytes, fd: int = STDOUT) -> None:
    """Write all of it. It may wait for who reads that: so shall the server."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Whoever shares the terminal may have made it so.
            select.select([], [fd], [])


def is_terminal(fd: int) -> bool:
    """True if `fd` is a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def colored(choice: str) -> bool:
    """Whether to write in colours: auto, always or never (https://no-color.org)."""
    if choice == "auto":
        return is_terminal(STDOUT) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


async def _work(target: options.Target, work: Callable[["AsyncClient"], Awaitable[int | None]]) -> int | None:
    from loom.client.client import AsyncClient

    _watch_output()
    async with AsyncClient(target.server, token=target.token, proxy=target.proxy) as client:
        return await work(client)


def _watch_output() -> None:
    """Leave as soon as nobody reads the output any more, though nothing is to be written: `tail x | head`."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
            # Never readable: what wakes the loop is the error that the other end is closed.
            asyncio.get_running_loop().add_reader(STDOUT, os._exit, options.BROKEN_PIPE)


def _interrupted(*_: object) -> None:
    # Nothing here is worth a tidy end, and a write that waits for a pager must not hold it up.
    if is_terminal(STDERR):
        with suppress(OSError):
            os.write(STDERR, b"\x1b[?25h")  # a progress bar hides the cursor
    os._exit(options.INTERRUPTED)

"""A command as a child process, on a terminal of its own if wanted. Owns signals, keys and the window size.

The output of the command is shown as usual and passed on. Knows nothing of servers.
"""

import asyncio
import errno
import fcntl
import os
import pty
import signal
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

CHUNK_BYTES = 64 * 1024
GRACE = 2.0
"""Seconds to wait for an output that another process holds open after the command's end."""
CHECK = 0.2
"""Seconds between two checks whether a shell has moved this job to the foreground."""
PASSED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
NOT_FOUND, NOT_EXECUTABLE = 127, 126
DISABLED = b"\0"
"""The value of a terminal's special character that is disabled (_POSIX_VDISABLE)."""

OnOutput = Callable[[bytes], None]


class Child:
    """A running command."""

    def __init__(self, command: Sequence[str], *, terminal: bool) -> None:
        """Start the command. Raises OSError."""
        self._terminal = terminal
        self._keys: Keys | None = None
        if terminal:
            master, slave = pty.openpty()
            _copy_window(1, master)
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the user asks to run it
                    command,
                    stdin=slave if os.isatty(0) else None,
                    stdout=slave,
                    stderr=slave,
                    start_new_session=True,
                    preexec_fn=_take_terminal,
                )
            finally:
                os.close(slave)
            self._outputs = {master: 1}
            self._keys = Keys(master, self._process.pid) if os.isatty(0) else None
        else:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe)  # noqa: S603
            assert self._process.stdout
            assert self._process.stderr
            self._outputs = {self._process.stdout.fileno(): 1, self._process.stderr.fileno(): 2}

    async def run(self, on_output: OnOutput) -> int:
        """Show the output and pass it on. Return the exit code, as shells have it, at the command's end."""
        with ExitStack() as stack:
            stack.enter_context(self._passing_signals())
            if self._keys is not None:
                stack.enter_context(self._keys)
            relays = [asyncio.create_task(self._relay(fd, to, on_output)) for fd, to in self._outputs.items()]
            code = await asyncio.to_thread(self._process.wait)
            # An output ends only once every process that has inherited it has closed it.
            _, left = await asyncio.wait(relays, timeout=GRACE)
            for relay in left:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
        return code if code >= 0 else 128 - code

    async def _relay(self, fd: int, to: int, on_output: OnOutput) -> None:
        """Copy one output of the command to ours, and pass it on."""
        while data := await _wait_read(fd):
            on_output(data)
            with suppress(OSError):  # the reader of our output may be gone; the command continues
                await asyncio.to_thread(_write, to, data)

    @contextmanager
    def _passing_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in PASSED:
            loop.add_signal_handler(number, self._pass, number)
        if self._terminal:
            [master] = self._outputs
            loop.add_signal_handler(signal.SIGWINCH, _copy_window, 1, master)
        try:
            yield
        finally:
            for number in (*PASSED, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def _pass(self, number: signal.Signals) -> None:
        """Forward a signal to the command, unless the command has received it, too.

        A terminal sends the signals of its keys to all processes in its foreground.
        """
        if self._process.poll() is not None:
            return
        if not self._terminal and number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return
        with suppress(ProcessLookupError):
            if self._terminal:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


class Keys:
    """The keys of our terminal, passed to the terminal of a command, which echoes them or sends signals.

    Only while this process is in the foreground: in the background the keys and the mode of the terminal are
    the shell's, and changing the mode would stop us (SIGTTOU).
    """

    def __init__(self, master: int, pid: int) -> None:
        """Pass keys to `master`, the terminal of the process `pid`."""
        self._master = master
        self._pid = pid
        self._before: list[Any] | None = None
        """The mode of our terminal before it was changed; None while we take no keys."""
        self._next_check: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._take()

    def __exit__(self, *_: object) -> None:
        self._give_back()
        if self._next_check is not None:
            self._next_check.cancel()

    def _take(self) -> None:
        """Make our terminal pass on each key when it is typed, once we are in the foreground."""
        if not _owns_keys():
            # `fg` sends no signal to a job that runs.
            self._next_check = asyncio.get_running_loop().call_later(CHECK, self._take)
            return
        self._before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSANOW)  # TCSANOW keeps what was typed before
        mode = termios.tcgetattr(0)
        mode[tty.OFLAG] |= termios.OPOST  # our own messages still end in CR LF
        termios.tcsetattr(0, termios.TCSANOW, mode)
        asyncio.get_running_loop().add_reader(0, self._pass)

    def _give_back(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            asyncio.get_running_loop().remove_reader(0)
            if _owns_keys():
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _pass(self) -> None:
        if not _owns_keys():  # stopped with SIGSTOP, and continued by `bg`
            self._give_back()
            self._take()
            return
        try:
            keys = os.read(0, 1024)
        except OSError:  # our terminal is gone
            keys = b""
        if not keys:
            asyncio.get_running_loop().remove_reader(0)
            return
        with suppress(OSError):
            key = self._suspending_key()
            *parts, rest = keys.split(key) if key else [keys]
            for part in parts:
                _write(self._master, part)
                self._suspend()
            _write(self._master, rest)

    def _suspending_key(self) -> bytes:
        """Return the key that stops us, Ctrl-Z; none if the command reads it itself or has jobs of its own.

        The command's process group is orphaned, so that the kernel never stops it at a key (POSIX 11.1.9).
        """
        mode = termios.tcgetattr(self._master)
        ours = mode[tty.LFLAG] & termios.ISIG and os.tcgetpgrp(self._master) == self._pid
        key: bytes = mode[tty.CC][termios.VSUSP]
        return key if ours and key != DISABLED else b""

    def _suspend(self) -> None:
        """Stop the command and this process. Return once the shell continues us."""
        # SIGSTOP: the kernel ignores SIGTSTP for an orphaned process group.
        os.killpg(self._pid, signal.SIGSTOP)
        # The shell needs its terminal as it was before it learns that this job has stopped.
        self._give_back()
        os.kill(0, signal.SIGTSTP)  # all of this job, as the kernel does; returns after fg or bg
        self._take()
        _copy_window(1, self._master)
        os.killpg(self._pid, signal.SIGCONT)


def exit_code(error: OSError) -> int:
    """Return the exit code for a command that cannot be started, as shells have it."""
    return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE


def _take_terminal() -> None:
    """Make standard output the controlling terminal. Runs in the child, whose session is new.

    Its keys then send signals. These may be ignored here, as in a background job of a script: reset them.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)


def _copy_window(source: int, target: int) -> None:
    with suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _owns_keys() -> bool:
    """Return True if this process may read keys: it is in the foreground, or without job control."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not our controlling terminal
        return True


def _in_foreground() -> bool:
    """Return True if the keys of a terminal send signals to this process."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


async def _wait_read(fd: int) -> bytes:
    """Wait for output and return it; empty at the end, which a terminal reports as an error (EIO)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
        return os.read(fd, CHUNK_BYTES)
    except OSError:
        return b""
    finally:
        loop.remove_reader(fd)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]

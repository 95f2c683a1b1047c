"""A command as a child process, on a terminal of its own where ours is one. Owns signals and the window size.

What it prints is shown as usual and handed on. Knows nothing of servers.
"""

import asyncio
import errno
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

CHUNK_BYTES = 64 * 1024
GRACE = 2.0
"""Seconds that output is waited for whose writer outlives the command."""
PASSED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
NOT_FOUND, NOT_EXECUTABLE = 127, 126
DISABLED = b"\0"
"""A terminal's key that there is none of (_POSIX_VDISABLE)."""

Take = Callable[[bytes], None]
Mode = list[Any]
"""What termios.tcgetattr gives."""


class Child:
    """A running command."""

    def __init__(self, command: Sequence[str], *, terminal: bool) -> None:
        """Raises OSError if it cannot be started."""
        self._terminal = terminal
        if terminal:
            master, slave = pty.openpty()
            _copy_window(1, master)
            try:
                self._process = subprocess.Popen(  # noqa: S603 - it is what the user asked to run
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
        else:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdout=pipe, stderr=pipe)  # noqa: S603
            assert self._process.stdout
            assert self._process.stderr
            self._outputs = {self._process.stdout.fileno(): 1, self._process.stderr.fileno(): 2}

    async def run(self, take: Take) -> int:
        """Show and hand on all it prints; its exit code once it has ended, as a shell tells it."""
        with ExitStack() as stack:
            stack.enter_context(self._passing_signals())
            if self._terminal:
                stack.enter_context(self._passing_keys())
            relays = [asyncio.create_task(self._relay(fd, to, take)) for fd, to in self._outputs.items()]
            code = await asyncio.to_thread(self._process.wait)
            _, left = await asyncio.wait(relays, timeout=GRACE)
            for relay in left:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
        return code if code >= 0 else 128 - code

    async def _relay(self, fd: int, to: int, take: Take) -> None:
        """From one of its outputs to ours, and to `take`."""
        while data := await _read(fd):
            take(data)
            with suppress(OSError):  # who reads our output may leave; the command goes on
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
        """The terminal sends its signals to all of its foreground, so to the command too."""
        if self._process.poll() is not None:
            return
        if not self._terminal and number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return
        with suppress(ProcessLookupError):
            if self._terminal:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)

    @contextmanager
    def _passing_keys(self) -> Iterator[None]:
        """Our terminal hands every key to the command's, which makes signals of some, and echoes others."""
        if not os.isatty(0):
            yield
            return
        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(0)
        _make_raw()
        loop.add_reader(0, self._pass_keys, before)
        try:
            yield
        finally:
            loop.remove_reader(0)
            termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _pass_keys(self, before: Mode) -> None:
        [master] = self._outputs
        try:
            keys = os.read(0, 1024)
        except OSError:  # our terminal is gone
            keys = b""
        if not keys:
            asyncio.get_running_loop().remove_reader(0)
            return
        with suppress(OSError):
            key = self._suspending_key(master)
            *parts, rest = keys.split(key) if key else [keys]
            for part in parts:
                _write(master, part)
                self._suspend(master, before)
            _write(master, rest)

    def _suspending_key(self, master: int) -> bytes:
        """The key that is for us: Ctrl-Z, unless the command takes it itself or runs others as jobs.

        The command's own group has no parent in its session, so the kernel stops it at no key (POSIX 11.1.9).
        """
        mode = termios.tcgetattr(master)
        ours = mode[tty.LFLAG] & termios.ISIG and os.tcgetpgrp(master) == self._process.pid
        key: bytes = mode[tty.CC][termios.VSUSP]
        return key if ours and key != DISABLED else b""

    def _suspend(self, master: int, before: Mode) -> None:
        """Stop the command and ourselves; returns when our shell lets us go on."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        os.kill(0, signal.SIGTSTP)
        _make_raw()
        _copy_window(1, master)
        os.killpg(self._process.pid, signal.SIGCONT)


def exit_code(error: OSError) -> int:
    """Of a command that cannot be started, as a shell tells it."""
    return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE


def _take_terminal() -> None:
    """In the child, whose session is new: its standard output becomes its controlling terminal.

    Keys there make signals for it, though ours may be ignored, as in what a script starts in the background.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)


def _copy_window(source: int, target: int) -> None:
    with suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _make_raw() -> None:
    """Let our terminal hand over each key as it is typed."""
    tty.setraw(0, termios.TCSANOW)  # what was typed before is not thrown away
    mode = termios.tcgetattr(0)
    mode[tty.OFLAG] |= termios.OPOST  # our own lines on standard error are still lines
    termios.tcsetattr(0, termios.TCSANOW, mode)


def _in_foreground() -> bool:
    """True if a terminal's keys send us signals."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


async def _read(fd: int) -> bytes:
    """What has come; empty at the end, which a terminal tells by an error (EIO)."""
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


def on_terminal() -> bool:
    """True if what the command prints is for a terminal."""
    return sys.stdout is not None and os.isatty(1)

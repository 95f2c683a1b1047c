"""`loom serve` on a disk that fails at one point: `python child.py FAULT serve --name=value...`.

Operations are counted after the store is opened, or from the start of the process. A file records that the
fault happened, because the process may be dead by then.
"""

import asyncio
import errno
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from loom import config, logs
from loom.cli.serving import run
from loom.config import Settings
from loom.errors import LoomError
from loom.metrics import Metrics
from loom.model import Clock
from loom.store.base import Store
from loom.store.files import FilesStore, parts
from loom.store.files.catalog import Catalog
from loom.store.files.disk import Disk, FlushFailed

CANNOT_START = 2


@dataclass(frozen=True)
class Fault:
    """Make the `nth` `operation` (open, write, sync, rename, commit) fail, counted from 1, or all with 0.

    Only files count whose names begin with `prefix`.

    `kind` is the name of an errno, or `torn` (half is written, then the process is killed), or `skipped`
    (nothing is done and success is reported).
    """

    operation: str
    prefix: str
    kind: str
    nth: int = 1
    early: bool = False
    """Count from the start of the process, not from the end of recovery."""
    struck: str = ""
    """A file that is created when the fault strikes."""

    @property
    def error(self) -> OSError:
        """The error as the kernel reports it."""
        number = getattr(errno, self.kind)
        return OSError(number, os.strerror(number))

    def program(self) -> tuple[str, ...]:
        """Return the program to start in place of `loom`."""
        return (sys.executable, __file__, json.dumps(asdict(self)))


def lying(prefix: str) -> tuple[str, ...]:
    """Return a server program whose flushes of some files do nothing."""
    return Fault("sync", prefix, "skipped", nth=0, early=True).program()


class Trigger:
    """Counts operations and decides when the fault happens. Used by every thread of the store."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.armed = fault.early
        self._count = 0
        self._lock = threading.Lock()

    def strikes(self, operation: str, name: str) -> bool:
        """Return True if this operation has to fail."""
        fault = self.fault
        if not self.armed or operation != fault.operation or not name.startswith(fault.prefix):
            return False
        with self._lock:
            self._count += 1
            if fault.nth not in (0, self._count):
                return False
        if fault.struck:
            Path(fault.struck).touch()
        return True


class FailingDisk(Disk):
    """Asks the trigger before each operation."""

    def __init__(self, root: Path, trigger: Trigger) -> None:
        super().__init__(root)
        self._trigger = trigger

    def _name(self, fd: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), os.path.realpath(self.root)) + "/"

    def open(self, name: str, flags: int) -> int:
        if self._trigger.strikes("open", name):
            raise self._trigger.fault.error
        return super().open(name, flags)

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        if not self._trigger.strikes("write", self._name(fd)):
            super().write(fd, parts, offset)
            return
        whole = b"".join(parts)
        super().write(fd, [whole[: len(whole) // 2]], offset)
        if self._trigger.fault.kind == "torn":
            os.kill(os.getpid(), signal.SIGKILL)
        raise self._trigger.fault.error

    def sync(self, fd: int) -> None:
        if not self._trigger.strikes("sync", self._name(fd)):
            super().sync(fd)
        elif self._trigger.fault.kind != "skipped":
            raise FlushFailed("Flushing to disk failed.") from self._trigger.fault.error

    def rename(self, old: str, new: str) -> None:
        if self._trigger.strikes("rename", old):
            raise self._trigger.fault.error
        super().rename(old, new)


class FailingCatalog(Catalog):
    """Fails commits. SQLite has its own file operations, so they fail one level above."""

    trigger: Trigger

    @contextmanager
    def _transaction(self, *, flush: bool) -> Iterator[sqlite3.Connection]:
        with super()._transaction(flush=flush) as db:
            yield db
            if self.trigger.strikes("commit", ""):
                full = self.trigger.fault.kind == "ENOSPC"
                error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
                raise error


async def serve(fault: Fault, arguments: Sequence[str]) -> int:
    flags = (each.removeprefix("--").partition("=") for each in arguments)
    settings = config.load([], {}, {name.replace("-", "_"): value for name, _, value in flags})
    logs.configure(settings.log_level, settings.log_format, ())
    FailingCatalog.trigger = trigger = Trigger(fault)
    setattr(parts, "Catalog", FailingCatalog)  # noqa: B010

    async def open_failing(settings: Settings, clock: Clock, metrics: Metrics) -> Store:
        disk = FailingDisk(settings.data, trigger)
        store = await FilesStore.start(
            settings.data, clock=clock, disk=disk, min_free_bytes=settings.min_free_bytes
        )
        trigger.armed = True
        return store

    return await run(settings, lambda: settings, opener=open_failing)


def main() -> int:
    _, fault, _, *arguments = sys.argv
    try:
        return asyncio.run(serve(Fault(**json.loads(fault)), arguments))
    except LoomError as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main())

"""The parts of a data directory: opened in the right order, recovered, and closed. Knows no event loop."""

import os
import resource
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass

from loom.errors import Busy, ConfigError
from loom.model import Clock
from loom.store.files import directory
from loom.store.files.catalog import Catalog
from loom.store.files.content import ContentFiles
from loom.store.files.disk import Disk, FlushFailed
from loom.store.files.log import SEGMENT_SIZE, Log
from loom.store.files.queries import CatalogReader
from loom.store.files.recovery import Recovered, recover


@dataclass(slots=True)
class Parts:
    """An open data directory."""

    disk: Disk
    lock: int
    catalog: Catalog
    reader: CatalogReader
    log: Log
    content: ContentFiles
    recovered: Recovered

    def close(self) -> None:
        """Close every part, the lock last."""
        self.reader.close()
        self.catalog.close()
        self.log.close()
        self.content.close()
        os.close(self.lock)


def open_parts(disk: Disk, clock: Clock, *, flush: bool, segment_size: int = SEGMENT_SIZE) -> Parts:
    """Open and recover a data directory; create it where it does not exist. Raises ConfigError."""
    directory.prepare(disk.root)
    with ExitStack() as opened:
        try:
            lock = directory.lock(disk)
            opened.callback(os.close, lock)
            path = disk.root / "catalog.sqlite"
            if not path.exists() and disk.size("log/000") is not None:
                raise ConfigError(
                    f"{path} is missing though the log exists. Restore the whole directory from one backup."
                )
            disk.make_directory("content")
            catalog = Catalog(path)
            opened.callback(catalog.close)
            flushed = bool(catalog.fact("flushed"))
            log = Log(
                disk, seed=catalog.fact("seed"), flush=flush, flushed=flushed, segment_size=segment_size
            )
            opened.callback(log.close)
            log.open(fresh=catalog.fact("checkpoint") == 0)
            content = ContentFiles(disk, max_open=open_files())
            opened.callback(content.close)
            recovered = recover(catalog, log, content, clock)
            if flushed != flush:
                catalog.set_fact("flushed", flush)
            disk.sync_directory("")
            reader = CatalogReader(path)
        except (OSError, sqlite3.Error, FlushFailed, Busy) as error:
            raise ConfigError(f"The data directory {disk.root} cannot be used: {error}") from error
        opened.pop_all()
    return Parts(disk, lock, catalog, reader, log, content, recovered)


def open_files() -> int:
    """Return how many content files to keep open: a tenth of what this process may open, at most 4096.

    Connections get most of the rest, and files in use may exceed this number.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(4096, soft // 10))

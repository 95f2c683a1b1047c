"""The parts of a data directory, opened in the right order, recovered, and closed. Knows no event
loop.
"""

import os
import resource
import sqlite3
from dataclasses import dataclass

from loom.errors import ConfigError
from loom.model import Clock
from loom.store.files import directory
from loom.store.files.catalog import Catalog, CatalogReader
from loom.store.files.content import ContentFiles
from loom.store.files.disk import Disk
from loom.store.files.log import SEGMENT_SIZE, Log
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
        """Let go of everything; the lock last."""
        self.reader.close()
        self.catalog.close()
        self.log.close()
        self.content.close()
        os.close(self.lock)


def open_parts(disk: Disk, clock: Clock, *, flush: bool, segment_size: int = SEGMENT_SIZE) -> Parts:
    """Open and recover a data directory, making it if need be. Raises ConfigError with what to do."""
    directory.prepare(disk.root)
    lock = directory.lock(disk)
    try:
        path = disk.root / "catalog.sqlite"
        if not path.exists() and disk.size("log/000") is not None:
            raise ConfigError(
                f"{path} is missing though the log is there. Restore the whole directory from one backup."
            )
        disk.make_directory("content")
        catalog = Catalog(path)
        log = Log(disk, seed=catalog.fact("seed"), flush=flush, segment_size=segment_size)
        log.open()
        content = ContentFiles(disk, max_open=open_files())
        recovered = recover(catalog, log, content, clock)
        disk.sync_directory("")
        return Parts(disk, lock, catalog, CatalogReader(path), log, content, recovered)
    except (OSError, sqlite3.Error) as error:
        os.close(lock)
        raise ConfigError(f"The data directory {disk.root} cannot be used: {error}") from error
    except BaseException:
        os.close(lock)
        raise


def open_files() -> int:
    """How many content files to keep open: half of what this process may open, at most 4096."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(4096, soft // 2))

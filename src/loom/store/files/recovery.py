"""Recovery: before anything is served, update content files and catalog from the commit log.

Recovery trusts the log, never the length of a file. The log is read once, from the last checkpoint on, and
its bytes are written to content files on the way. So the time of a start depends on the log, not on the size
of the store.

Every step may be repeated: a crash or an error before the last one leaves a log that is replayed again.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from xxhash import xxh3_64

from loom.errors import ConfigError
from loom.model import Info
from loom.store import rules
from loom.store.files.catalog import Catalog
from loom.store.files.content import ContentFiles, ContentLost
from loom.store.files.log import Log
from loom.store.files.records import Append, Delete, Entries, Extent, Put, Record, decode
from loom.store.holdings import Held

PIECE = 1 << 20
RUNS_BYTES = 4 << 20
logger = logging.getLogger("loom.store")


@dataclass(slots=True)
class Replayed:
    """What the log records of one stream; None for what it does not record."""

    info: Info | None = None
    size: int | None = None
    ledger: int | None = None
    entries: dict[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(slots=True)
class Recovered:
    """What the store starts from."""

    number: int
    size: int
    owners: dict[str, Held]
    texts: int
    """The bytes of all metadata and ledgers."""
    lsn: int
    damaged: list[str] = field(default_factory=list)


def recover(catalog: Catalog, log: Log, content: ContentFiles, clock: Callable[[], float]) -> Recovered:
    """Replay the log, repair and flush; the log is then empty. Raises ConfigError, FlushFailed, OSError."""
    replayed, damaged = replay(log, catalog.fact("checkpoint"), content)
    number = max(catalog.fact("number"), *replayed, 0)
    rows = merge(catalog, replayed)
    deleted = [each for each, found in replayed.items() if found.deleted]
    entries = {each: found.entries for each, found in replayed.items() if not found.deleted}
    damaged.difference_update(deleted)
    damaged.update(each for each, info in rows.items() if not fits(content, each, info.size))
    for each in damaged:
        logger.error("stored bytes of stream %r (key %s) are damaged", rows[each].id, rows[each].key)
    rows = {each: rules.recover(info, clock(), damaged=each in damaged) for each, info in rows.items()}
    catalog.mend_index(rows.items(), clock())
    for each in deleted:
        content.remove(each)
    content.remove_above(
        catalog.fact("settled"), lambda number: number in rows or bool(catalog.rows([number]))
    )
    # Only now may the catalog record that no log is needed: its commit is what ends the recovery.
    content.sync_all()
    content.trim()
    log.reset()
    catalog.store(rows.items(), deleted, number, entries=entries, checkpoint=log.lsn)
    texts = catalog.fact("metadata") + catalog.fact("ledgers")
    ids = sorted(rows[each].id for each in damaged)
    return Recovered(number, catalog.fact("size"), catalog.owners(), texts, log.lsn, ids)


def records(log: Log, after: int) -> Iterator[Record]:
    """Yield every record after the checkpoint. Raises ConfigError."""
    for lsn, payload in log.replay(after):
        try:
            yield from decode(payload)
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise ConfigError(
                f"Commit {lsn} of the log was written by another version of Loom: {error}."
            ) from error


def replay(log: Log, after: int, content: ContentFiles) -> tuple[dict[int, Replayed], set[int]]:
    """Write the log's bytes to the content files.

    Returns where each stream in the log ends up, and the streams whose files lack bytes that it recorded.
    What is written comes from whole commits, so it is right even where a later commit turns out to be damaged
    and the start is refused.
    """
    streams: dict[int, Replayed] = {}
    runs = Runs(content)
    for record in records(log, after):
        stream = streams.setdefault(record.number, Replayed())
        match record:
            case Put(_, info):
                stream.info = info  # its size is that of the bytes recorded before it
            case Append(number, offset, data):
                assert isinstance(data, memoryview)
                stream.size = offset + len(data)
                runs.add(number, offset, data)
            case Extent(number, offset, length, digest):
                stream.size = offset + length
                if digest_in(content, number, offset, length) != digest:
                    runs.damaged.add(number)
            case Entries(_, size, entries):
                stream.ledger = size
                stream.entries |= entries
            case Delete(number):
                stream.deleted = True
                runs.drop(number)
    runs.write()
    return streams, runs.damaged


class Runs:
    """Bytes from the log on their way to the content files. They are joined, so that many records of a stream
    need one write."""

    def __init__(self, content: ContentFiles) -> None:
        self._content = content
        self._runs: dict[int, tuple[int, bytearray]] = {}
        self._held = 0
        self.damaged: set[int] = set()
        """Streams whose files lack bytes that the log recorded."""

    def add(self, number: int, offset: int, data: memoryview) -> None:
        """Take bytes; they are copied."""
        start, run = self._runs.setdefault(number, (offset, bytearray()))
        if start + len(run) != offset:
            self._write(number, start, run)
            run = bytearray()
            self._runs[number] = offset, run
        run += data
        self._held += len(data)
        if self._held > RUNS_BYTES:
            self.write()

    def drop(self, number: int) -> None:
        """Forget the bytes of a stream that was deleted."""
        _, run = self._runs.pop(number, (0, b""))
        self._held -= len(run)

    def write(self) -> None:
        """Write what is held."""
        for number, (start, run) in self._runs.items():
            self._write(number, start, run)
        self._runs.clear()
        self._held = 0

    def _write(self, number: int, start: int, run: bytearray) -> None:
        try:
            self._content.write(number, start, [bytes(run)])
        except ContentLost:
            self.damaged.add(number)
        self._content.trim()


def digest_in(content: ContentFiles, number: int, offset: int, length: int) -> int | None:
    """Return the XXH3 of bytes in a content file, None if the file does not have them all."""
    hasher = xxh3_64()
    stop = offset + length
    while offset < stop:
        piece = content.read(number, offset, min(PIECE, stop - offset))
        if not piece:
            return None
        hasher.update(piece)
        offset += len(piece)
    return hasher.intdigest()


def merge(catalog: Catalog, streams: dict[int, Replayed]) -> dict[int, Info]:
    """Return the rows to recover: of every stream in the log, and of every one whose producer is lost.

    Raises ConfigError where the log has bytes of a stream that has a row in neither log nor catalog. Without
    flushes a crash can cause that; the stream is then deleted.
    """
    flushed = catalog.fact("flushed")
    rows = dict(catalog.produced())
    rows.update(catalog.rows(streams.keys() - rows.keys()))
    for number, found in streams.items():
        info = found.info or rows.get(number)
        if info is None and not found.deleted:
            if flushed:
                raise ConfigError(
                    f"The log has bytes of stream {number}, which is not in the catalog. "
                    "Restore the whole directory from one backup."
                )
            found.deleted = True
        if info is None or found.deleted:
            rows.pop(number, None)
            continue
        rows[number] = replace(
            info,
            size=info.size if found.size is None else found.size,
            ledger=info.ledger if found.ledger is None else found.ledger,
        )
    return rows


def fits(content: ContentFiles, number: int, size: int) -> bool:
    """Truncate the file to the durable size; return False if it is shorter."""
    length = content.size(number) or 0
    if length > size:
        content.cut(number, size)
    return length >= size

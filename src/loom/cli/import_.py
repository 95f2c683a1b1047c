"""The command `loom import`: copies the streams of ProboCI's loom into a data directory that no server uses.

That program keeps a file `stream-<id>.log` per stream, gzip or plain, and a table of metadata. Only the time
of the file says when a stream was created or ended. The table is RethinkDB's (`id`, `meta`) or
PostgreSQL's, where all columns but `id` are the metadata.

The import writes to the store directly, because a server cannot create a stream in the past. Every stream is
imported whole: a part that an interrupted run left is replaced by the next run.
"""

import asyncio
import errno
import json
import os
import re
import stat
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from loom.cli import exit_codes, options
from loom.cli.command import Stop, declare
from loom.cli.running import write
from loom.cli.terminal import printable
from loom.errors import ConfigError, InvalidId, InvalidMetadata, LoomError, StreamExists, StreamNotFound
from loom.ids import check_id
from loom.model import NewStream, Patch, State, repeats
from loom.wire.metadata import check_metadata, check_size, dump, load

if TYPE_CHECKING:
    from loom.store.base import Store, Writer

DONE, PARTLY, CANNOT = exit_codes.OK, exit_codes.REFUSED, exit_codes.USAGE
MAX_METADATA = 32768
"""Bytes that fit into a response header; the highest value of the setting max_metadata_bytes."""

NAMED = "The metadata"
LINKED = "it is a hard link to a file that has another name too; copy the file to import it"
NOT_REGULAR = "it is a link or a special file; only regular files are imported"

NAME = re.compile(r"stream-(.+)\.log", re.DOTALL)
GZIP = b"\x1f\x8b"
PIECE = 256 << 10
RATIO_FREE = 16 << 20
"""Bytes to which any file may decompress: short files of repeated lines have a high ratio."""
STEP = 4 << 10
"""Compressed bytes to decompress at once: the rest of them is copied at the end of each member."""
WINDOW = zlib.MAX_WBITS | 16  # with the header and the checksum of gzip (RFC 1952)


@declare("import", "loom import /var/loom/data --metadata streams.json --data /var/lib/loom")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--metadata",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the metadata table from FILE, exported as JSON.",
)
@click.option(
    "--data",
    metavar="DIR",
    default="./data",
    type=click.Path(path_type=Path),
    help="Import into this data directory.",
)
@click.option(
    "--max-bytes",
    metavar="SIZE",
    type=options.size,
    default="16GiB",
    help="Import no more of one file, decompressed, such as 64MiB.",
)
@click.option(
    "--max-ratio",
    metavar="N",
    type=options.whole(1),
    default="500",
    help="Stop at a file that decompresses to more than N times its size.",
)
@click.option("--plain", is_flag=True, help="Treat no file as compressed, even if it looks so.")
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
@options.json
def command(
    directory: Path,
    metadata: Path | None,
    data: Path,
    max_bytes: int,
    max_ratio: int,
    plain: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import the streams of ProboCI's loom into a data directory.

    DIR holds the files stream-<id>.log. No server may use the data directory. A file that is truncated,
    damaged or too large is imported up to that byte, and its stream is aborted. Links, symbolic and hard, and
    special files are refused. Streams get the time of their file. The import may be repeated: streams that
    exist already are kept.
    """
    try:
        found, missing = sources(directory, metadata)
        done = asyncio.run(_run(found, data, Limits(max_bytes, max_ratio), plain=plain, dry=dry_run))
    except LoomError as error:
        raise Stop(CANNOT if isinstance(error, ConfigError) else PARTLY, str(error)) from None
    for id in missing:
        done.note("without a file", id, "the table has this stream, but its file is missing")
    if as_json:
        lines = [
            json.dumps(
                {"dry_run": dry_run, "bytes": done.size, "streams": done.outcomes, "notes": done.notes}
            )
        ]
    else:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(done.outcomes.items()))
        lines = [
            *(f"{each['outcome']}: {printable(each['id'])}: {printable(each['why'])}" for each in done.notes),
            f"{counts or 'no streams'}; {done.size} bytes{' (nothing written)' if dry_run else ''}",
        ]
    write("".join(f"{line}\n" for line in lines).encode())
    return PARTLY if done.outcomes["failed"] else DONE


class Clock:
    """A clock that shows the time of the stream that is imported, so that the stream is created then."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self) -> float:
        return time.time() if self.at is None else self.at


class Damage(Exception):
    """The rest of a file cannot be read, or is too long. The bytes before it are good."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes of one file, decompressed, and their ratio to the size of the file."""

    size: int = 16 << 30
    ratio: int = 500

    def bounded(self, pieces: Iterator[bytes], packed: int) -> Iterator[bytes]:
        """Yield the pieces of a file of `packed` bytes up to the limits. Raises Damage after that."""
        most = min(self.size, max(RATIO_FREE, self.ratio * packed))
        left = most
        for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left < 0:
                option = "--max-bytes" if most == self.size else "--max-ratio"
                raise Damage(f"the file has more than {most} bytes; {option} allows no more")


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Source:
    """A stream to import. `time` is when its file was last written, in seconds since the Unix epoch."""

    id: str
    path: Path
    metadata: str
    time: float


class Import:
    """One run and what it did. Without a store it is a dry run."""

    def __init__(self, store: "Store | None", clock: Clock, limits: Limits, *, plain: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.notes: list[dict[str, str]] = []
        self.size = 0
        self._store = store
        self._clock = clock
        self._limits = limits
        self._plain = plain

    async def take(self, source: Source) -> None:
        """Import a stream unless it exists. Raises StorageFull and the errors that stop a store."""
        new = NewStream(
            id=source.id, metadata=source.metadata, idempotency_key=f"import of {source.path.name}"
        )
        try:
            check_id(source.id)
            new = replace(
                new, metadata=check_metadata(check_size(source.metadata, MAX_METADATA, NAMED), NAMED)
            )
            self._clock.at = source.time
            writer = None if self._store is None else await self._create(self._store, new)
            damage = await self._copy(source, writer)
            if writer is not None:
                state = State.ABORTED if damage else State.COMPLETE
                await writer.close(Patch(state=state, reason=damage and f"imported: {damage}"))
        except StreamExists:
            await self._keep(new)
        except (InvalidId, InvalidMetadata, OSError) as error:
            self.note("failed", source.id, getattr(error, "strerror", None) or str(error))
        else:
            if damage:
                self.note("aborted", source.id, damage)
            else:
                self.outcomes["complete"] += 1
        finally:
            self._clock.at = None

    def note(self, outcome: str, id: str, why: str) -> None:
        """Count a stream that did not become complete, and keep the reason."""
        self.outcomes[outcome] += 1
        self.notes.append({"outcome": outcome, "id": id, "why": why})

    async def _copy(self, source: Source, writer: "Writer | None") -> str:
        """Read the file of a stream, and append it if there is a writer. Return its damage, if any."""
        try:
            for piece in content(source.path, plain=self._plain, limits=self._limits):
                if writer is not None:
                    writer.append(piece)
                    await writer.wait_for_room()
                self.size += len(piece)
        except Damage as damage:
            return str(damage)
        return ""

    async def _create(self, store: "Store", new: NewStream) -> "Writer":
        """Create a stream, in place of what an interrupted run stored of it. Raises StreamExists."""
        with suppress(StreamNotFound):
            info = await store.info(new.id)
            if repeats(new, info) and not info.state.final:
                await store.delete(info.key)
        return await store.create(new)

    async def _keep(self, new: NewStream) -> None:
        assert self._store
        if repeats(new, await self._store.info(new.id)):
            self.outcomes["already there"] += 1
        else:
            self.note("failed", new.id, "another stream has this id; that stream is kept")


async def _run(found: list[Source], data: Path, limits: Limits, *, plain: bool, dry: bool) -> Import:
    """Import these streams. Raises LoomError."""
    clock = Clock()
    store: Store | None = None
    if not dry:
        from loom.store.files import FilesStore

        store = await FilesStore.start(data, clock=clock)
    run = Import(store, clock, limits, plain=plain)
    try:
        for source in found:
            await run.take(source)
    finally:
        if store is not None:
            await store.close()
    return run


def sources(directory: Path, metadata: Path | None) -> tuple[list[Source], list[str]]:
    """Return the streams, oldest first, and the ids whose file is missing. Raises ConfigError."""
    try:
        rows = {} if metadata is None else dict(_rows(metadata.read_text("utf-8")))
        files = {found[1]: path for path in directory.iterdir() if (found := NAME.fullmatch(path.name))}
        known = [Source(id, path, rows.get(id, "{}"), path.lstat().st_mtime) for id, path in files.items()]
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(
            f"{metadata} is not a JSON array, or JSON lines, of objects that have an id."
        ) from None
    return sorted(known, key=lambda each: (each.time, each.id)), sorted(rows.keys() - files.keys())


def content(path: Path, *, plain: bool, limits: Limits = NO_LIMITS) -> Iterator[bytes]:
    """Yield the bytes of a stream in pieces. `plain`: do not decompress. Raises Damage, OSError."""
    with open(path, "rb", opener=_regular) as file:
        packed = not plain and file.read(len(GZIP)) == GZIP
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        yield from (
            limits.bounded(_unpacked(file), size) if packed else limits.bounded(_pieces(file), sys.maxsize)
        )


def _regular(path: str, flags: int) -> int:
    """Open a regular file, never a link: its target could be a file that only this user may read.

    The check is of the open file, since the directory may change meanwhile.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OSError(NOT_REGULAR) from None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(fd)
        raise OSError(LINKED if stat.S_ISREG(status.st_mode) else NOT_REGULAR)
    return fd


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE), b"")


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of all members of a gzip file, in pieces of bounded size."""
    unpacker = zlib.decompressobj(WINDOW)
    for piece in _pieces(file):
        left = memoryview(piece)
        while left:
            if unpacker.eof:
                unpacker = zlib.decompressobj(WINDOW)
            given = left[:STEP]
            try:
                data = unpacker.decompress(given, PIECE)
            except zlib.error:
                raise Damage("the gzip file is damaged") from None
            if data:
                yield data
            unread = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            left = left[len(given) - len(unread) :]
    if not unpacker.eof:
        # The bound on each piece may have left bytes in the decompressor.
        while data := unpacker.decompress(b"", PIECE):
            yield data
        raise Damage("the gzip file is cut off")


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """Yield ids and metadata, the latter as JSON text in ASCII."""
    rows: Any = (
        load(text)
        if text.lstrip().startswith("[")
        else [load(line) for line in text.splitlines() if line.strip()]
    )
    for row in rows:
        kept = row["meta"] if "meta" in row else {key: row[key] for key in row if key != "id"}
        yield str(row["id"]), dump({} if kept is None else kept)

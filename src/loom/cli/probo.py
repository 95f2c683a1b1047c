"""What ProboCI's loom has left behind: its log files and the export of its metadata table. Reads only.

Its data directory has a file `stream-<id>.log` for each stream, gzip or plain, and nothing that says when a
stream was created or ended but the file's time. Its table was RethinkDB's (`id`, `meta`) or PostgreSQL's,
where all columns but `id` are the metadata.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loom.errors import ConfigError

NAME = re.compile(r"stream-(.+)\.log", re.DOTALL)
GZIP = b"\x1f\x8b"
PIECE = 256 << 10
WINDOW = zlib.MAX_WBITS | 16  # with the header and the checksum of gzip (RFC 1952)


class Damage(Exception):
    """The file goes on in a way that cannot be read; what came before it is good."""


@dataclass(frozen=True, slots=True)
class Source:
    """One stream to take. `time` is when its file was last written, in seconds since the Unix epoch."""

    id: str
    path: Path
    metadata: str
    time: float


def sources(directory: Path, metadata: Path | None) -> tuple[list[Source], list[str]]:
    """The streams, the oldest first, and the ids of those whose bytes are missing. Raises ConfigError."""
    try:
        rows = {} if metadata is None else dict(_rows(metadata.read_text("utf-8")))
        files = {found[1]: path for path in directory.iterdir() if (found := NAME.fullmatch(path.name))}
        known = [Source(id, path, rows.get(id, "{}"), path.stat().st_mtime) for id, path in files.items()]
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(
            f"{metadata} is not what was expected: a JSON array, or JSON lines, of objects with an id."
        ) from None
    return sorted(known, key=lambda each: (each.time, each.id)), sorted(rows.keys() - files.keys())


def content(path: Path, *, plain: bool) -> Iterator[bytes]:
    """The bytes of a stream in pieces; `plain` says that none is compressed. Raises Damage, OSError."""
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(PIECE), b"")
        first = next(pieces, b"")
        if plain or not first.startswith(GZIP):
            yield from _chain(first, pieces)
        else:
            yield from _unpacked(_chain(first, pieces))


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Gzip, one member behind another too; however much a piece unpacks to, a bounded part at a time."""
    unpacker = zlib.decompressobj(WINDOW)
    for piece in pieces:
        while piece:
            if unpacker.eof:
                unpacker = zlib.decompressobj(WINDOW)
            try:
                data = unpacker.decompress(piece, PIECE)
            except zlib.error:
                raise Damage("the gzip file is damaged") from None
            if data:
                yield data
            piece = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        # What was held back for want of room is still in there.
        while data := unpacker.decompress(b"", PIECE):
            yield data
        raise Damage("the gzip file is cut off")


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """Ids and metadata, the latter as JSON text in ASCII."""
    stripped = text.lstrip()
    rows: list[Any] = (
        json.loads(text)
        if stripped.startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    for row in rows:
        kept = row["meta"] if "meta" in row else {key: row[key] for key in row if key != "id"}
        yield str(row["id"]), json.dumps({} if kept is None else kept)

"""Check a data directory that no server uses for damage.

First the directory is opened as a start does it: it is locked, and the log is replayed. Then every content
file is compared with its row: the length, and the digest of complete streams. Nothing else is repaired.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loom.errors import ConfigError
from loom.model import Clock, Info
from loom.store.files.content import content_name
from loom.store.files.disk import Disk
from loom.store.files.parts import open_parts

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Checked:
    """One stream. `file` has its bytes, `fault` says what is wrong, if anything is.

    `whole` says that every byte was compared with a digest.
    """

    info: Info
    file: str
    fault: str
    whole: bool


def verify(root: Path, clock: Clock) -> Iterator[Checked]:
    """Check every stream of the directory, oldest first. Raises ConfigError."""
    if not (root / "catalog.sqlite").exists():
        raise ConfigError(f"{root} is not a data directory of Loom.")
    parts = open_parts(Disk(root), clock, flush=True)
    try:
        for number, info in parts.catalog.every():
            name = content_name(number)
            fault = fault_of(root / name, info)
            yield Checked(info, name, fault, not fault and info.digest is not None)
    finally:
        parts.close()


def fault_of(path: Path, info: Info) -> str:
    """Return what is wrong with a content file, as the end of a sentence, or an empty string."""
    try:
        size = path.stat().st_size if info.size or path.exists() else 0
        if size < info.size:
            return f"the file has {size} of {info.size} bytes"
        if info.digest is not None and sha256(path, info.size) != info.digest:
            return "the bytes are not those of the digest"
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    return ""


def sha256(path: Path, size: int) -> str:
    """Return the digest of the first `size` bytes, in the form of a row. Raises OSError."""
    sha = hashlib.sha256()
    if size:
        with path.open("rb", buffering=0) as file:
            while size and (piece := file.read(min(PIECE, size))):
                sha.update(piece)
                size -= len(piece)
    return b64encode(sha.digest()).decode("ascii")

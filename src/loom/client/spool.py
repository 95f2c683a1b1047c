"""What a push could not send, kept in files until it is sent later. Owns the form of these files.

A file is one line of JSON, which says what stream the bytes belong to and from which offset on, and then the
bytes. It comes into being whole (written beside, flushed, renamed), and goes once all of it is sent.
"""

import fcntl
import json
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Self

from loom.client.files import in_thread, read_chunks
from loom.errors import LoomError

SUFFIX = ".push"
MAX_HEADER_BYTES = 64 * 1024


class SpoolError(LoomError):
    """A spool file cannot be written, or is none."""

    code = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of a push: bytes [offset, size) of the stream `id`. Without `key` it was never created.

    `whole`: the stream ends there; `digest` is then that of all its bytes, and `members` are what is to be
    merged into its metadata.
    """

    server: str
    id: str
    key: str | None
    epoch: int
    offset: int
    size: int
    whole: bool
    digest: str | None
    members: dict[str, Any] | None
    metadata: str
    content_type: str
    force: bool
    resume_window: int
    idempotency_key: str
    ttl: int | None = None

    @property
    def name(self) -> str:
        """Of its file: the same for the same push."""
        return sha256(f"{self.id}\0{self.idempotency_key}".encode()).hexdigest()[:32] + SUFFIX


def default_directory() -> Path:
    """Where spool files are unless told otherwise (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "loom" / "spool"


async def save(directory: Path, left: Left, chunks: AsyncIterable[bytes]) -> Path:
    """Write a spool file; returns once it is durable. Raises SpoolError."""
    path = directory / left.name
    part = path.with_suffix(".part")
    try:
        file = await in_thread(lambda: _begin(directory, part, left))
        try:
            async for chunk in chunks:
                await in_thread(lambda data=chunk: file.write(data))  # type: ignore[misc]
            await in_thread(lambda: _finish(file, part, path))
        finally:
            await in_thread(file.close)
    except OSError as error:
        with suppress(OSError):
            await in_thread(lambda: part.unlink(missing_ok=True))
        raise SpoolError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def find(directory: Path) -> list[Path]:
    """The spool files in a directory, oldest first."""
    return sorted(directory.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)


class Spooled:
    """An open spool file that nobody else has."""

    def __init__(self, file: IO[bytes], left: Left) -> None:
        self.left = left
        self._file = file
        self._base = file.tell() - left.offset

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on."""
        self._file.seek(self._base + offset)
        return read_chunks(self._file.fileno())


def open_left(path: Path) -> Spooled:
    """Open a spool file. Raises SpoolError, also if another process sends it just now."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise SpoolError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return Spooled(file, _read_head(file, path))
    except BaseException:
        file.close()
        raise


def _read_head(file: IO[bytes], path: Path) -> Left:
    """Leaves the file at the first of its bytes."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        line, end, _ = os.pread(file.fileno(), MAX_HEADER_BYTES, 0).partition(b"\n")
        left = Left(**json.loads(line))
        length = file.seek(0, os.SEEK_END) - len(line) - len(end)
        file.seek(len(line) + len(end))
    except BlockingIOError:
        raise SpoolError(f"{path} is being sent by another process.") from None
    except (ValueError, TypeError) as error:
        raise SpoolError(f"{path} is no spool file.") from error
    if length != left.size - left.offset:
        raise SpoolError(f"{path} was cut.")
    return left


def _begin(directory: Path, part: Path, left: Left) -> IO[bytes]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    file.write(json.dumps(asdict(left)).encode() + b"\n")
    return file


def _finish(file: IO[bytes], part: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.rename(part, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

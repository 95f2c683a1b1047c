"""Spool files: the bytes that a push could not send, kept until they are sent later. Owns their format.

A file is one line of JSON, which says to which stream and offset the bytes belong, followed by the bytes. It
appears atomically (written under another name, flushed, renamed) and is removed once everything is sent.

Files that another user owns or can write are refused: they would send what that user chose, with our token.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Self, get_args, get_origin, get_type_hints

from loom.client.files import in_thread, read_chunks
from loom.errors import LoomError

SUFFIX = ".push"
MAX_HEADER_BYTES = 64 * 1024


class SpoolError(LoomError):
    """A spool file cannot be written, or is not valid."""

    code = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """The unsent part of a push: bytes [offset, size) of the stream `id`.

    Without `key` the stream was never created. If `whole`, the stream ends at `size`, `digest` is the
    `Stream-Digest` of all its bytes, and `members` are merged into its metadata at the end.
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
    new_id: bool = False

    @classmethod
    def of(cls, members: Any) -> Self:
        """Return the remainder that a JSON value stands for. Raises TypeError and ValueError."""
        remainder = cls(**members)
        for name, hint in get_type_hints(cls).items():
            kinds = tuple(get_origin(each) or each for each in get_args(hint) or (hint,))
            if not isinstance(getattr(remainder, name), kinds):
                raise TypeError(name)
        sent = [remainder.key, remainder.digest, remainder.idempotency_key, remainder.content_type]
        if not all(each.isascii() and each.isprintable() for each in [*sent, remainder.metadata] if each):
            raise ValueError("header")
        if not 0 <= remainder.offset <= remainder.size:
            raise ValueError("offset")
        return remainder

    @property
    def name(self) -> str:
        """The name of the file: the same for the same push."""
        return sha256(f"{self.id}\0{self.idempotency_key}".encode()).hexdigest()[:32] + SUFFIX


def default_directory() -> Path:
    """Return the default directory of spool files (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "loom" / "spool"


async def save(directory: Path, remainder: Remainder, chunks: AsyncIterable[bytes]) -> Path:
    """Write a spool file and return its path once it is durable. Raises SpoolError."""
    path = directory / remainder.name
    part = path.with_suffix(".part")
    try:
        file = await in_thread(lambda: _begin(directory, part, remainder))
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
    """Return the spool files in a directory, oldest first; none if it does not exist. Raises SpoolError."""
    try:
        with os.scandir(directory) as entries:
            found = [each for each in entries if each.name.endswith(SUFFIX)]
        return [
            Path(each) for each in sorted(found, key=lambda each: each.stat(follow_symlinks=False).st_mtime)
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SpoolError(f"The directory {directory} cannot be read: {error.strerror}.") from error


class SpoolFile:
    """An open spool file, locked against other processes."""

    def __init__(self, file: IO[bytes], remainder: Remainder) -> None:
        self.remainder = remainder
        self._file = file
        self._base = file.tell() - remainder.offset

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, offset: int) -> AsyncIterator[bytes]:
        """Iterate over the bytes of the stream from `offset`."""
        self._file.seek(self._base + offset)
        return read_chunks(self._file.fileno())


def open_file(path: Path) -> SpoolFile:
    """Open a spool file and lock it. Raises SpoolError, also if another process is sending it."""
    try:
        file = open(path, "rb", buffering=0, opener=_open)  # noqa: SIM115
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise SpoolError(f"{path} cannot be read: {reason}.") from error
    try:
        return SpoolFile(file, _read_header(file, path))
    except BaseException:
        file.close()
        raise


def _open(path: str, flags: int) -> int:
    """Open a file that only this user can have written. Raises SpoolError."""
    # Without O_NONBLOCK, a FIFO would wait for a writer.
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    status, fault = os.fstat(fd), ""
    if not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif status.st_uid != os.geteuid():
        fault = "belongs to another user and is not sent"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "can be written by other users and is not sent; check it, then run chmod go-w"
    if fault:
        os.close(fd)
        raise SpoolError(f"{path} {fault}.")
    return fd


def _read_header(file: IO[bytes], path: Path) -> Remainder:
    """Read the line of JSON. The file's position is then at the first of the bytes."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        line, end, _ = os.pread(file.fileno(), MAX_HEADER_BYTES, 0).partition(b"\n")
        remainder = Remainder.of(json.loads(line))
        length = file.seek(0, os.SEEK_END) - len(line) - len(end)
        file.seek(len(line) + len(end))
    except BlockingIOError:
        raise SpoolError(f"{path} is being sent by another process.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise SpoolError(f"{path} is not a spool file.") from error
    if length != remainder.size - remainder.offset:
        raise SpoolError(f"{path} was truncated.")
    return remainder


def _begin(directory: Path, part: Path, remainder: Remainder) -> IO[bytes]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    file.write(json.dumps(asdict(remainder)).encode() + b"\n")
    return file


def _finish(file: IO[bytes], part: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.rename(part, path)
    # The new name is durable only once its directory is flushed.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

"""The data directory as a whole: that it is there, ours alone, and on a disk whose flushes can be
trusted.
"""

import errno
import fcntl
import os
import re
from pathlib import Path

from loom.errors import ConfigError
from loom.store.files.disk import Disk

NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gfs", "ocfs", "lustre", "glusterfs", "fuse.")


def prepare(root: Path) -> None:
    """Make the directory and see that it can be used. Raises ConfigError, FlushFailed."""
    try:
        make(root)
    except OSError as error:
        raise ConfigError(f"The data directory {root} cannot be made: {error.strerror}.") from error
    kind = file_system(root)
    if kind.startswith(NETWORK):
        raise ConfigError(
            f"The data directory {root} is on a network file system ({kind}), which does not keep "
            "the promises Loom makes. Use a local disk."
        )


def make(root: Path) -> None:
    """The directory and those above it, each durable in the one that holds it. Raises OSError."""
    missing = [each for each in (root, *root.parents) if not each.exists()]
    root.mkdir(mode=0o750, parents=True, exist_ok=True)
    for each in missing:
        Disk(each.parent).sync_directory("")


def lock(disk: Disk) -> int:
    """Take the directory for this process; returns the descriptor that holds it. Raises ConfigError."""
    try:
        fd = disk.open("lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ConfigError(f"The data directory {disk.root} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise ConfigError(
                f"The data directory {disk.root} cannot be locked: {error.strerror}."
            ) from error
        raise ConfigError(
            f"The data directory {disk.root} is in use by another Loom. Stop it or use another directory."
        ) from None
    return fd


def file_system(path: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that holds `path` (Linux's name for it), or an empty string."""
    try:
        with open(mounts, "rb") as file:
            lines = file.readlines()
    except OSError:
        return ""
    target = os.fsencode(os.path.realpath(path))
    best, kind = b"", b""
    for line in lines:
        before, _, after = line.partition(b" - ")
        place = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), before.split(b" ")[4])
        inside = target == place or target.startswith(place.rstrip(b"/") + b"/")
        if inside and len(place) >= len(best):
            best, kind = place, after.split(b" ")[0]
    return kind.decode()

"""The data directory as a whole: it exists, it is locked for this process, and it is on a local disk."""

import errno
import fcntl
import os
import re
from pathlib import Path

from loom.errors import ConfigError
from loom.store.files.disk import Disk

NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gfs", "ocfs", "lustre", "glusterfs", "fuse.")


def prepare(root: Path) -> None:
    """Create the directory and check that it can be used. Raises ConfigError, FlushFailed."""
    try:
        create(root)
    except OSError as error:
        raise ConfigError(f"The data directory {root} cannot be created: {error.strerror}.") from error
    kind = file_system(root)
    if kind.startswith(NETWORK):
        raise ConfigError(
            f"The data directory {root} is on a network file system ({kind}), which does not keep "
            "the promises Loom makes. Use a local disk."
        )


def create(root: Path) -> None:
    """Create the directory and missing parents, each durable in its parent. Raises OSError."""
    missing = [each for each in (root, *root.parents) if not each.exists()]
    root.mkdir(mode=0o750, parents=True, exist_ok=True)
    for each in missing:
        Disk(each.parent).sync_directory("")


def lock(disk: Disk) -> int:
    """Lock the directory for this process; return the descriptor that holds the lock. Raises ConfigError."""
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
    """Return the type of the file system of `path` as Linux names it, or an empty string."""
    try:
        with open(mounts, "rb") as file:
            lines = file.readlines()
    except OSError:
        return ""
    target = os.fsencode(os.path.realpath(path))
    best, kind = b"", b""
    for line in lines:
        before, _, after = line.partition(b" - ")
        mount = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), before.split(b" ")[4])
        inside = target == mount or target.startswith(mount.rstrip(b"/") + b"/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split(b" ")[0]
    return kind.decode()

"""Why the server cannot listen at an address, and who holds the port as far as /proc shows it."""

import errno
import os
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """Return one sentence: where, why, and the flag that helps."""
    if (error.errno or 0) < 0:  # of getaddrinfo
        why = "the name is not known; choose an address with --host"
    elif error.errno == errno.EADDRINUSE:
        why = f"{holder(port) or 'another program'} listens there; stop it or choose another port with --port"
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "this machine does not have that address; choose one with --host"
    elif error.errno == errno.EACCES:
        why = "this user may not use that port; choose one above 1023 with --port"
    else:
        why = os.strerror(error.errno or 0)
    return f"Loom cannot listen on {host} port {port}: {why}."


def holder(port: int) -> str:
    """Return the name and the number of the process that listens on a port; empty if it cannot be known."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(fd) in sockets for fd in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (process {folder.name})"
    return ""


def _inodes(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found

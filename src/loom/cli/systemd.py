"""Socket activation and readiness of systemd: sd_listen_fds(3), sd_notify(3). No-op without systemd."""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from loom.errors import ConfigError

FIRST = 3
"""The first descriptor that systemd passes."""


def inherited(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd passed to this process, or None.

    Removes its variables from `environ`, so that no child process claims the socket. Raises ConfigError for
    anything but one listening TCP socket.
    """
    for_us = environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    if not for_us or count == "0":
        return None
    try:
        given = socket.socket(fileno=FIRST)
        listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError as error:
        raise ConfigError(f"The descriptor that systemd passed cannot be used: {error.strerror}.") from None
    tcp = given.family in (socket.AF_INET, socket.AF_INET6) and given.type == socket.SOCK_STREAM
    if count != "1" or not (tcp and listens):
        raise ConfigError("systemd must pass exactly one listening TCP socket.")
    given.set_inheritable(False)
    return given


def notify(state: str) -> None:
    """Send the state to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)

"""Real file systems that crash: an image file on a loop device, shut down as if the power had gone.

The shutdown drops what the file system has not written, its journal included, and every call fails from then
on. Mounts are in a separate mount namespace, which the kernel removes with the processes in it: a killed run
of the tests leaves neither a mount nor a loop device.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.support.server import die_with_parent

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same request (linux/fs/ext4/ext4.h, xfs_fs.h)."""
NO_LOG_FLUSH = 2
SIZE = 8 << 30
"""Bytes, far more than are written: a full disk is another test. What is not written takes no space."""
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
NEEDED = ("unshare", "nsenter", "mount", "umount", "mkfs.ext4", "mkfs.xfs")


def why_not() -> str:
    """Return why this machine cannot mount images; empty if it can."""
    missing = [each for each in NEEDED if shutil.which(each) is None]
    if missing:
        return f"{', '.join(missing)} not installed: scripts/tools names the packages"
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    return "" if os.path.exists("/dev/loop-control") else "this kernel has no loop devices"


class Volume:
    """One file system. `path` is its path for programs run with `enter`, `outside` its path for this one."""

    def __init__(self, kind: str, place: Path) -> None:
        self._image = place / f"{kind}.image"
        self.path = place / kind
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE)
        subprocess.run([*MAKE[kind], self._image], check=True)
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        assert self._holder.stdout
        self._holder.stdout.readline()  # from now on the namespace is another one
        self.enter = ("nsenter", f"--target={self._holder.pid}", "--mount", "--wdns=/")
        self.outside = Path(f"/proc/{self._holder.pid}/root{self.path}")

    def run(self, *command: str | Path) -> "subprocess.CompletedProcess[bytes]":
        """Run a program in the namespace of the file system; raises CalledProcessError if it fails."""
        return subprocess.run([*self.enter, *command], check=True, capture_output=True)

    def mount(self) -> None:
        """Mount the file system, which replays its journal."""
        self.run("mount", "-o", "loop", self._image, self.path)

    def crash(self) -> None:
        """Lose what was not flushed; every call fails with EIO until it is mounted again."""
        fd = os.open(self.outside, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Unmount the file system. No process may have one of its files open."""
        self.run("umount", self.path)

    def close(self) -> None:
        """Unmount and remove the file system."""
        self._holder.kill()
        self._holder.communicate()
        self._image.unlink()

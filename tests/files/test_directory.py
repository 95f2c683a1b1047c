"""The data directory: each reason why it cannot be used is reported in one sentence."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.files.disks import FaultyDisk, QuickDisk, failing, start, written

from loom.errors import ConfigError, StoreStopped
from loom.model import NewStream
from loom.store.files import directory
from loom.store.files.disk import Disk
from loom.store.files.testing import Inside
from loom.testing.tools import COMPLETE, stored

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /home rw - nfs4 server:/home rw
31 22 0:27 / /mnt/with\040space rw - xfs /dev/sdb rw
32 31 0:28 / /mnt/with\040space/deep rw master:3 propagate_from:2 - cifs //host/share rw
33 22 0:29 / /mnt/déjà rw - fuse.sshfs host: rw
34 22 0:30 / /over rw - 9p share rw
35 34 0:31 / /over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"),
        ("/", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/data", "nfs4"),
        ("/homestead", "ext4"),
        ("/mnt/with space/data", "xfs"),
        ("/mnt/with space/deep/data", "cifs"),
        ("/mnt/déjà/data", "fuse.sshfs"),
        ("/over/data", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_mount(tmp_path, path, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(MOUNTS.encode() + b"36 22 0:32 / /not\xffutf8 rw - ext4 /dev/sdc rw\n")
    assert directory.file_system(Path(path), str(mounts)) == kind
    assert kind.startswith(directory.NETWORK) == (kind in ("nfs4", "cifs", "fuse.sshfs"))


def test_without_mountinfo_every_file_system_is_accepted(tmp_path):
    assert directory.file_system(tmp_path, str(tmp_path / "absent")) == ""


async def refused(disk: Disk, sentence: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=sentence):
        await start(disk)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_file_in_the_place_of_the_directory_is_refused(folder):
    (folder / "data").write_text("I am a file")
    await refused(QuickDisk(folder / "data"), "cannot be created: File exists")
    await refused(QuickDisk(folder / "data" / "below"), "cannot be created: Not a directory")


async def test_a_directory_in_use_is_refused_and_free_again_after_its_owner(folder):
    program = (
        "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); "
        "fcntl.flock(fd, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    )
    disk = QuickDisk(folder)
    with subprocess.Popen(
        [sys.executable, "-c", program, folder / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        await refused(disk, "is in use by another Loom. Stop it or use another directory")
    store = await start(disk)
    await refused(QuickDisk(folder), "is in use by another Loom")
    await store.close()
    assert (folder / "lock").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
async def test_a_directory_that_cannot_be_written_is_refused(folder, number):
    disk = FaultyDisk(folder)
    disk.fault = failing(number, "open", "lock")
    await refused(disk, f"cannot be written: {os.strerror(number)}")


async def test_a_full_disk_at_the_first_start_is_refused_and_does_not_block_the_next(folder):
    disk = FaultyDisk(folder)
    disk.fault = failing(errno.ENOSPC, "write", "log/002")
    await refused(disk, "cannot be used: .*No space left on device")
    store = await start(disk)
    await written(store, "a", b"x", COMPLETE)
    await store.close()


NOT_MET = [
    *(("log/", "write"), ("log/", "sync"), ("content/", "read")),
    *((".", "open"), (".", "read"), (".", "write")),
]
"""Operations that a start after a crash does not need."""


@pytest.mark.parametrize("operation", ["read", "write", "sync", "open"])
@pytest.mark.parametrize("prefix", ["log/", "content/", "."])
async def test_a_disk_that_fails_while_recovering_is_refused_and_loses_nothing(folder, operation, prefix):
    disk = FaultyDisk(folder)
    store = await start(disk)
    await written(store, "a", b"kept" * 100)
    disk.fault = failing(errno.EIO, "sync", "log/")
    with pytest.raises(StoreStopped):
        await store.create(NewStream(id="b"))
    await store.close()
    disk.fault = failing(errno.EIO, operation, prefix)
    if (prefix, operation) in NOT_MET:
        await (await start(disk)).close()
    else:
        await refused(disk, "cannot be used: .*Input/output error")
    store = await start(QuickDisk(folder))
    assert await stored(store, "a") == b"kept" * 100
    await store.close()


class Populated:
    """A directory with one complete stream in it, closed."""

    def __init__(self, root: Path) -> None:
        self.disk = QuickDisk(root)
        self.root = root

    async def fill(self) -> "Populated":
        store = await start(self.disk)
        await written(store, "a", b"kept", COMPLETE)
        await store.close()
        return self


@pytest.fixture
async def populated(folder: Path) -> Populated:
    return await Populated(folder / "data").fill()


async def test_without_its_catalog_a_directory_is_refused(populated):
    (populated.root / "catalog.sqlite").unlink()
    await refused(populated.disk, "catalog.sqlite is missing though the log exists. Restore the whole")


@pytest.mark.parametrize("index", range(4))
async def test_without_a_log_segment_a_directory_is_refused(populated, index):
    (populated.root / f"log/{index:03d}").unlink()
    await refused(populated.disk, f"log/{index:03d} of the commit log is missing. Restore the whole")


async def test_without_its_log_a_directory_is_refused(populated):
    shutil.rmtree(populated.root / "log")
    await refused(populated.disk, "log/000 of the commit log is missing. Restore the whole")


async def test_parts_of_two_directories_are_refused(populated, folder):
    other = await Populated(folder / "other").fill()
    shutil.copy(other.root / "log/001", populated.root / "log/001")
    await refused(populated.disk, "log/001 does not belong to this data directory or is damaged")
    shutil.copy(other.root / "catalog.sqlite", populated.root / "catalog.sqlite")
    await refused(populated.disk, "log/000 does not belong to this data directory")


@pytest.mark.parametrize("damage", [b"not a database at all" * 500, b""])
async def test_a_file_that_is_not_a_catalog_is_refused(populated, damage):
    (populated.root / "catalog.sqlite").write_bytes(damage)
    await refused(populated.disk, "cannot be used: file is not a database|does not belong to this data")


async def test_an_older_catalog_than_the_log_is_refused(folder):
    """It is what restoring a part of a backup leaves."""
    disk = QuickDisk(folder)
    store = await start(disk)
    await written(store, "a", b"x")
    Inside(store).request_checkpoint()
    await store.close()
    old = (folder / "catalog.sqlite").read_bytes()
    store = await start(disk)
    for index in range(100):
        await written(store, f"{index}", b"x" * 1000, COMPLETE)
    await store.close()
    (folder / "catalog.sqlite").write_bytes(old)
    await refused(disk, "is damaged: commit .* cannot be read though commit")


async def test_a_commit_of_another_version_is_refused_in_a_sentence(folder):
    copy = folder / "copy"
    folder = folder / "data"
    store = await start(QuickDisk(folder))
    await written(store, "a", b"x")
    await asyncio.to_thread(Inside(store).parts.log.append, [b"\x09" + bytes(8)])
    await asyncio.to_thread(shutil.copytree, folder, copy)
    await store.close()
    await refused(
        QuickDisk(copy), r"Commit \d+ of the log was written by another version of Loom: record kind 9"
    )


async def test_a_new_directory_and_its_parents_are_flushed(folder):
    flushed = []

    class Noting(QuickDisk):
        def sync(self, fd: int) -> None:
            flushed.append(os.readlink(f"/proc/self/fd/{fd}"))

    disk = Noting(folder / "one" / "two")
    store = await start(disk)
    await store.close()
    assert {str(folder / "one" / "two"), str(folder / "one" / "two" / "log")} <= set(flushed)


def test_few_descriptors_are_enough_and_are_closed(folder):
    """A process that may open 64 files serves more streams than that."""
    program = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from pathlib import Path
from loom.testing.tools import COMPLETE, stored
from tests.files.disks import QuickDisk, start, written
from loom.store.files.testing import Inside

async def main():
    store = await start(QuickDisk(Path(sys.argv[1])))
    writers = [await written(store, f"{index}", b"%d" % index) for index in range(150)]
    Inside(store).request_checkpoint()
    for index, writer in enumerate(writers):
        writer.append(b" and more" * 1000)
        await writer.close(COMPLETE)
    for index in range(150):
        assert await stored(store, f"{index}") == b"%d" % index + b" and more" * 1000
    await store.close()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

"""Content files: when a file may be closed, and what a flush has covered."""

import errno
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.files.disks import FaultyDisk, QuickDisk, failing

from loom.store.files.content import FLUSHERS, ContentFiles, ContentLost, content_name
from loom.store.files.disk import Disk, FlushFailed


class FlushingDisk(QuickDisk):
    """Records what was flushed of each file, by inode."""

    def __init__(self, root):
        super().__init__(root)
        self._lock = threading.Lock()
        self.flushed: dict[int, bytes] = {}
        self.closed: list[int] = []
        self.directories: list[str] = []

    def sync(self, fd: int) -> None:
        found = os.fstat(fd)
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            self.directories.append(os.readlink(f"/proc/self/fd/{fd}"))
        else:
            content = os.pread(fd, found.st_size, 0)
            with self._lock:  # of two flushes at once the later one may have begun earlier
                self.flushed[found.st_ino] = max(content, self.flushed.get(found.st_ino, b""), key=len)

    def close(self, fd: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{fd}"):
            self.closed.append(os.fstat(fd).st_ino)
        super().close(fd)

    def durable(self, number: int) -> bytes | None:
        return self.flushed.get((self.root / content_name(number)).stat().st_ino)


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "content").mkdir()
    return FlushingDisk(tmp_path)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_stay_open_and_none_is_closed_before_it_is_flushed(disk):
    before = descriptors()
    files = ContentFiles(disk, max_open=3)
    expected = {number: bytearray() for number in range(1, 31)}
    chance = random.Random(2)
    for _ in range(500):
        number = chance.randint(1, 30)
        data = chance.randbytes(20)
        files.write(number, len(expected[number]), [data])
        expected[number] += data
        files.trim()
        assert descriptors() - before <= 3
        for inode in disk.closed:
            path = next(p for p in disk.root.rglob("*") if p.is_file() and p.stat().st_ino == inode)
            assert disk.flushed[inode] == path.read_bytes()[: len(disk.flushed[inode])]
        disk.closed.clear()
    for number, stored in expected.items():
        assert files.read(number, 0, 1 << 20) == stored
    files.sync_all()
    files.trim()
    files.close()
    assert descriptors() == before
    for number, stored in expected.items():
        assert disk.durable(number) == stored


def test_a_pinned_file_stays_open_and_readable_after_its_removal(disk):
    before = descriptors()
    files = ContentFiles(disk, max_open=0)
    files.write(1, 0, [b"still here"])
    files.pin(1, exists=True)
    files.trim()
    fd = files.fd(1)
    assert fd is not None
    files.remove(1)
    files.trim()
    files.sync_all()
    assert os.pread(fd, 100, 0) == b"still here"
    files.unpin(1)
    assert files.fd(1) is None
    assert descriptors() == before


def test_a_file_pinned_before_it_exists_stays_open_once_created(disk):
    before = descriptors()
    files = ContentFiles(disk, max_open=0)
    files.pin(1, exists=False)
    assert files.fd(1) is None
    files.write(1, 0, [b"new"])
    files.trim()
    fd = files.fd(1)
    assert fd is not None
    assert os.pread(fd, 9, 0) == b"new"
    files.unpin(1)
    files.trim()
    assert descriptors() == before


def test_a_file_removed_while_it_is_being_opened_is_closed(disk):
    """The opener and the remover are different threads: one opens, the other unlinks, then both register."""
    files = ContentFiles(disk, max_open=10)
    files.write(1, 0, [b"going"])
    files.close()
    before = descriptors()
    opened = disk.open

    def open_then_removed(name: str, flags: int) -> int:
        fd: int = opened(name, flags)
        disk.open = opened
        files.remove(1)
        return fd

    disk.open = open_then_removed
    files.pin(1, exists=True)
    files.unpin(1)
    assert descriptors() == before


def test_a_missing_file_cannot_be_pinned_and_leaves_no_pin(disk):
    files = ContentFiles(disk, max_open=10)
    with pytest.raises(FileNotFoundError):
        files.pin(1, exists=True)
    assert not files.pinned


class SlowDisk(FlushingDisk):
    """Blocks a write in the middle until it is released."""

    def __init__(self, root):
        super().__init__(root)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, fd: int, parts: Sequence[bytes], offset: int) -> None:
        whole = b"".join(parts)
        super().write(fd, [whole[: len(whole) // 2]], offset)
        self.begun.set()
        assert self.go_on.wait(10)
        super().write(fd, [whole[len(whole) // 2 :]], offset + len(whole) // 2)


def test_a_flush_in_the_middle_of_a_write_does_not_make_it_durable(tmp_path):
    (tmp_path / "content").mkdir()
    disk = SlowDisk(tmp_path)
    files = ContentFiles(disk, max_open=10)
    writer = threading.Thread(target=files.write, args=(1, 0, [b"first half, second half"]))
    writer.start()
    assert disk.begun.wait(10)
    files.sync_all()
    files.sync(1)
    disk.go_on.set()
    writer.join(10)
    files.sync(1)
    assert disk.durable(1) == b"first half, second half"
    files.close()


def test_two_threads_write_and_flush_the_same_files(disk):
    files = ContentFiles(disk, max_open=4)
    size = 200

    def work(numbers: range) -> None:
        for folder in range(size):
            for number in numbers:
                files.write(number, folder, [bytes([folder])])
                if folder % 7 == number % 7:
                    files.sync(number)
            files.sync_all()
            files.trim()

    threads = [threading.Thread(target=work, args=(range(first, first + 6),)) for first in (1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    files.sync_all()
    for number in range(1, 13):
        assert disk.durable(number) == bytes(range(size))
    files.close()


@pytest.mark.parametrize("pinned", [False, True])
def test_closing_a_removed_file_blocks_no_other(disk, pinned):
    """The last close frees the blocks, which takes long."""
    files = ContentFiles(disk, max_open=4)
    files.write(1, 0, [b"x"])
    if pinned:
        files.pin(1, exists=True)
    close = disk.close
    others = threading.Thread(target=files.write, args=(2, 0, [b"y"]))

    def close_slowly(fd: int) -> None:
        disk.close = close
        others.start()
        others.join(10)
        assert not others.is_alive()
        close(fd)

    if pinned:
        files.remove(1)
    disk.close = close_slowly
    if pinned:
        files.unpin(1)
    else:
        files.remove(1)
    assert disk.close == close
    assert files.read(2, 0, 9) == b"y"
    files.close()


def test_new_and_removed_names_are_flushed_with_the_next_flush(disk):
    files = ContentFiles(disk, max_open=4)
    folder = os.path.realpath(disk.root / "content" / "000" / "000")
    files.write(1, 0, [b"x"])
    disk.directories.clear()
    files.sync(1)
    assert disk.directories == [folder]
    files.sync_all()
    assert disk.directories == [folder]
    files.remove(1)
    files.remove(2)
    files.sync_all()
    assert disk.directories == [folder, folder]
    files.close()


def test_a_directory_change_during_its_flush_is_flushed_again(disk):
    files = ContentFiles(disk, max_open=4)
    files.write(1, 0, [b"x"])
    flush = disk.sync

    def flush_and_meanwhile(fd: int) -> None:
        flush(fd)
        disk.sync = flush
        files.sync_all()
        files.write(2, 0, [b"y"])

    disk.sync = flush_and_meanwhile
    files.sync(1)
    disk.directories.clear()
    files.sync(2)
    assert disk.directories
    files.close()


def test_no_hole_is_left_where_bytes_are_missing(disk):
    files = ContentFiles(disk, max_open=4)
    files.write(1, 0, [b"0123456789"])
    os.truncate(disk.root / content_name(1), 4)
    with pytest.raises(ContentLost):
        files.write(1, 10, [b"more"])
    files.cut(1, 8)
    assert files.read(1, 0, 100) == b"0123"
    (disk.root / content_name(1)).unlink()
    with pytest.raises(ContentLost):
        files.write(1, 2, [b"more"])
    files.close()
    with pytest.raises(ContentLost):
        files.write(1, 10, [b"more"])
    assert files.size(1) is None


def test_files_of_lost_creations_are_removed_and_other_files_stay(disk):
    files = ContentFiles(disk, max_open=4)
    last = (5 << 24) + (3 << 12) + 7
    numbers = [1, last - 1, last, last + 1, last + (1 << 12), last + (1 << 24), last - (1 << 12)]
    for number in numbers:
        files.write(number, 0, [b"x"])
    (disk.root / "content" / "lost+found").mkdir()
    (disk.root / "content" / "005" / "003" / "notes.txt").write_text("mine")
    files.remove_above(last, lambda number: number == last + 1)
    assert [number for number in numbers if files.size(number)] == [n for n in numbers if n <= last + 1]
    assert (disk.root / "content" / "005" / "003" / "notes.txt").exists()
    files.close()


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_short_writes_are_continued(tmp_path, monkeypatch, limit):
    written = os.pwritev

    def short(fd, parts, offset):
        return os.pwrite(fd, b"".join(bytes(part) for part in parts)[:limit], offset)

    monkeypatch.setattr(os, "pwritev", short)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    parts = [b"", b"one", b"", b"two" * 10, b"3"]
    Disk(tmp_path).write(fd, parts, 0)
    monkeypatch.setattr(os, "pwritev", written)
    assert os.pread(fd, 1000, 0) == b"".join(parts)
    Disk(tmp_path).write(fd, [b"%d," % index for index in range(3000)], 5)
    assert os.pread(fd, 100_000, 5) == b"".join(b"%d," % index for index in range(3000))
    os.close(fd)


@pytest.mark.parametrize("operation", ["open", "write", "sync"])
def test_a_failed_operation_leaves_no_pin_and_no_descriptor(tmp_path, operation):
    (tmp_path / "content").mkdir()
    disk = FaultyDisk(tmp_path)
    files = ContentFiles(disk, max_open=0)
    files.write(1, 0, [b"x"])
    files.trim()
    before = descriptors()
    disk.fault = failing(errno.EIO, operation, "content/000/000/")

    def write_and_flush() -> None:
        files.write(1, 1, [b"y"])
        files.sync(1)

    with pytest.raises((OSError, FlushFailed), match=os.strerror(errno.EIO)):
        write_and_flush()
    assert not files.pinned
    if operation == "sync":  # is never tried again
        with pytest.raises(FlushFailed):
            files.trim()
        files.close()
    else:
        files.trim()
    assert descriptors() == before


class OnceFailing(QuickDisk):
    """Reports a failed flush once, as the kernel does: a second flush of the file succeeds."""

    def __init__(self, root):
        super().__init__(root)
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        self.directories = self.failed = False

    def sync(self, fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}") is not self.directories:
            return
        first, self.failed = not self.failed, True
        self.entered.release()
        assert self.opened.wait(30)
        if first:
            raise FlushFailed("Flushing to disk failed.")


@pytest.mark.parametrize("directories", [False, True])
def test_a_failed_flush_that_two_threads_need_is_reported_to_both(tmp_path, directories):
    disk = OnceFailing(tmp_path)
    disk.make_directory("content")
    files = ContentFiles(disk, max_open=10)
    files.write(1, 0, [b"bytes"])
    disk.directories = directories
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(files.sync, 1)
        assert disk.entered.acquire(timeout=30)
        second = threads.submit(files.sync_all)
        assert not disk.entered.acquire(timeout=0.2), "two flush one file at once"
        disk.opened.set()
        for each in (first, second):
            with pytest.raises(FlushFailed):
                each.result(30)
    files.write(2, 0, [b"more"])
    with pytest.raises(FlushFailed):
        files.sync(2)
    files.close()


class SlowFlush(FlushingDisk):
    """Holds a flush up after it has taken the bytes that it makes durable."""

    def __init__(self, root):
        super().__init__(root)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def sync(self, fd: int) -> None:
        super().sync(fd)
        if not os.path.isdir(f"/proc/self/fd/{fd}"):
            self.begun.set()
            assert self.go_on.wait(10)


def test_bytes_written_during_a_flush_need_another_one(tmp_path):
    (tmp_path / "content").mkdir()
    disk = SlowFlush(tmp_path)
    files = ContentFiles(disk, max_open=10)
    files.write(1, 0, [b"before"])
    flushing = threading.Thread(target=files.sync, args=(1,))
    flushing.start()
    assert disk.begun.wait(10)
    files.write(1, 6, [b", during"])
    disk.go_on.set()
    flushing.join(10)
    assert disk.durable(1) == b"before"
    files.sync_all()
    assert disk.durable(1) == b"before, during"
    files.close()


class TogetherDisk(QuickDisk):
    """Ends no flush of a file before FLUSHERS of them run. The one of `failing` then fails."""

    def __init__(self, root):
        super().__init__(root)
        self._together = threading.Barrier(FLUSHERS)
        self.running: set[int] = set()
        self.failing = 0

    def sync(self, fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            return
        self.running.add(fd)
        self._together.wait(30)
        if os.readlink(f"/proc/self/fd/{fd}").endswith(content_name(self.failing)):
            self.running.remove(fd)
            raise FlushFailed("Flushing to disk failed.")
        time.sleep(0.05)  # a flush that ends after the failure
        self.running.remove(fd)


@pytest.mark.parametrize("failing", [0, 1, FLUSHERS])
def test_files_are_flushed_together_and_a_failure_is_reported_once_none_is_running(tmp_path, failing):
    disk = TogetherDisk(tmp_path)
    disk.make_directory("content")
    disk.failing = failing
    files = ContentFiles(disk, max_open=10)
    for number in range(1, FLUSHERS + 1):
        files.write(number, 0, [b"bytes"])
    if failing:
        with pytest.raises(FlushFailed):
            files.sync_all()
    else:
        files.sync_all()
    assert not disk.running
    files.close()


def test_a_quarter_of_the_files_is_closed_at_once(disk):
    before = descriptors()
    files = ContentFiles(disk, max_open=8)
    for number in range(1, 10):
        assert not disk.closed
        files.write(number, 0, [b"bytes"])
        files.trim()
    assert len(disk.closed) == 3
    assert descriptors() - before == 6
    files.close()

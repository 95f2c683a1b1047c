"""The commit log: frames in a circle, torn tails, damage, imitations."""

import os
import random
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.files.disks import QuickDisk

from loom.errors import ConfigError
from loom.model import Info, State
from loom.store.files.log import BLOCK, LEAP, SEGMENTS, Log
from loom.store.files.records import (
    HEADER,
    MAGIC,
    Append,
    Delete,
    Extent,
    Put,
    Record,
    decode,
    digest_of,
    encode,
    frame,
    read_frame,
)

SEED = 0x1234_5678_9ABC
SIZE = 16 << 10

numbers = st.integers(1, (1 << 40) - 1)
offsets = st.integers(0, (1 << 63) - 1)
texts = st.text(max_size=30)
infos = st.builds(
    Info,
    key=texts,
    id=texts,
    epoch=st.integers(1, 1 << 40),
    state=st.sampled_from(State),
    reason=texts,
    size=offsets,
    metadata=texts,
    content_type=texts,
    created=st.floats(0, 1e12),
    ended=st.none() | st.floats(0, 1e12),
    deadline=st.none() | st.floats(0, 1e12),
    resume_window=st.floats(0, 1e9),
    idempotency_key=texts,
    length=st.none() | offsets,
    amended=st.booleans(),
    version=st.integers(1, 1 << 40),
)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Put, numbers, infos),
    st.builds(Append, numbers, offsets, st.lists(st.binary(max_size=40), max_size=4)),
    st.builds(Extent, numbers, offsets, st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)),
    st.builds(Delete, numbers),
)


def encoded(*items: Record) -> bytes:
    return b"".join(part for record in items for part in encode(record))


def framed(lsn: int, payload: bytes) -> bytes:
    return frame(SEED, lsn, [payload]) + payload


def plain(record: Record) -> Record:
    """Join the bytes of an Append."""
    if isinstance(record, Append):
        data = record.data if isinstance(record.data, memoryview) else b"".join(record.data)
        return Append(record.number, record.offset, [bytes(data)])
    return record


@given(st.lists(records, max_size=6), st.integers(1, 1 << 62))
def test_records_are_read_as_they_were_written(items, lsn):
    raw = framed(lsn, encoded(*items))
    found = read_frame(SEED, memoryview(raw + b"LmF1trailing"), 0)
    assert found is not None
    assert found[0] == lsn
    assert [plain(record) for record in decode(found[1])] == [plain(record) for record in items]


def test_a_frame_cut_anywhere_or_with_any_wrong_bit_is_not_whole():
    raw = framed(7, encoded(Delete(3), Append(4, 5, [b"some bytes"])))
    for length in range(len(raw)):
        assert read_frame(SEED, memoryview(raw[:length]), 0) is None
        assert read_frame(SEED, memoryview(raw[:length].ljust(len(raw) + 9, b"\0")), 0) is None
    for offset in range(len(raw)):
        for bit in range(8):
            wrong = bytearray(raw)
            wrong[offset] ^= 1 << bit
            assert read_frame(SEED, memoryview(bytes(wrong)), 0) is None
    assert read_frame(SEED + 1, memoryview(raw), 0) is None


class Logs:
    """A log directory; each `log` opens it as a new process does."""

    def __init__(self, root: Path) -> None:
        self.disk = QuickDisk(root)
        self.opened: list[Log] = []
        root.mkdir()
        self.log(fresh=True)

    def log(self, *, fresh: bool = False, seed: int = SEED, flushed: bool = True) -> Log:
        log = Log(self.disk, seed=seed, flush=True, flushed=flushed, segment_size=SIZE)
        self.opened.append(log)
        log.open(fresh=fresh)
        return log

    def path(self, index: int) -> Path:
        return self.disk.root / "log" / f"{index:03d}"

    def patch(self, index: int, offset: int, data: bytes) -> None:
        with self.path(index).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def read(self, after: int, **options: bool) -> list[tuple[int, bytes]]:
        return replayed(self.log(**options), after)


@pytest.fixture
def logs(tmp_path):
    logs = Logs(tmp_path / "data")
    yield logs
    for log in logs.opened:
        log.close()


def replayed(log: Log, after: int) -> list[tuple[int, bytes]]:
    return [(lsn, bytes(payload)) for lsn, payload in log.replay(after)]


def begun(logs: Logs) -> Log:
    """Return a recovered, empty log."""
    log = logs.log()
    assert replayed(log, 0) == []
    log.reset()
    return log


def test_every_checkpoint_of_many_laps_can_be_started_from(logs):
    random_ = random.Random(1)
    log = begun(logs)
    first = log.lsn
    written: list[tuple[int, bytes]] = []
    released = first
    for _ in range(400):
        payload = random_.randbytes(random_.choice([1, 30, 900, 4000]))
        while not log.room(len(payload)):
            released = min(log.lsn, released + random_.randint(1, 8))
            log.release(released)
        written.append((log.append([payload]), payload))
        if random_.random() < 0.1:
            upto = random_.randint(released, log.lsn)
            assert logs.read(upto) == [each for each in written if each[0] > upto]
            for each in logs.opened[2:]:
                each.close()
            del logs.opened[2:]
    assert sum(len(payload) for _, payload in written) > 4 * SEGMENTS * SIZE


def test_a_torn_last_frame_ends_the_log_before_it_at_any_length(logs):
    log = begun(logs)
    kept = [(log.append([payload]), payload) for payload in (b"one", b"two" * 100)]
    after = log.lsn - 2
    last = encoded(Append(1, 0, [b"three" * 20]))
    offset = log.end
    log.append([last])
    raw = logs.path(0).read_bytes()[offset : offset + HEADER.size + len(last)]
    for length in range(len(raw)):
        logs.patch(0, offset, raw[:length].ljust(len(raw), b"\0"))
        assert logs.read(after) == kept
        logs.opened.pop().close()
    logs.patch(0, offset, raw)
    assert [payload for _, payload in logs.read(after)] == [b"one", b"two" * 100, last]


def test_leftovers_after_a_torn_frame_never_follow_new_ones(logs):
    """Without flushes a later frame may reach the disk and an earlier one not."""
    log = begun(logs)
    start = log.lsn
    for index in range(10):
        log.append([bytes([index]) * 100])
    logs.patch(0, BLOCK + 2 * (HEADER.size + 100) + 5, b"torn")
    again = logs.log(flushed=False)
    assert [payload[0] for _, payload in replayed(again, start)] == [0, 1]
    again.reset()
    assert again.lsn >= start + LEAP
    checkpoint = again.lsn
    fresh = [(again.append([b"x" * 100]), b"x" * 100) for _ in range(2)]
    assert logs.read(checkpoint) == fresh


@pytest.mark.parametrize("damaged", [0, 3, 8])
def test_damage_with_whole_commits_after_it_is_refused_in_a_sentence(logs, damaged):
    log = begun(logs)
    start = log.lsn
    for index in range(10):
        log.append([bytes([index]) * 3000])
    segment, nth = divmod(damaged, (SIZE - BLOCK) // (3000 + HEADER.size))
    logs.patch(segment, BLOCK + nth * (3000 + HEADER.size) + 500, b"?")
    with pytest.raises(ConfigError, match=r"cannot be read though commit \d+ can"):
        logs.read(start)


def test_damage_before_the_checkpoint_does_not_matter(logs):
    log = begun(logs)
    for index in range(3):
        log.append([bytes([index]) * 3000])
    checkpoint = log.lsn
    log.append([b"next"])
    logs.patch(1, BLOCK - 1, b"padding")
    assert logs.read(checkpoint) == [(checkpoint + 1, b"next")]


def test_stored_bytes_that_imitate_commits_neither_mislead_nor_slow_the_start(logs):
    log = begun(logs)
    start = log.lsn
    lsn = start + 1
    imitations = [
        MAGIC * 1000,
        (HEADER.pack(MAGIC, 100, lsn + 5, 1) + bytes(8)) * 100,
        HEADER.pack(MAGIC, 3000, lsn + 9, digest_of([b"x"], SEED)) * 100,
        frame(SEED + 1, lsn + 2, [b"foreign"]) + b"foreign",
        framed(start, b"an older commit, whole"),
    ]
    for data in imitations:
        log.append([encoded(Append(1, 0, [data]))])
    log.append([b"torn" * 500])
    logs.patch(0, log.end - 10, b"\0" * 10)
    assert len(logs.read(start)) == len(imitations)


def test_a_log_full_of_magic_is_searched_in_bounded_time(tmp_path):
    disk = QuickDisk(tmp_path)
    log = Log(disk, seed=SEED, flush=True, segment_size=16 << 20)
    log.open(fresh=True)
    assert replayed(log, 0) == []
    log.reset()
    start = log.lsn
    plausible = HEADER.pack(MAGIC, 0, start + 1000, 0)
    for unit in (MAGIC, MAGIC, plausible, plausible):
        while log.end == BLOCK or log.end + (3 << 20) < log.segment_size:
            log.append([unit * ((3 << 20) // len(unit))])
        log.end = log.segment_size
        log.release(log.lsn)
    begin = time.process_time()
    replayed(log, log.lsn)
    assert time.process_time() - begin < 2
    log.close()


def test_a_missing_segment_is_not_created_again(logs):
    log = begun(logs)
    log.append([b"acknowledged"])
    logs.path(0).unlink()
    with pytest.raises(ConfigError, match="000 of the commit log is missing"):
        logs.log()


def test_a_segment_that_is_shorter_or_of_another_store_is_refused(logs, tmp_path):
    os.truncate(logs.path(2), SIZE // 2)
    with pytest.raises(ConfigError, match="log/002 does not belong to this data directory or is damaged"):
        logs.log()
    other = Logs(tmp_path / "other")
    shutil.copy(other.path(2), logs.path(2))
    logs.log()
    with pytest.raises(ConfigError, match="log/000 does not belong"):
        logs.log(seed=SEED + 1)
    for log in other.opened:
        log.close()


def test_a_log_whose_creation_was_interrupted_is_created(logs):
    logs.path(3).rename(logs.disk.root / "log" / "003.new")
    assert logs.read(0, fresh=True) == []


def test_a_frame_that_no_checkpoint_covers_is_never_overwritten(logs):
    log = begun(logs)
    first = log.lsn + 1
    payload = bytes(SIZE // 5)
    while log.room(len(payload)):
        log.append([payload])
    with pytest.raises(ValueError, match="no room"):
        log.append([payload])
    ends = [lsn for lsn, _ in logs.read(first - 1)]
    assert ends == list(range(first, log.lsn + 1))
    # The first segment is released with its last frame, not with the one before that.
    per_segment = len(ends) // SEGMENTS
    log.release(first + per_segment - 2)
    assert not log.room(len(payload))
    log.release(first + per_segment - 1)
    assert log.room(len(payload))
    log.append([payload])
    assert [lsn for lsn, _ in logs.read(first + per_segment - 1)][-1] == log.lsn


def test_a_release_of_every_frame_leaves_the_log_usable_from_each_later_checkpoint(logs):
    log = begun(logs)
    payload = bytes(SIZE // 5)
    kept = []
    for _ in range(40):
        log.release(log.lsn)
        assert log.usage() == 0
        kept = [log.append([payload]), log.append([payload])]
        assert [lsn for lsn, _ in logs.read(kept[0] - 1)] == kept


def test_a_frame_whose_number_is_not_the_next_one_is_not_replayed(logs):
    log = begun(logs)
    first = log.append([b"one"])
    logs.patch(0, log.end, framed(first + 2, b"three"))
    reading = logs.log().replay(first - 1)
    assert [lsn for lsn, _ in [next(reading)]] == [first]
    with pytest.raises(ConfigError, match=f"commit {first + 1} cannot be read though commit {first + 2} can"):
        next(reading)

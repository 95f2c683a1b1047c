import asyncio
import hashlib
import random
from base64 import b64encode

import pytest
from structlog.testing import capture_logs
from tests.unit.stores import TestStore, created, fed, settled

from loom.errors import Fenced, StoreStopped, StreamDamaged, VersionMismatch
from loom.jobs.digests import PATIENCE, SLICE, STEP, Digests
from loom.model import Info, Patch, State
from loom.testing.tools import ManualClock

DATA = random.Random(2).randbytes(2 * SLICE + 12_345)
COMPLETE = Patch(state=State.COMPLETE)


def digest(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode()


class WaitingStore(TestStore):
    """Reports stored digests to the test, and can fail `change`."""

    def __init__(self) -> None:
        super().__init__(ManualClock(1_000_000.0))
        self.digests: asyncio.Queue[Info] = asyncio.Queue()
        self.change_errors: list[Exception] = []

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        if self.change_errors:
            raise self.change_errors.pop()
        info = await super().change(key, patch, version=version)
        if patch.digest:
            self.digests.put_nowait(info)
        return info


@pytest.fixture(params=[0, SLICE + 77, 1 << 30], ids=["read", "partly filed", "filed"])
async def store(request: pytest.FixtureRequest) -> WaitingStore:
    store = WaitingStore()
    store.filed = request.param
    return store


@pytest.fixture
async def digests(store):
    digests = Digests(store)
    yield digests
    await digests.close()
    assert store.idle


async def ended(store: WaitingStore, id: str, data: bytes = DATA) -> Info:
    return await (await created(store, id, data)).close(COMPLETE)


async def ending(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.wait({running})


async def test_streams_that_ended_before_and_while_it_runs_get_their_digests(store, digests):
    before = await ended(store, "before")
    running = asyncio.create_task(digests.run())
    assert (await store.digests.get()).digest == digest(DATA)
    await ended(store, "after", b"after")
    assert (await store.digests.get()).digest == digest(b"after")
    assert (await store.info("before")).key == before.key
    await ending(running)


async def test_a_stream_that_grows_is_hashed_before_its_end(store, digests):
    writer = await created(store, "a", DATA)
    for size in (len(DATA), STEP + len(DATA)):
        digests.on_durable(writer.key, size - 1)
        await fed(writer, bytes(size - writer.durable))
        digests.on_durable(writer.key, writer.durable)
    await settled()
    info = await writer.close(COMPLETE)
    assert (await digests.known(info)).digest == digest(DATA + bytes(STEP))


async def test_a_digest_is_returned_once_it_is_stored_and_stored_once(store, digests):
    info = await ended(store, "a")
    found = await asyncio.gather(*(digests.known(info) for _ in range(5)))
    assert {each.digest for each in found} == {digest(DATA)}
    assert (await store.info("a")).digest == digest(DATA)
    assert store.digests.qsize() == 1


async def test_a_change_meanwhile_does_not_lose_the_digest(store, digests):
    info = await ended(store, "a")
    store.change_errors.append(VersionMismatch("changed"))
    assert (await digests.known(info)).digest == digest(DATA)


async def test_an_incomplete_or_very_long_stream_is_returned_without(store, digests):
    writer = await created(store, "a", b"x")
    for info in (writer.info, await writer.close(Patch(state=State.ABORTED))):
        assert await digests.known(info) is info
    info = Info(key="1-x", id="long", epoch=1, state=State.COMPLETE, size=PATIENCE + 1)
    assert await digests.known(info) is info


async def test_a_stream_that_cannot_be_read_is_skipped_and_others_follow(store, digests):
    store.failure = StreamDamaged("Stored bytes are missing.")
    info = await ended(store, "a")
    assert await digests.known(info) == info
    with capture_logs() as logs:
        running = asyncio.create_task(digests.run())
        await settled()
        store.failure = None
        await ended(store, "b", b"b")
        assert (await store.digests.get()).id == "b"
    assert [(line["stream"], line["log_level"]) for line in logs] == [("a", "error")]
    await ending(running)


async def test_a_fenced_producer_gets_no_digest_of_later_bytes(store, digests):
    writer = await created(store, "a", DATA)
    await digests.of(writer.key, len(DATA))
    with pytest.raises(Fenced):
        await digests.of(writer.key, 5)


async def test_a_cancelled_reader_leaves_the_hash_usable(store, digests):
    info = await ended(store, "a")
    for _ in range(5):
        reader = asyncio.create_task(digests.known(info))
        await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        reader.cancel()
        await asyncio.wait({reader})
    assert (await digests.known(info)).digest == digest(DATA)


async def test_closing_stops_hashing(store):
    digests = Digests(store)
    info = await ended(store, "a", DATA * 4)
    reader = asyncio.create_task(digests.of(info.key, info.size))
    await store.entered.wait()
    await digests.close()
    with pytest.raises(StoreStopped):
        await reader
    digests.on_durable(info.key, info.size)
    assert store.idle


async def test_deleted_streams_are_forgotten(store, digests):
    running = asyncio.create_task(digests.run())
    await settled()
    writer = await created(store, "a", DATA)
    await digests.of(writer.key, len(DATA))
    await store.delete(writer.key)
    await settled()
    assert digests.statistics() == 0
    await ending(running)

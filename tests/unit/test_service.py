import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.unit.stores import TestStore, created, fed, service_on, settled

from loom.errors import (
    Busy,
    Fenced,
    LoomError,
    StorageFull,
    StoreStopped,
    StreamAborted,
    StreamExists,
    StreamGone,
    StreamNotFound,
)
from loom.jobs.digests import Digests
from loom.jobs.scrub import Scrub
from loom.model import Info, NewStream, Patch, State
from loom.store.places import GAP
from loom.streams.hub import Hub
from loom.streams.lines import SCAN
from loom.streams.producer import HASHED_HERE, Producer
from loom.streams.ranges import FromLine, LastLines, Part, Selector
from loom.streams.reading import FileSlice, Reading
from loom.streams.service import Choose, Service
from loom.testing.tools import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000.0)


@pytest.fixture
async def store(clock: ManualClock) -> TestStore:
    return TestStore(clock)


@pytest.fixture
async def hub(store: TestStore) -> Hub:
    return Hub(store)


@pytest.fixture
async def service(store: TestStore, hub: Hub, clock: ManualClock) -> AsyncIterator[Service]:
    service = service_on(store, hub, clock, resume_window=20)
    yield service
    await service.close()
    await settled()
    assert store.idle
    assert hub.statistics().tails == hub.statistics().followers == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def begun(service: Service, data: bytes = b"", id: str = "a") -> Producer:
    """Return a producer whose `data` is durable."""
    producer = await service.create(NewStream(id=id))
    await sent(producer, data)
    return producer


async def sent(producer: Producer, *chunks: bytes) -> None:
    for chunk in chunks:
        await producer.take(chunk)
        await producer._writer.wait_durable(producer._writer.accepted)


class Consumer:
    """Reads a stream to its end in a task."""

    def __init__(self, reading: Reading, *, slices: bool = False) -> None:
        self.reading = reading
        self.got = b""
        self.pieces: list[bytes | FileSlice] = []
        self.error: LoomError | None = None
        self._slices = slices
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self.reading:
            try:
                async for piece in self.reading.pieces(slices=self._slices):
                    self.pieces.append(piece)
                    if isinstance(piece, FileSlice):
                        piece = os.pread(piece.fileno, piece.stop - piece.start, piece.start)
                    self.got += piece
            except LoomError as error:
                self.error = error


async def consumed(reading: Reading) -> tuple[bytes, LoomError | None]:
    """Return all bytes of a reading and the error that cut it."""
    consumer = Consumer(reading)
    await consumer.task
    return consumer.got, consumer.error


def chosen(what: Part | Selector) -> Choose:
    """Choose the same of any stream."""
    return lambda info: what if isinstance(what, Part) else what.select(info, tail=True)


# Producing.


async def test_complete_is_durable_with_every_byte(service: Service):
    producer = await service.create(NewStream(id="a", metadata='{"x":1}', content_type="text/plain"))
    assert not producer.replaced
    assert producer.info == await service.info("a")
    await producer.take(b"one")
    await producer.take(b"two")
    info = await producer.complete()
    assert info == await service.info("a")
    assert (info.state, info.size, info.metadata) == (State.COMPLETE, 6, '{"x":1}')


async def test_id_is_taken_until_it_is_replaced(service: Service):
    first = await begun(service, b"old")
    lost: list[LoomError] = []
    first.on_lost(lost.append)
    with pytest.raises(StreamExists):
        await service.create(NewStream(id="a"))
    assert not lost
    second = await service.create(NewStream(id="a"), replace=True)
    assert second.replaced
    assert [type(error) for error in lost] == [StreamGone]
    with pytest.raises(StreamGone):
        await first.take(b"more")
    with pytest.raises(StreamGone):
        await first.complete()
    await first.lose("never mind")
    assert (await service.info("a")).size == 0


async def test_lost_producer_keeps_every_byte_and_its_resume_window(service: Service, clock: ManualClock):
    producer = await service.create(NewStream(id="a"))
    await producer.take(b"last words")
    await producer.lose("the connection was lost")
    info = await service.info("a")
    assert (info.state, info.size, info.reason) == (State.INTERRUPTED, 10, "the connection was lost")
    assert info.deadline == clock.time + 20


async def test_windows_begin_when_the_producer_leaves_not_when_the_stream_began(
    service: Service, clock: ManualClock
):
    lost, left = await begun(service, b"1", "lost"), await begun(service, b"2", "left")
    clock.time += 1_000
    await lost.lose("the connection was lost")
    await left.leave_open()
    assert (await service.info("lost")).deadline == clock.time + 20
    assert (await service.info("left")).deadline == clock.time + 86_400


async def test_disconnect_during_completion_does_not_interrupt(service: Service, store: TestStore):
    producer = await begun(service, b"all")
    with store.held():
        completing = asyncio.create_task(producer.complete())
        await settled()
        completing.cancel()
        losing = asyncio.create_task(producer.lose("too late"))
        await settled()
    await losing
    assert completing.cancelled()
    assert (await service.info("a")).state is State.COMPLETE


async def test_a_stream_whose_bytes_could_not_be_compared_may_be_resumed(
    store: TestStore, clock: ManualClock
):
    class Busily(Digests):
        async def of(self, key: str, size: int) -> str:
            raise Busy("Too many files are open.")

    service = Service(store, Hub(store), clock, Busily(store), Scrub(store, interval=1, rate=1))
    producer = await begun(service)
    await sent(producer, bytes(HASHED_HERE + 1), b"more")
    with pytest.raises(Busy):
        await producer.complete("sha-256=:x:")
    info = await service.info("a")
    assert (info.state, info.deadline) == (State.INTERRUPTED, clock() + info.resume_window)


async def test_fenced_producer_is_notified_and_cannot_complete(service: Service, store: TestStore):
    producer = await begun(service, b"x")
    lost: list[LoomError] = []
    producer.on_lost(lost.append)
    await store.resume(producer.info.key, 1)
    assert [type(error) for error in lost] == [Fenced]
    producer.on_lost(lost.append)
    assert len(lost) == 2, "immediately if it is lost already"
    with pytest.raises(Fenced):
        await producer.complete()
    await producer.lose("fenced")
    assert (await service.info("a")).state is State.LIVE


async def test_take_waits_for_room(clock: ManualClock):
    store = TestStore(clock, writer_bound=4)
    service = service_on(store, clock=clock)
    producer = await service.create(NewStream(id="a"))
    with store.held():
        taking = asyncio.create_task(producer.take(b"12345"))
        await settled()
        assert not taking.done()
    await taking


async def test_cancelled_creation_leaves_no_live_stream(service: Service, store: TestStore):
    with store.held():
        creating = asyncio.create_task(service.create(NewStream(id="a")))
        await settled()
        creating.cancel()
        await settled()
    await asyncio.gather(creating, return_exceptions=True)
    assert creating.cancelled()
    await settled()
    assert (await service.info("a")).state is State.INTERRUPTED


async def test_failed_store_reaches_the_producer(service: Service, store: TestStore):
    producer = await begun(service, b"x")
    lost: list[LoomError] = []
    producer.on_lost(lost.append)
    store.fail("the disk is gone")
    assert [type(error) for error in lost] == [StoreStopped]
    with pytest.raises(StoreStopped):
        await producer.complete()
    await producer.lose("the disk is gone")


# Reading with an end.


async def test_finished_stream_is_a_snapshot(service: Service):
    producer = await begun(service, b"abc")
    await producer.complete()
    reading = await service.read("a")
    assert (reading.part, reading.info.state) == (Part(0, 3), State.COMPLETE)
    assert await consumed(reading) == (b"abc", None)


async def test_aborted_stream_is_a_snapshot_too(service: Service, store: TestStore):
    producer = await begun(service, b"abc")
    info = await service.info("a")
    await store.change(producer.info.key, Patch(state=State.ABORTED), version=info.version)
    reading = await service.read("a")
    assert reading.part.stop == 3
    assert await consumed(reading) == (b"abc", None)


async def test_notail_reads_the_present_bytes_and_no_later_one(service: Service):
    producer = await begun(service, b"abc")
    reading = await service.read("a", lambda info: Part(0, info.size))
    await sent(producer, b"def")
    assert reading.part.stop == 3
    assert await consumed(reading) == (b"abc", None)


@pytest.mark.parametrize("replace", [True, False])
async def test_snapshot_outlives_its_stream(service: Service, store: TestStore, replace: bool):
    producer = await begun(service, b"abc")
    await producer.complete()
    reading = await service.read("a")
    if replace:
        await begun_again(service)
    else:
        await store.delete(producer.info.key)
    assert await consumed(reading) == (b"abc", None)


async def begun_again(service: Service) -> Producer:
    producer = await service.create(NewStream(id="a"), replace=True)
    await sent(producer, b"the new bytes")
    return producer


async def test_long_snapshot_is_read_in_pieces(service: Service):
    data = os.urandom(1_000_000)
    producer = await begun(service, data)
    await producer.complete()
    consumer = Consumer(await service.read("a"))
    await consumer.task
    assert consumer.got == data
    assert all(isinstance(piece, bytes) and len(piece) <= 256 << 10 for piece in consumer.pieces)


async def test_slices_cover_the_bytes_on_file_and_pieces_the_rest(service: Service, store: TestStore):
    data = os.urandom(5_000_100)
    store.filed = 5_000_000
    producer = await begun(service, data)
    await producer.complete()
    consumer = Consumer(await service.read("a"), slices=True)
    await consumer.task
    assert consumer.got == data
    slices = [(piece.start, piece.stop) for piece in consumer.pieces if isinstance(piece, FileSlice)]
    assert slices == [(0, 4 << 20), (4 << 20, 5_000_000)]
    assert await consumed(await service.read("a")) == (data, None), "only on request"


async def test_a_part_is_read_from_file_and_from_memory(service: Service, store: TestStore):
    data = os.urandom(500_000)
    store.filed = 300_000
    producer = await begun(service, data)
    await producer.complete()
    for start, stop in ((0, 500_000), (1, 299_999), (100_000, 400_000), (290_000, 310_000), (300_000, 7)):
        stop = max(start, stop)
        consumer = Consumer(await service.read("a", chosen(Part(start, stop))), slices=True)
        await consumer.task
        assert consumer.got == data[start:stop]
        slices = [(piece.start, piece.stop) for piece in consumer.pieces if isinstance(piece, FileSlice)]
        assert slices == ([(start, min(stop, 300_000))] if start < 290_000 else [])


async def test_the_part_is_chosen_from_the_stream_that_is_read(service: Service, store: TestStore):
    first = await begun(service, b"old")
    infos: list[Info] = []

    def choose(info: Info) -> Part:
        infos.append(info)
        return Part(1, info.size)

    store.gate.clear()
    reading = asyncio.create_task(service.read("a", choose))
    await store.entered.wait()
    second = await begun_again(service)
    store.gate.set()
    assert await consumed(await reading) == (b"he new bytes", None)
    assert [info.key for info in infos] == [first.info.key, second.info.key]
    assert await service.locate("a", choose) == (infos[-1], Part(1, 13))


class Refused(Exception): ...


async def test_a_refused_choice_opens_nothing(service: Service, store: TestStore):
    def refuse(_: Info) -> Part:
        raise Refused

    await begun(service, b"abc")
    for asked in (service.read("a", refuse), service.locate("a", refuse)):
        with pytest.raises(Refused):
            await asked
    assert not store.open_calls


async def test_searches_take_turns_with_each_other_and_with_other_tasks(service: Service, store: TestStore):
    store.indexed = False
    producer = await begun(service, b"first\n" + bytes(16 * SCAN) + b"\nlast")
    await producer.complete()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(turn())
    wishes: list[Selector] = [LastLines(2), FromLine(3), LastLines(2)]
    found = await asyncio.gather(*(service.locate("a", chosen(wish)) for wish in wishes))
    others.cancel()
    assert [part.start for _, part in found] == [6, 16 * SCAN + 7, 6]
    assert turns >= 3 * 16
    assert store.idle


async def test_a_search_ends_with_its_request_and_with_the_server(service: Service, store: TestStore):
    store.indexed = False
    producer = await begun(service, bytes(64 * SCAN))
    await producer.complete()
    first = asyncio.create_task(service.read("a", chosen(LastLines(1))))
    second = asyncio.create_task(service.locate("a", chosen(LastLines(2))))
    await settled()
    assert len(store.contents) == 2
    first.cancel()
    await service.close()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(StoreStopped):
        await second
    assert store.idle


async def test_unknown_id_is_not_found(service: Service):
    with pytest.raises(StreamNotFound, match="The stream with ID a does not exist"):
        await service.read("a")
    with pytest.raises(StreamNotFound):
        await service.info("a")


# Following.


async def test_follower_that_waits_for_a_line_finds_it_even_if_it_lags(clock: ManualClock):
    store = TestStore(clock)
    store.filed = 1_000_000
    service = service_on(store, Hub(store, tail_limit=100), clock)
    producer = await begun(service, b"one\ntw")
    reading = await service.read("a", chosen(FromLine(4)))
    late = os.urandom(200_000).replace(b"\n", b"")
    await sent(producer, b"o", b"\nthree\n", late[:100_000], late[100_000:])
    consumer = Consumer(reading, slices=True)
    await producer.complete()
    await consumer.task
    assert reading.part == Part(6, None, skip=2)
    assert consumer.got == late
    assert store.idle


async def test_follower_gets_the_stored_then_the_live_bytes_then_the_end(service: Service):
    producer = await begun(service, b"stored ")
    reading = await service.read("a")
    assert reading.part.stop is None
    consumer = Consumer(reading)
    await settled()
    assert consumer.got == b"stored "
    await sent(producer, b"live ", b"bytes")
    await settled()
    assert consumer.got == b"stored live bytes"
    await producer.complete()
    await consumer.task
    assert consumer.error is None


async def test_followers_share_the_live_bytes_and_hold_no_content(service: Service, store: TestStore):
    producer = await begun(service, b"stored")
    consumers = [Consumer(await service.read("a")) for _ in range(3)]
    line = os.urandom(50)
    await settled()
    await sent(producer, line)
    await settled()
    assert all(consumer.pieces[-1] is line for consumer in consumers)
    assert not store.contents
    await producer.complete()
    await asyncio.gather(*(consumer.task for consumer in consumers))


async def test_follower_of_a_stream_without_bytes_opens_nothing(service: Service, store: TestStore):
    producer = await begun(service)
    consumer = Consumer(await service.read("a"))
    await settled()
    await sent(producer, b"x")
    await producer.complete()
    await consumer.task
    assert consumer.got == b"x"
    assert store.open_calls == 0


async def test_interruption_ends_no_follower(service: Service, store: TestStore):
    producer = await begun(service, b"one ")
    consumer = Consumer(await service.read("a"))
    await producer.lose("the connection was lost")
    late = Consumer(await service.read("a"))
    await settled()
    writer = await store.resume(producer.info.key, 4)
    writer.append(b"two")
    await writer.close(Patch(state=State.COMPLETE))
    for each in (consumer, late):
        await each.task
        assert (each.got, each.error) == (b"one two", None)


async def test_abort_cuts_after_the_last_byte(service: Service, store: TestStore):
    producer = await begun(service, b"one ")
    consumer = Consumer(await service.read("a"))
    await settled()
    await producer.take(b"two")
    await producer.lose("the connection was lost")
    info = await service.info("a")
    await store.change(info.key, Patch(state=State.ABORTED, reason="too late"), version=info.version)
    await consumer.task
    assert consumer.got == b"one two"
    assert isinstance(consumer.error, StreamAborted)
    assert "too late" in str(consumer.error)


@pytest.mark.parametrize("replace", [True, False])
async def test_deleted_stream_cuts_after_the_bytes_in_the_ring(
    service: Service, store: TestStore, replace: bool
):
    producer = await begun(service)
    consumer = Consumer(await service.read("a"))
    await settled()
    await producer.take(b"accepted, not durable yet")
    if replace:
        await begun_again(service)
    else:
        await store.delete(producer.info.key)
    await consumer.task
    assert consumer.got == b"accepted, not durable yet"
    assert isinstance(consumer.error, StreamGone)


async def test_lagging_follower_is_cut_immediately_when_its_stream_is_deleted(
    service: Service, store: TestStore
):
    producer = await begun(service, os.urandom(3_000_000))
    reading = await service.read("a")
    async with reading:
        pieces = reading.pieces()
        await anext(pieces)
        await store.delete(producer.info.key)
        with pytest.raises(StreamGone):
            await anext(pieces)


async def test_late_reader_of_a_replaced_stream_gets_the_new_one(service: Service, store: TestStore):
    old = await begun(service, b"old")
    following = Consumer(await service.read("a"))
    store.gate.clear()
    store.entered.clear()
    reading = asyncio.create_task(service.read("a"))
    await store.entered.wait()
    new = await begun_again(service)
    store.gate.set()
    consumer = Consumer(await reading)
    assert consumer.reading.info.key == new.info.key != old.info.key
    await new.complete()
    await consumer.task
    await following.task
    assert consumer.got == b"the new bytes"
    assert isinstance(following.error, StreamGone)


async def test_content_that_cannot_be_opened_is_reported_before_the_response_begins(
    service: Service, store: TestStore
):
    producer = await begun(service, b"stored")
    store.failure = Busy("Too many open files.")
    with pytest.raises(Busy):
        await service.read("a")
    store.failure = None
    await producer.complete()


async def test_closing_a_reading_early_releases_everything(service: Service, store: TestStore, hub: Hub):
    producer = await begun(service, b"stored")
    consumer = Consumer(await service.read("a"))
    await settled()
    consumer.task.cancel()
    await asyncio.gather(consumer.task, return_exceptions=True)
    assert store.idle
    assert hub.statistics().tails == 0
    await producer.complete()


# Stopping.


async def test_drain_keeps_every_byte_then_cuts(service: Service, store: TestStore, clock: ManualClock):
    producer = await begun(service, b"one ")
    lost: list[LoomError] = []
    producer.on_lost(lost.append)
    consumer = Consumer(await service.read("a"))
    await settled()
    await producer.take(b"two")
    await service.drain(clock.time + 10)
    assert [type(error) for error in lost] == [StoreStopped]
    info = await service.info("a")
    assert (info.state, info.size) == (State.INTERRUPTED, 7)
    assert info.deadline == clock.time + 20
    await consumer.task
    assert consumer.got == b"one two"
    assert isinstance(consumer.error, StoreStopped)
    assert not service.health().ready
    for refused in (service.create(NewStream(id="b")), service.read("a")):
        with pytest.raises(StoreStopped):
            await refused
    with pytest.raises(StoreStopped):
        await producer.take(b"three")
    with pytest.raises(StoreStopped):
        await producer.complete()
    await producer.lose("again")


async def test_drain_lets_a_completion_finish(service: Service, store: TestStore, clock: ManualClock):
    producer = await begun(service, b"all")
    lost: list[LoomError] = []
    producer.on_lost(lost.append)
    consumer = Consumer(await service.read("a"))
    with store.held():
        completing = asyncio.create_task(producer.complete())
        await settled()
        draining = asyncio.create_task(service.drain(clock.time + 10))
        await settled()
        assert not draining.done()
    await draining
    assert (await completing).state is State.COMPLETE
    assert not lost
    await consumer.task
    assert (consumer.got, consumer.error) == (b"all", None)


async def test_drain_is_bounded(service: Service, store: TestStore, clock: ManualClock):
    await begun(service, b"x")
    with store.held():
        await service.drain(clock.time)
    await settled()
    assert (await service.info("a")).state is State.INTERRUPTED


async def test_creation_during_the_drain_is_ended(service: Service, store: TestStore, clock: ManualClock):
    with store.held():
        creating = asyncio.create_task(service.create(NewStream(id="a")))
        await settled()
        await service.drain(clock.time)
    with pytest.raises(StoreStopped):
        await creating
    assert (await service.info("a")).state is State.INTERRUPTED


async def test_any_line_of_a_long_stream_is_found_by_reading_few_bytes(service: Service, store: TestStore):
    writer = await created(store)
    line = b"x" * 90
    for first in range(0, 400_000, 10_000):  # 40 MB
        await fed(writer, b"".join(b"%09d%b\n" % (number, line) for number in range(first, first + 10_000)))
    for number in (1, 2, 3_000, 123_456, 399_999, 400_000):
        store.bytes_read = 0
        _, part = await service.locate("a", partial(FromLine(number).select, tail=False))
        assert part.start == 100 * (number - 1)
        assert store.bytes_read <= 2 * GAP + SCAN
    store.bytes_read = 0
    index = await service.index("a", (1, 10**9), 1000)
    assert (index.lines, index.indexed) == (400_000, 40_000_000)
    assert store.bytes_read <= 2 * GAP + 1_000_000


class FullStore(TestStore):
    """Reports a full disk if `short`."""

    short = False

    @property
    def full(self) -> bool:
        return self.short


async def test_a_full_disk_ends_producers_and_refuses_new_ones(clock):
    store = FullStore(clock)
    service = service_on(store, clock=clock)
    producer, late = [await service.create(NewStream(id=id)) for id in ("a", "late")]
    await producer.take(b"some")
    store.short = True
    for each in (producer, late):
        with pytest.raises(StorageFull):
            await each.take(b" more")
        await each.lose("it could not go on")
    with pytest.raises(StorageFull):
        await service.create(NewStream(id="b"))
    info, untouched = await store.info("a"), await store.info("late")
    assert (info.state, info.reason, info.size) == (State.ABORTED, "size limit", 4)
    assert untouched.state is State.INTERRUPTED
    store.short = False
    await (await service.resume("late", 0)).take(b"later")

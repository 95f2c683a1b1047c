"""Shared streams that nobody uses are deleted; each use gives them a whole time to live."""

from collections.abc import Awaitable, Callable

import pytest
from tests.unit.stores import service_on

from loom.errors import StreamNotFound
from loom.jobs.sweeper import Sweeper
from loom.model import Framing, Info, NewStream, State
from loom.store import rules
from loom.store.memory import MemoryStore
from loom.streams.ledger import Append
from loom.streams.service import Service
from loom.testing.tools import ManualClock

TTL = 10.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def service(store: MemoryStore, clock: ManualClock) -> Service:
    return service_on(store, clock=clock)


async def put(service: Service, id: str = "a", **new: object) -> Info:
    wanted = NewStream(id=id, framing=Framing.BYTES, **{"state": State.OPEN, "ttl": TTL, **new})  # type: ignore[arg-type]
    info, _ = await service.shared.create(wanted, [b"x"], lambda size: None)
    return info


async def read(service: Service) -> None:
    async with await service.read("a"):
        pass


async def append(service: Service) -> None:
    await service.shared.append("a", Append(), lambda info: [b"y"], lambda size: None)


async def close(service: Service) -> None:
    await service.shared.append("a", Append(close=True), lambda info: [], lambda size: None)


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("use", [read, append, close])
async def test_each_use_gives_a_stream_a_whole_time_to_live(
    service: Service,
    store: MemoryStore,
    clock: ManualClock,
    use: Callable[[Service], Awaitable[None]],
    swept: bool,
):
    sweeper = Sweeper(store, clock, service.lifetimes)
    await put(service)
    for _ in range(3):
        clock.time += TTL - 1
        assert (await service.info("a")).id == "a"
        await use(service)
        if use is close:
            use = read
        if swept:
            await sweeper.sweep()
    clock.time += TTL - 0.1
    await sweeper.sweep()
    assert (await service.info("a")).id == "a"
    clock.time += 0.1
    if swept:
        assert await sweeper.sweep() == 1
        with pytest.raises(StreamNotFound):
            await store.info("a")
    with pytest.raises(StreamNotFound):
        await service.info("a")
    with pytest.raises(StreamNotFound):
        await store.info("a")


async def test_describing_a_stream_is_no_use_of_it(service: Service, clock: ManualClock):
    await put(service)
    clock.time += TTL - 1
    await service.info("a")
    clock.time += 1
    with pytest.raises(StreamNotFound):
        await append(service)


async def test_a_stream_whose_life_is_over_does_not_take_its_id(service: Service, clock: ManualClock):
    before = await put(service, ttl=None, expires=clock.time + 5)
    clock.time += 5
    after, created = await service.shared.create(
        NewStream(id="a", framing=Framing.JSON, state=State.OPEN), [], lambda size: None
    )
    assert created
    assert after.key != before.key


async def test_streams_live_for_a_whole_time_after_a_restart(store: MemoryStore, clock: ManualClock):
    await put(service_on(store, clock=clock))
    clock.time += 5 * TTL
    service = service_on(store, clock=clock)
    sweeper = Sweeper(store, clock, service.lifetimes)
    assert (await sweeper.sweep(), await sweeper.sweep()) == (1, 0)
    assert (await service.info("a")).deadline == clock.time + TTL
    clock.time += TTL
    assert await sweeper.sweep() == 1
    with pytest.raises(StreamNotFound):
        await store.info("a")


async def test_a_storm_of_ends_is_handled_in_bounded_batches(
    service: Service, store: MemoryStore, clock: ManualClock
):
    for number in range(10_000):
        await store.put(NewStream(id=f"{number}", framing=Framing.BYTES, state=State.OPEN, ttl=TTL))
    await put(service)
    clock.time += TTL
    await read_if_there(service)
    sweeper = Sweeper(store, clock, service.lifetimes)
    sizes = []
    while size := await sweeper.sweep():
        sizes.append(size)
    assert max(sizes) == rules.AT_ONCE
    assert sum(sizes) == 10_000
    assert store.holdings.streams == 0


async def read_if_there(service: Service) -> None:
    """Delete "a", whose life is over, by asking for it."""
    with pytest.raises(StreamNotFound):
        await read(service)

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs
from tests.unit.stores import TestStore, created

from loom.errors import Busy, LoomError, StoreStopped, VersionMismatch
from loom.jobs.sweeper import INTERVAL, Sweeper
from loom.model import Info, NewStream, Patch, Query, State
from loom.testing.tools import ManualClock


class Naps:
    """A sleep that the test ends."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.over = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self.over.acquire()


class FailingStore(TestStore):
    """`due` and `change` fail once for each error given. `meanwhile` runs after `due` has listed streams."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.due_errors: list[Exception] = []
        self.due_at_once = 100
        self.after_due: Callable[[], Awaitable[object]] | None = None
        self.change_errors: list[Exception] = []
        self.delete_errors: list[Exception] = []
        self.after_expired: Callable[[], Awaitable[object]] | None = None

    async def expired(self, now: float) -> list[Info]:
        infos = await super().expired(now)
        if self.after_expired:
            await self.after_expired()
        return infos

    async def delete(self, key: str) -> None:
        if self.delete_errors:
            raise self.delete_errors.pop()
        await super().delete(key)

    async def due(self, now: float) -> list[Info]:
        if self.due_errors:
            raise self.due_errors.pop()
        infos = await super().due(now)
        if self.after_due:
            await self.after_due()
        return infos[: self.due_at_once]

    async def change(self, key: str, patch: Patch, *, version: int) -> Info:
        if self.change_errors:
            raise self.change_errors.pop()
        return await super().change(key, patch, version=version)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000.0)


@pytest.fixture
async def store(clock: ManualClock) -> FailingStore:
    return FailingStore(clock)


async def left(store: TestStore, clock: ManualClock, id: str, state: State, window: float = 30) -> None:
    """Create a stream without a producer, with a deadline."""
    writer = await created(store, id, b"kept")
    await writer.close(Patch(state=state, deadline=clock.time + window))


@pytest.mark.parametrize(
    ("state", "reason"), [(State.INTERRUPTED, "resume window expired"), (State.OPEN, "no producer came")]
)
async def test_stream_past_its_deadline_is_aborted(
    store: FailingStore, clock: ManualClock, state: State, reason: str
):
    await left(store, clock, "a", state)
    sweeper = Sweeper(store, clock)
    clock.time += 29.9
    assert await sweeper.sweep() == 0
    assert (await store.info("a")).state is state
    clock.time += 0.1
    assert await sweeper.sweep() == 1
    info = await store.info("a")
    assert (info.state, info.size, info.deadline) == (State.ABORTED, 4, None)
    assert reason in info.reason
    assert await sweeper.sweep() == 0


@pytest.mark.parametrize("error", [VersionMismatch("Changed."), Busy("Too many open files.")])
async def test_a_stream_that_cannot_be_aborted_does_not_block_others(
    store: FailingStore, clock: ManualClock, error: LoomError
):
    for id in "ab":
        await left(store, clock, id, State.INTERRUPTED)
    clock.time += 30
    store.change_errors = [error]
    with capture_logs():
        assert await Sweeper(store, clock).sweep() == 1
    assert sorted([(await store.info(id)).state for id in "ab"]) == [State.ABORTED, State.INTERRUPTED]


async def test_producer_that_resumes_during_a_sweep_wins(store: FailingStore, clock: ManualClock):
    await left(store, clock, "a", State.INTERRUPTED)
    key = (await store.info("a")).key
    clock.time += 30
    store.after_due = lambda: store.resume(key, 4)
    assert await Sweeper(store, clock).sweep() == 0
    assert (await store.info("a")).state is State.LIVE


async def test_the_sweeper_does_not_sleep_while_streams_are_due(store: FailingStore, clock: ManualClock):
    for id in "abc":
        await left(store, clock, id, State.INTERRUPTED)
    clock.time += 30
    store.due_at_once = 1
    naps = Naps()
    running = asyncio.create_task(Sweeper(store, clock, sleep=naps).run())
    await naps.asked.get()
    assert [(await store.info(id)).state for id in "abc"] == [State.ABORTED] * 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_sweeper_runs_every_second_and_survives_errors(store: FailingStore, clock: ManualClock):
    await left(store, clock, "a", State.INTERRUPTED)
    naps = Naps()
    running = asyncio.create_task(Sweeper(store, clock, sleep=naps).run())
    assert await naps.asked.get() == INTERVAL
    clock.time += 30
    store.due_errors = [RuntimeError("a bug"), Busy("Too many open files.")]
    store.change_errors = [Busy("Too many open files.")]
    with capture_logs() as logged:
        for _ in range(3):  # each sweep meets one error
            naps.over.release()
            await naps.asked.get()
            assert (await store.info("a")).state is State.INTERRUPTED
    assert len(logged) == 3
    naps.over.release()
    await naps.asked.get()
    assert (await store.info("a")).state is State.ABORTED
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_sweeper_stops_with_the_store(store: FailingStore, clock: ManualClock):
    naps = Naps()
    running = asyncio.create_task(Sweeper(store, clock, sleep=naps).run())
    await naps.asked.get()
    store.fail("the disk is gone")
    naps.over.release()
    await running


async def test_store_that_stops_in_the_middle_of_a_sweep_ends_it(store: FailingStore, clock: ManualClock):
    await left(store, clock, "a", State.INTERRUPTED)
    clock.time += 30
    store.change_errors = [StoreStopped("The disk is gone.")]
    await Sweeper(store, clock, sleep=Naps()).run()


async def expiring(store: TestStore, id: str, state: State | None = State.COMPLETE) -> None:
    """Create a stream that expires in a minute, ended or not."""
    writer = await store.create(NewStream(id=id, expires=1_000_060.0))
    if state:
        await writer.close(Patch(state=state, deadline=None if state.final else 1_000_100.0))


async def ids(store: TestStore) -> list[str]:
    return sorted([info.id async for info in store.find(Query())])


async def test_only_a_final_stream_that_has_expired_is_deleted(store: FailingStore, clock: ManualClock):
    for state in (None, *State):
        if state is not State.LIVE:
            await expiring(store, state or "live", state)
    sweeper = Sweeper(store, clock)
    clock.time += 59.9
    assert await sweeper.sweep() == 0
    clock.time += 0.1
    with capture_logs():
        assert await sweeper.sweep() == 2
    assert await ids(store) == ["interrupted", "live", "open"]
    clock.time += 40
    with capture_logs():
        assert await sweeper.sweep() == 4  # aborted first, which makes it final
    assert await ids(store) == ["live"]


async def test_a_stream_that_replaces_an_expired_one_meanwhile_stays(store: FailingStore, clock: ManualClock):
    await expiring(store, "a")
    clock.time += 60
    store.after_expired = lambda: store.create(NewStream(id="a"), replace=True)
    assert await Sweeper(store, clock).sweep() == 0
    assert (await store.info("a")).state is State.LIVE


async def test_a_stream_that_cannot_be_deleted_is_retried_and_does_not_block_others(
    store: FailingStore, clock: ManualClock
):
    for id in "ab":
        await expiring(store, id)
    clock.time += 60
    store.delete_errors = [Busy("Too many open files.")]
    with capture_logs() as logged:
        assert await Sweeper(store, clock).sweep() == 1
        assert len(await ids(store)) == 1
        assert await Sweeper(store, clock).sweep() == 1
    assert await ids(store) == []
    assert [line["log_level"] for line in logged] == ["warning", "info", "info"]


async def test_a_store_that_stops_while_streams_expire_ends_it(store: FailingStore, clock: ManualClock):
    await expiring(store, "a")
    clock.time += 60
    store.delete_errors = [StoreStopped("The disk is gone.")]
    await Sweeper(store, clock, sleep=Naps()).run()

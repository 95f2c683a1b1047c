"""Webhooks against a real listener, on the memory store."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from loom.jobs.webhooks import GIVE_UP, Hook, Webhooks
from loom.model import NewStream, Patch, State
from loom.store.memory import MemoryStore
from loom.testing.tools import ManualClock
from loom.wire.rows import encode_row

SECRET = b"between us"


class Peer:
    """Answers as told, in the end with 204, and keeps what was taken."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.refused: asyncio.Queue[bytes] = asyncio.Queue()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.answers:
            self.refused.put_nowait(body)
            return web.Response(status=self.answers.pop(0))
        self.taken.put_nowait(({name.lower(): value for name, value in request.headers.items()}, body))
        return web.Response(status=204)

    async def told(self) -> str:
        """The id of the next stream it was told of."""
        _, body = await self.taken.get()
        return str(json.loads(body)["data"]["id"])


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    app = web.Application()
    app.router.add_post("/hook", peer.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield peer
    await runner.cleanup()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000.0)


@pytest.fixture
async def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


class Sleeper:
    """A sleep that takes no time but a turn, and passes what the clock is told to."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.pass_time = False
        self._slept = asyncio.Condition()

    async def __call__(self, seconds: float) -> None:
        if self.pass_time:
            self.clock.time += seconds
        async with self._slept:
            self._slept.notify_all()
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._slept:
            await self._slept.wait_for(condition)


@asynccontextmanager
async def telling(
    store: MemoryStore,
    clock: ManualClock,
    *hooks: Hook,
    path: Path | None = None,
    sleep: Sleeper | None = None,
) -> AsyncIterator[None]:
    task = asyncio.create_task(
        Webhooks(store, hooks, encode_row, path, clock, sleep=sleep or Sleeper(clock)).run()
    )
    await asyncio.sleep(0.01)  # the watch stands after its first turns
    yield
    task.cancel()
    await asyncio.wait({task})


async def end(store: MemoryStore, clock: ManualClock, id: str, state: State = State.COMPLETE) -> None:
    clock.time += 1
    writer = await store.create(NewStream(id=id, metadata='{"job": 7}'))
    writer.append(b"bytes")
    await writer.close(Patch(state=state, reason="" if state is State.COMPLETE else "why"))


async def test_an_end_is_told_signed(store: MemoryStore, clock: ManualClock, peer: Peer):
    async with telling(store, clock, Hook(peer.url, secret=SECRET)):
        await end(store, clock, "a")
        headers, body = await peer.taken.get()
    event = json.loads(body)
    assert event["type"] == "stream.complete"
    assert (event["data"]["id"], event["data"]["size"], event["data"]["metadata"]) == ("a", 5, {"job": 7})
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_each_hook_is_told_of_its_prefix(store: MemoryStore, clock: ManualClock, peer: Peer):
    async with telling(store, clock, Hook(peer.url, prefix="build/")):
        await end(store, clock, "other")
        await end(store, clock, "build/1", State.ABORTED)
        headers, body = await peer.taken.get()
    assert json.loads(body)["data"]["id"] == "build/1"
    assert json.loads(body)["type"] == "stream.aborted"
    assert "webhook-signature" not in headers


async def test_what_is_not_taken_is_told_again(store: MemoryStore, clock: ManualClock, peer: Peer):
    peer.answers = [500, 302, 404, 429]
    async with telling(store, clock, Hook(peer.url)):
        await end(store, clock, "a")
        headers, body = await peer.taken.get()
    assert [await peer.refused.get() for _ in range(4)] == [body] * 4
    assert headers["webhook-id"].endswith(".complete")


async def test_after_a_day_an_end_is_given_up(store: MemoryStore, clock: ManualClock, peer: Peer):
    peer.answers = [500] * 200
    begun = clock.time
    sleep = Sleeper(clock)
    sleep.pass_time = True
    with capture_logs() as logs:
        async with telling(store, clock, Hook(peer.url), sleep=sleep):
            await end(store, clock, "a")
            await sleep.until(
                lambda: any(
                    line["event"] == "A webhook was given up after a day of retries." for line in logs
                )
            )
    assert clock.time - begun > GIVE_UP
    assert peer.taken.empty()


async def test_what_was_not_told_before_a_stop_is_told_after_it_and_nothing_else(
    store: MemoryStore, clock: ManualClock, peer: Peer, tmp_path: Path
):
    path = tmp_path / "webhooks.json"
    hook = Hook(peer.url)
    await end(store, clock, "before the first start")
    sleep = Sleeper(clock)
    async with telling(store, clock, hook, path=path, sleep=sleep):
        await end(store, clock, "told")
        assert await peer.told() == "told"
        await sleep.until(lambda: path.exists() and json.loads(path.read_bytes())["told_until"] == clock.time)
        peer.answers = [500] * 1_000_000
        await end(store, clock, "refused")
        await peer.refused.get()
        await end(store, clock, "refused too")
    await end(store, clock, "meanwhile")
    peer.answers = []
    async with telling(store, clock, hook, path=path):
        told = {await peer.told() for _ in range(3)}
        await end(store, clock, "last")
        assert await peer.told() == "last"
    assert told == {"refused", "refused too", "meanwhile"}


async def test_more_ends_than_memory_may_hold_are_all_told(
    store: MemoryStore, clock: ManualClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("loom.jobs.webhooks.QUEUED", 2)
    async with telling(store, clock, Hook(peer.url)):
        for number in range(9):
            await end(store, clock, str(number))
        assert sorted([await peer.told() for _ in range(9)]) == [str(number) for number in range(9)]

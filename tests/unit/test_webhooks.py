"""Webhooks against a real listener, on the memory store."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientTimeout, web
from structlog.testing import capture_logs

from loom.jobs.webhooks import GIVE_UP, SAVE_INTERVAL, Hook, Webhooks
from loom.model import Info, NewStream, Patch, Query, State
from loom.store.memory import MemoryStore
from loom.testing.tools import ManualClock

SECRET = b"between us"


class Peer:
    """A receiver that answers with the given statuses, then with 204, and keeps accepted deliveries."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.refused: asyncio.Queue[bytes] = asyncio.Queue()
        self.url = ""
        self.redirected = False
        self.held: asyncio.Event | None = None
        """Holds up the response to the next request."""

    async def redirect(self, request: web.Request) -> web.Response:
        self.redirected = True
        return web.Response(status=204)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if (held := self.held) is not None:
            self.held = None
            await held.wait()
            return web.Response(status=204)  # the sender has given up
        if self.answers:
            self.refused.put_nowait(body)
            return web.Response(status=self.answers.pop(0), headers={"Location": "/elsewhere"})
        self.taken.put_nowait(({name.lower(): value for name, value in request.headers.items()}, body))
        return web.Response(status=204)

    async def received(self) -> str:
        """Wait for the next delivery; return the id of its stream."""
        _, body = await self.taken.get()
        return str(json.loads(body)["data"]["id"])


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    app = web.Application()
    app.router.add_post("/hook", peer.receive)
    app.router.add_route("*", "/elsewhere", peer.redirect)
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
    """A sleep of one iteration of the event loop, which sets the clock forward."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.pass_time = False
        self.forever = False
        self.rounds = 0
        self.called = False
        self._slept = asyncio.Condition()

    async def __call__(self, seconds: float) -> None:
        self.called = True
        self.rounds += seconds == SAVE_INTERVAL
        if self.pass_time:
            self.clock.time += seconds
        async with self._slept:
            self._slept.notify_all()
        if self.forever:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._slept:
            await self._slept.wait_for(condition)


@asynccontextmanager
async def delivering(
    store: MemoryStore,
    clock: ManualClock,
    *hooks: Hook,
    path: Path | None = None,
    sleep: Sleeper | None = None,
) -> AsyncIterator[None]:
    sleep = sleep or Sleeper(clock)
    task = asyncio.create_task(Webhooks(store, hooks, path, clock, sleep=sleep).run())
    await sleep.until(lambda: sleep.called)  # it has subscribed and caught up by then
    yield
    task.cancel()
    await asyncio.wait({task})


async def end(store: MemoryStore, clock: ManualClock, id: str, state: State = State.COMPLETE) -> None:
    clock.time += 1
    writer = await store.create(NewStream(id=id, metadata='{"job": 7}'))
    writer.append(b"bytes")
    await writer.close(Patch(state=state, reason="" if state is State.COMPLETE else "why"))


async def test_an_end_is_delivered_and_signed(store: MemoryStore, clock: ManualClock, peer: Peer):
    async with delivering(store, clock, Hook(peer.url, secret=SECRET)):
        await end(store, clock, "a")
        headers, body = await peer.taken.get()
    event = json.loads(body)
    assert event["type"] == "stream.complete"
    assert (event["data"]["id"], event["data"]["size"], event["data"]["metadata"]) == ("a", 5, {"job": 7})
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_each_hook_receives_streams_of_its_prefix(store: MemoryStore, clock: ManualClock, peer: Peer):
    async with delivering(store, clock, Hook(peer.url, prefix="build/")):
        await end(store, clock, "other")
        await end(store, clock, "build/1", State.ABORTED)
        headers, body = await peer.taken.get()
    assert json.loads(body)["data"]["id"] == "build/1"
    assert json.loads(body)["type"] == "stream.aborted"
    assert "webhook-signature" not in headers


async def test_a_failed_delivery_is_retried(store: MemoryStore, clock: ManualClock, peer: Peer):
    peer.answers = [500, 302, 307, 308, 404, 429]
    async with delivering(store, clock, Hook(peer.url)):
        await end(store, clock, "a")
        headers, body = await peer.taken.get()
    assert [await peer.refused.get() for _ in range(6)] == [body] * 6
    assert not peer.redirected
    assert headers["webhook-id"].endswith(".complete")


async def test_a_receiver_that_does_not_answer_is_tried_again(
    store: MemoryStore, clock: ManualClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("loom.jobs.webhooks.TIMEOUT", ClientTimeout(total=0.5))
    held = peer.held = asyncio.Event()
    async with delivering(store, clock, Hook(peer.url)):
        await end(store, clock, "a")
        assert await peer.received() == "a"
    held.set()


async def test_after_a_day_an_end_is_given_up(store: MemoryStore, clock: ManualClock, peer: Peer):
    peer.answers = [500] * 200
    begun = clock.time
    sleep = Sleeper(clock)
    sleep.pass_time = True
    with capture_logs() as logs:
        async with delivering(store, clock, Hook(peer.url), sleep=sleep):
            await end(store, clock, "a")
            await sleep.until(
                lambda: any(
                    line["event"] == "A webhook was given up after a day of retries." for line in logs
                )
            )
    assert clock.time - begun > GIVE_UP
    assert peer.taken.empty()


async def test_only_undelivered_ends_are_delivered_after_a_restart(
    store: MemoryStore, clock: ManualClock, peer: Peer, tmp_path: Path
):
    path = tmp_path / "webhooks.json"
    hook = Hook(peer.url)
    await end(store, clock, "before the first start")
    sleep = Sleeper(clock)
    async with delivering(store, clock, hook, path=path, sleep=sleep):
        await end(store, clock, "delivered")
        assert await peer.received() == "delivered"
        await sleep.until(lambda: path.exists() and json.loads(path.read_bytes())["told_until"] == clock.time)
        peer.answers = [500] * 1_000_000
        await end(store, clock, "refused")
        await peer.refused.get()
        await end(store, clock, "refused too")
        await peer.refused.get()
        rounds = sleep.rounds
        await sleep.until(lambda: sleep.rounds >= rounds + 2)  # the time was stored since
    await end(store, clock, "meanwhile")
    peer.answers = []
    async with delivering(store, clock, hook, path=path):
        received = {await peer.received() for _ in range(3)}
        await end(store, clock, "last")
        assert await peer.received() == "last"
    assert received == {"refused", "refused too", "meanwhile"}


async def test_more_ends_than_memory_may_hold_are_all_delivered(
    store: MemoryStore, clock: ManualClock, peer: Peer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("loom.jobs.webhooks.QUEUED", 2)
    async with delivering(store, clock, Hook(peer.url)):
        # The first delivery lasts until all have ended, so that they cannot fit.
        held = peer.held = asyncio.Event()
        await end(store, clock, "first")
        for number in range(9):
            await end(store, clock, str(number))
        held.set()
        assert sorted([await peer.received() for _ in range(9)]) == [str(number) for number in range(9)]


async def test_ends_that_did_not_fit_are_delivered_after_a_restart(
    store: MemoryStore, clock: ManualClock, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("loom.jobs.webhooks.QUEUED", 2)
    path = tmp_path / "webhooks.json"
    await asyncio.to_thread(path.write_text, '{"told_until": 0}')
    for id in ("other/1", "other/2", "other/3", "build/1"):
        await end(store, clock, id)
    hook = Hook(peer.url, prefix="build/")
    sleep = Sleeper(clock)
    sleep.forever = True
    async with delivering(store, clock, hook, path=path, sleep=sleep):
        pass  # stopped after the time was stored, before it looked again
    assert peer.taken.empty()
    async with delivering(store, clock, hook, path=path):
        assert await peer.received() == "build/1"


async def test_the_time_is_flushed_before_it_replaces_the_one_before(
    store: MemoryStore, clock: ManualClock, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "webhooks.json"
    calls: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def flushed(fd: int) -> None:
        calls.append(("flush", Path(f"/proc/self/fd/{fd}").read_text()))
        sync(fd)

    def replaced(old: Path, new: Path) -> None:
        calls.append(("replace", old.read_text()))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    async with delivering(store, clock, Hook(peer.url), path=path):
        pass
    text = await asyncio.to_thread(path.read_text)
    assert json.loads(text) == {"told_until": clock.time}
    assert calls == [("flush", text), ("replace", text)]


async def test_an_end_during_the_catching_up_is_queued_once(
    store: MemoryStore, clock: ManualClock, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "webhooks.json").write_text('{"told_until": 0}')
    find = store.find

    async def end_one_and_find(query: Query) -> AsyncIterator[Info]:
        await end(store, clock, "a")
        async for info in find(query):
            yield info

    monkeypatch.setattr(store, "find", end_one_and_find)
    peer.answers = [503]
    async with delivering(store, clock, Hook(peer.url), path=tmp_path / "webhooks.json"):
        assert await peer.received() == "a"
        await end(store, clock, "b")
        assert await peer.received() == "b"
    assert (peer.refused.qsize(), peer.taken.qsize()) == (1, 0)

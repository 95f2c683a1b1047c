"""Tells others that a stream has ended: signed, until they have taken it, each at least once.

Signed as Standard Webhooks has it (version 1): `webhook-id`, `webhook-timestamp`, and in `webhook-signature`
the HMAC-SHA256 of `<id>.<timestamp>.<body>`. What is still to be told is known from the store alone: a file
holds the time up to which every end was told, so neither a crash nor a peer that is down for hours loses one;
an end may be told twice. Knows the store by its contract, and no request.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import math
import os
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import structlog

from loom.errors import StoreStopped
from loom.model import FINAL_STATES, Change, ChangeKind, Clock, Info, Query
from loom.store.base import Store

logger = structlog.get_logger("loom")

AT_ONCE = 8
"""Deliveries under way to one hook."""
QUEUED = 10_000
"""Deliveries held in memory; what is beyond is looked up again when these are through."""
FIRST_DELAY, LONGEST_DELAY, GIVE_UP = 2.0, 3600.0, 86400.0
"""Seconds: before the second attempt, between two, and until an end is told no more."""
TIMEOUT = aiohttp.ClientTimeout(total=15)
SAVE_INTERVAL = 1.0
JUST_BEFORE = 1e-6
"""Seconds; less than between two times of a clock."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Whom to tell of the streams whose id begins with `prefix`; without a `secret` unsigned."""

    url: str
    prefix: str = ""
    secret: bytes = field(default=b"", repr=False)


class Webhooks:
    """One task for all hooks. `tell` gives a stream as JSON, `path` keeps how far all was told (None:
    nowhere), `sleep` waits."""

    def __init__(
        self,
        store: Store,
        hooks: Iterable[Hook],
        tell: Callable[[Info], str],
        path: Path | None,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._hooks = {hook: asyncio.Semaphore(AT_ONCE) for hook in hooks}
        self._tell = tell
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._pending: dict[tuple[Hook, str], float] = {}
        """When what is still to be told ended."""
        self._told = clock()
        """The latest end seen."""
        self._missed = math.inf
        """The earliest end that found no place in `_pending`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._saved = math.nan

    async def run(self) -> None:
        """Tell of every end, until cancelled."""
        if not self._hooks:
            return
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=False) as self._http:
            watching = self._store.watch(self._changed)
            try:
                await self._catch_up(await asyncio.to_thread(self._load))
                while True:
                    await asyncio.to_thread(self._save, self._until())
                    await self._sleep(SAVE_INTERVAL)
                    if self._missed < math.inf and not self._pending:
                        since, self._missed = self._missed - JUST_BEFORE, math.inf
                        await self._catch_up(since)
            except StoreStopped:
                return
            finally:
                watching.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _catch_up(self, since: float) -> None:
        """Queue what ended after `since`, the earliest first. Looks at every final stream: once a start."""
        found: list[Info] = []
        async for info in self._store.find(Query(states=FINAL_STATES)):
            if _ended(info) > since:
                found.append(info)
            if len(found) >= 2 * QUEUED:
                found.sort(key=_ended)
                self._missed = min(self._missed, _ended(found[QUEUED]))
                del found[QUEUED:]
        for info in sorted(found, key=_ended):
            self._queue(info)

    def _changed(self, change: Change) -> None:
        if change.kind is ChangeKind.CLOSED:
            self._queue(change.info)

    def _queue(self, info: Info) -> None:
        ended = _ended(info)
        self._told = max(self._told, ended)
        for hook in self._hooks:
            if not info.id.startswith(hook.prefix) or (hook, info.key) in self._pending:
                continue
            if len(self._pending) >= QUEUED or ended > self._missed:
                self._missed = min(self._missed, ended)
                continue
            self._pending[hook, info.key] = ended
            task = asyncio.create_task(self._deliver(hook, info))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook, info: Info) -> None:
        """Tell one hook of one end, however often it takes. A cancelled delivery stays to be made."""
        event = f'{{"type": "stream.{info.state}", "data": {self._tell(info)}}}\n'.encode()
        delay, begun = FIRST_DELAY, self._clock()
        while not await self._taken(hook, info, event):
            if self._clock() - begun > GIVE_UP:
                logger.error("a webhook is given up", url=hook.url, stream=info.id)
                break
            await self._sleep(random.uniform(delay / 2, delay))
            delay = min(2 * delay, LONGEST_DELAY)
        del self._pending[hook, info.key]

    async def _taken(self, hook: Hook, info: Info, event: bytes) -> bool:
        headers = {"Content-Type": "application/json"}
        headers |= signature(hook.secret, f"{info.key}.{info.state}", int(self._clock()), event)
        try:
            async with (
                self._hooks[hook],
                self._http.post(hook.url, data=event, headers=headers, allow_redirects=False) as answer,
            ):
                if 200 <= answer.status < 300:
                    return True
                why = f"it answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or "it did not answer in time"
        logger.warning("a webhook was not taken", url=hook.url, stream=info.id, reason=why)
        return False

    def _until(self) -> float:
        """The time up to which every end was told."""
        first = min(self._pending.values(), default=math.inf)
        return min(self._told, first - JUST_BEFORE, self._missed - JUST_BEFORE)

    def _load(self) -> float:
        """The time that was kept, at the first start the present."""
        with suppress(FileNotFoundError):
            if self._path is not None:
                self._saved = float(json.loads(self._path.read_bytes())["told_until"])
                return self._saved
        return self._told

    def _save(self, until: float) -> None:
        """Keep the time, there as a whole or not at all."""
        if self._path is None or until == self._saved:
            return
        draft = self._path.with_suffix(".new")
        try:
            with open(draft, "w", encoding="ascii") as file:
                json.dump({"told_until": until}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._path)
            self._saved = until
        except OSError as error:
            logger.warning("how far webhooks were told is not kept", reason=error.strerror)


def _ended(info: Info) -> float:
    return info.ended or 0.0


def signature(secret: bytes, id: str, now: int, body: bytes) -> dict[str, str]:
    """The headers that identify and, with a secret, sign a delivery."""
    headers = {"webhook-id": id, "webhook-timestamp": str(now)}
    if secret:
        signed = hmac.digest(secret, f"{id}.{now}.".encode() + body, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers

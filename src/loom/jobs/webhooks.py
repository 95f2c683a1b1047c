"""Send a signed POST to configured URLs whenever a stream ends, at least once each.

Signatures follow Standard Webhooks (version 1): `webhook-id`, `webhook-timestamp`, and in `webhook-signature`
the HMAC-SHA256 of `<id>.<timestamp>.<body>`. No queue is stored: a file holds the time up to which every end
was delivered, and after a restart the store lists what ended later. So neither a crash nor a receiver that is
down for hours loses an end, but one may be sent twice. Knows the store by its contract; nothing of our HTTP
server.
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
from urllib.parse import urlsplit

import aiohttp
import structlog

from loom.errors import StoreStopped
from loom.model import FINAL_STATES, Change, ChangeKind, Clock, Info, Query
from loom.store.base import Store
from loom.wire.media import JSON
from loom.wire.rows import encode_row

logger = structlog.get_logger("loom")

AT_ONCE = 8
"""Concurrent deliveries to one hook."""
QUEUED = 10_000
"""The most deliveries held in memory. Further ends are looked up in the store once these are delivered."""
FIRST_DELAY, LONGEST_DELAY, GIVE_UP = 2.0, 3600.0, 86400.0
"""Seconds before the first retry, between two retries at most, and until a delivery is given up."""
TIMEOUT = aiohttp.ClientTimeout(total=15)
SAVE_INTERVAL = 1.0
JUST_BEFORE = 1e-6
"""Seconds; less than the difference between any two ends."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver for streams whose id begins with `prefix`. Without a `secret`, deliveries are unsigned."""

    url: str
    prefix: str = ""
    secret: bytes = field(default=b"", repr=False)

    @property
    def shown(self) -> str:
        """The URL as the log shows it: its path and its user often are a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def without_url(self, text: str) -> str:
        """Return `text`, which may quote the URL, as the log shows it."""
        return text.replace(self.url, self.shown)


class Webhooks:
    """One task for all hooks. `path` is the file with the time up to which every end was delivered; with None
    nothing is stored. `sleep` waits.
    """

    def __init__(
        self,
        store: Store,
        hooks: Iterable[Hook],
        path: Path | None,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._hooks = {hook: asyncio.Semaphore(AT_ONCE) for hook in hooks}
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._pending: dict[tuple[Hook, str], float] = {}
        """The end times of the deliveries that are still to be made."""
        self._latest = clock()
        """The latest end seen."""
        self._missed = math.inf
        """The earliest end time that did not fit into `_pending`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._saved = math.nan

    async def run(self) -> None:
        """Deliver every end, until cancelled or the store has stopped."""
        if not self._hooks:
            return
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=False) as self._http:
            # Watch before catching up, so that no end is missed. An end that both see is queued once.
            watching = self._store.watch(self._on_change)
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
        """Queue the streams that ended after `since`, the earliest first. Lists every final stream."""
        found: list[Info] = []
        async for info in self._store.find(Query(states=FINAL_STATES)):
            if _ended(info) > since:
                found.append(info)
            # Memory is bounded: keep the earliest, and note from where to look again.
            if len(found) >= 2 * QUEUED:
                found.sort(key=_ended)
                self._missed = min(self._missed, _ended(found[QUEUED]))
                del found[QUEUED:]
        for info in sorted(found, key=_ended):
            self._queue(info)

    def _on_change(self, change: Change) -> None:
        if change.kind is ChangeKind.CLOSED:
            self._queue(change.info)

    def _queue(self, info: Info) -> None:
        ended = _ended(info)
        self._latest = max(self._latest, ended)
        for hook in self._hooks:
            if not info.id.startswith(hook.prefix) or (hook, info.key) in self._pending:
                continue
            # Once an end did not fit, later ones must wait too: `_until` can express one gap only.
            if len(self._pending) >= QUEUED or ended > self._missed:
                self._missed = min(self._missed, ended)
                continue
            self._pending[hook, info.key] = ended
            task = asyncio.create_task(self._deliver(hook, info))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook, info: Info) -> None:
        """Deliver one end to one hook, with retries. A cancelled delivery is made after the next start."""
        event = f'{{"type": "stream.{info.state}", "data": {encode_row(info)}}}\n'.encode()
        delay, begun = FIRST_DELAY, self._clock()
        while not await self._post(hook, info, event):
            if self._clock() - begun > GIVE_UP:
                logger.error("A webhook was given up after a day of retries.", url=hook.shown, stream=info.id)
                break
            await self._sleep(random.uniform(delay / 2, delay))
            delay = min(2 * delay, LONGEST_DELAY)
        del self._pending[hook, info.key]

    async def _post(self, hook: Hook, info: Info, event: bytes) -> bool:
        """Send the event once; return True if the receiver answered with 2xx."""
        headers = {"Content-Type": JSON}
        headers |= signature(hook.secret, f"{info.key}.{info.state}", int(self._clock()), event)
        try:
            async with (
                self._hooks[hook],
                self._http.post(hook.url, data=event, headers=headers, allow_redirects=False) as response,
            ):
                if 200 <= response.status < 300:
                    return True
                reason = f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = hook.without_url(str(error)) or "no response in time"
        logger.warning(
            "A webhook was not delivered; it will be retried.", url=hook.shown, stream=info.id, reason=reason
        )
        return False

    def _until(self) -> float:
        """Return the time up to which every end was delivered."""
        first = min(self._pending.values(), default=math.inf)
        return min(self._latest, first - JUST_BEFORE, self._missed - JUST_BEFORE)

    def _load(self) -> float:
        """Return the stored time; at the first start, the current time."""
        with suppress(FileNotFoundError):
            if self._path is not None:
                self._saved = float(json.loads(self._path.read_bytes())["told_until"])
                return self._saved
        return self._latest

    def _save(self, until: float) -> None:
        """Store the time, atomically."""
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
            logger.warning(
                "The progress of webhooks could not be stored; some may be sent again after a restart.",
                reason=error.strerror,
            )


def _ended(info: Info) -> float:
    return info.ended or 0.0


def signature(secret: bytes, id: str, now: int, body: bytes) -> dict[str, str]:
    """Return the headers that identify a delivery and, with a secret, sign it."""
    headers = {"webhook-id": id, "webhook-timestamp": str(now)}
    if secret:
        signed = hmac.digest(secret, f"{id}.{now}.".encode() + body, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers

"""Keep a response in events alive while it is silent, and spread reconnects when the server stops."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from loom.wire.sse import HEARTBEAT, encode_retry

INTERVAL = 15.0
"""Seconds of silence after which a heartbeat is sent: less than the timeout of any common proxy."""
_RECONNECT = 1000, 4000
"""Milliseconds, from and to."""

T = TypeVar("T")


async def with_heartbeat(
    events: AsyncGenerator[T, None], interval: float, beat: Callable[[], bytes] = lambda: HEARTBEAT
) -> AsyncGenerator[T | bytes, None]:
    """Pass events on, and send what `beat` returns after each `interval` seconds of silence."""
    waiting: asyncio.Future[T | None] | None = None
    async with aclosing(events):
        try:
            while True:
                # The same wait is kept over heartbeats: cancelling it would close the generator.
                waiting = waiting or asyncio.ensure_future(_next(events))
                await asyncio.wait({waiting}, timeout=interval)
                if not waiting.done():
                    yield beat()
                    continue
                event = waiting.result()
                waiting = None
                if event is None:
                    return
                yield event
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)


def reconnect_later() -> bytes:
    """Encode a random delay for reconnects, so that the clients of a stopping server spread out."""
    return encode_retry(random.randint(*_RECONNECT))


async def _next(events: AsyncGenerator[T, None]) -> T | None:
    return await anext(events, None)

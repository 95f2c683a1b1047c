"""Collects garbage seldom: the event loop stands still meanwhile, a second with thousands of clients.

Python would examine all objects whenever a quarter of them is new, as in each burst of connections. Reference
counts free nearly all of ours, and the collections of young objects find most of the rest.
"""

import asyncio
import gc
import time
from collections.abc import Callable

LEAST = 600.0
"""Seconds between two collections of all objects, at least."""
SHARE = 1 / 1000
"""The part of all time that such collections may take."""

NEVER = (1 << 31) - 1


def collect_only_young() -> None:
    """Let Python collect objects that are young; those that exist now are never examined again."""
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)


async def collect_seldom(
    collect: Callable[[], object] = gc.collect, *, least: float = LEAST, share: float = SHARE
) -> None:
    """Collect all objects at intervals in proportion to the time that it takes, until cancelled."""
    pause = least
    while True:
        await asyncio.sleep(pause)
        began = time.perf_counter()
        collect()
        pause = max(least, (time.perf_counter() - began) / share)

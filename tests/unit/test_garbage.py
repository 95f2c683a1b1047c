import asyncio
import gc
import time
from collections.abc import Iterator

import pytest

from loom.cli.garbage import collect_only_young, collect_seldom


@pytest.fixture
def restored() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def full_collections() -> int:
    return int(gc.get_stats()[2]["collections"])


@pytest.mark.usefixtures("restored")
def test_a_burst_of_objects_makes_python_examine_no_old_ones():
    collect_only_young()
    before = full_collections()
    burst = [[number] for number in range(300_000)]
    assert full_collections() == before
    assert len(burst) == 300_000


async def test_collections_take_a_small_part_of_the_time():
    began, done = [], asyncio.Event()

    def collect() -> None:
        began.append(time.monotonic())
        while time.monotonic() < began[-1] + 0.004:
            pass
        if len(began) == 3:
            done.set()

    collecting = asyncio.create_task(collect_seldom(collect, least=0, share=0.1))
    await done.wait()
    collecting.cancel()
    assert began[1] - began[0] >= 0.04
    assert began[2] - began[1] >= 0.04

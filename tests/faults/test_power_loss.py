"""Power losses of real file systems: ext4 and XFS are shut down without their journals, again and again,
under the server as users run it. Everything reported before the loss is true after it.
"""

import asyncio

import pytest
from tests.faults.child import lying
from tests.faults.conftest import rounds, within
from tests.faults.life import Life
from tests.support.server import tell

CRASHES = 25
SOON = 8
"""Crashes within which a broken promise has to be found."""


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@within(CRASHES)
async def test_what_was_reported_is_true_after_every_power_loss(kind, volume_of, run, seed):
    life = Life(await asyncio.to_thread(volume_of, kind), run, seed)
    await life.crashes(rounds(CRASHES))
    tell(f"{kind}, seed {seed}: {life.world}")
    assert life.world.seen["complete"] > rounds(CRASHES)


@within(SOON)
async def test_power_losses_find_acknowledgements_that_did_not_wait_for_the_disk(volume_of, run, seed):
    life = Life(await asyncio.to_thread(volume_of, "ext4"), run, seed, durability="os")
    with pytest.raises(AssertionError):
        await life.crashes(SOON)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("prefix", ["log/", "content/"])
@within(SOON)
async def test_power_losses_find_a_flush_that_is_left_out(kind, prefix, volume_of, run, seed):
    life = Life(await asyncio.to_thread(volume_of, kind), run, seed, program=lying(prefix))
    with pytest.raises(AssertionError):
        await life.crashes(SOON)

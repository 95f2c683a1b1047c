"""How much a store says it holds: counted with every byte and every stream that comes and goes."""

import pytest
from tests.contract.conftest import Reopening
from tests.contract.tools import COMPLETE, INTERRUPTED, stream

from loom.model import NewStream
from loom.store.base import Store


async def test_bytes_count_from_when_they_are_accepted_until_the_stream_goes(store: Store):
    assert (store.size, store.full) == (0, False)
    writer = await store.create(NewStream(id="a"))
    for size in (1, 70_000, 300_000):
        before = store.size
        writer.append(b"x" * size)
        assert store.size == before + size
    await writer.wait_durable(370_001)
    await writer.close(COMPLETE)
    assert store.size == 370_001
    await stream(store, "b", b"12345")
    assert store.size == 370_006
    await store.create(NewStream(id="a"), replace=True)
    assert store.size == 5
    await store.delete((await store.info("b")).key)
    assert store.size == 0


@pytest.mark.parametrize("patch", [None, COMPLETE, INTERRUPTED])
async def test_what_was_on_its_way_when_a_stream_went_counts_no_more(store: Store, patch):
    writer = await store.create(NewStream(id="a"))
    writer.append(b"x" * 300_000)
    if patch:
        await writer.close(patch)
    await store.delete(writer.key)
    await stream(store, "settled", b"123", COMPLETE)
    assert store.size == 3


async def test_a_takeover_changes_nothing(store: Store):
    writer = await stream(store, "a", b"12345", INTERRUPTED)
    writer = await store.resume(writer.key, 5)
    writer.append(b"678")
    await store.resume(writer.key, 8)
    assert store.size == 8


async def test_it_is_known_after_a_restart(reopening: Reopening):
    store = reopening.store
    await stream(store, "a", b"12345", COMPLETE)
    await stream(store, "b", b"x" * 300_000)
    gone = await stream(store, "c", b"123", COMPLETE)
    store = await reopening.reopen()
    assert store.size == 300_008
    await store.delete(gone.key)
    assert store.size == 300_005
    store = await reopening.reopen()
    assert store.size == 300_005

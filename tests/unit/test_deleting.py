"""Deleting by id, while others create, replace and delete."""

import asyncio

import pytest
from tests.unit.stores import TestStore, created, service_on

from loom.errors import StreamNotFound
from loom.model import NewStream
from loom.store.base import Writer
from loom.streams.service import Service
from loom.testing.tools import ManualClock


@pytest.fixture
def store() -> TestStore:
    return TestStore(ManualClock(1_000_000.0))


@pytest.fixture
async def service(store: TestStore) -> Service:
    return service_on(store)


async def test_a_stream_replaced_during_its_deletion_is_deleted_too(service: Service, store: TestStore):
    await created(store, "a", b"old")
    replacing: asyncio.Task[Writer] = asyncio.create_task(store.create(NewStream(id="a"), replace=True))
    with store.held():
        await asyncio.sleep(0)  # the replacement is requested first
        deleting = asyncio.create_task(service.delete("a"))
        await asyncio.sleep(0)
    new = await replacing
    assert (await deleting).key == new.key
    with pytest.raises(StreamNotFound):
        await store.info("a")


async def test_of_two_deletions_the_second_reports_its_id_as_unknown(service: Service, store: TestStore):
    await created(store, "a")
    outcomes = await asyncio.gather(service.delete("a"), service.delete("a"), return_exceptions=True)
    assert [type(each) for each in outcomes[1:]] == [StreamNotFound]
    assert str(outcomes[1]) == "The stream with ID a does not exist"

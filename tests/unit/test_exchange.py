"""Interrupting what a handler awaits, and the end of a handler that is cancelled."""

import asyncio

import pytest
from starlette.types import Message, Receive

from loom.http.exchange import Disconnected, Exchange, interruptible
from loom.http.record import RECORD, Record


class Woken(Exception): ...


async def woken(*interrupts: Exception, soon: bool = False) -> None:
    """Interrupt a block that waits forever: before it waits, or `soon` after it begins to wait."""
    async with interruptible() as interrupt:
        for error in interrupts:
            if soon:
                asyncio.get_running_loop().call_soon(interrupt, error)
            else:
                interrupt(error)
        await asyncio.Event().wait()


@pytest.mark.parametrize("soon", [False, True])
async def test_an_interrupt_raises_its_error_from_what_is_awaited(soon):
    with pytest.raises(Woken, match="first"):
        await woken(Woken("first"), Woken("second"), soon=soon)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_after_the_block_an_interrupt_does_nothing():
    async with interruptible() as interrupt:
        pass
    interrupt(Woken())
    await asyncio.sleep(0)


async def test_a_block_that_ends_first_is_not_interrupted():
    async with interruptible() as interrupt:
        interrupt(Woken())
    await asyncio.sleep(0)


async def failing(error: Exception, *interrupts: Exception) -> None:
    async with interruptible() as interrupt:
        for each in interrupts:
            interrupt(each)
        raise error


@pytest.mark.parametrize(("own", "interrupts"), [(ValueError(), (Woken(),)), (TimeoutError(), ())])
async def test_an_error_of_the_block_is_raised_unchanged(own, interrupts):
    with pytest.raises(type(own)):
        await failing(own, *interrupts)


@pytest.mark.parametrize("interrupts", [(), (Woken(),)])
async def test_a_cancellation_by_another_task_stays_a_cancellation(interrupts):
    task = asyncio.create_task(woken(*interrupts, soon=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def exchange(receive: Receive) -> Exchange:
    async def send(_: Message) -> None: ...

    return Exchange({"type": "http", "method": "GET", "headers": [], RECORD: Record()}, receive, send)


async def test_a_wait_ends_when_its_client_disconnects():
    left = asyncio.Event()

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    asyncio.get_running_loop().call_soon(left.set)
    with pytest.raises(Disconnected):
        async with exchange(receive).attended():
            await asyncio.Event().wait()


async def test_after_the_wait_no_task_watches_the_client():
    asking = 0

    async def receive() -> Message:
        nonlocal asking
        asking += 1
        try:
            return await asyncio.Future()
        finally:
            asking -= 1

    async with exchange(receive).attended():
        await asyncio.sleep(0)
        assert asking == 1
    await asyncio.sleep(0)
    assert asking == 0

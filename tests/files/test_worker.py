"""The thread that runs calls for the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from loom.store.files.worker import Worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test-worker")
    yield worker
    worker.close()


async def test_calls_run_in_order_in_one_other_thread_and_return_their_results(worker: Worker):
    seen: list[tuple[int, int]] = []

    def call(number: int) -> int:
        seen.append((number, threading.get_ident()))
        return number * 2

    futures = [worker.run(lambda number=number: call(number)) for number in range(50)]  # type: ignore[misc]
    assert await asyncio.gather(*futures) == [number * 2 for number in range(50)]
    assert [number for number, _ in seen] == list(range(50))
    assert len({ident for _, ident in seen}) == 1
    assert seen[0][1] != threading.get_ident()


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
async def test_an_error_reaches_the_caller_and_the_next_call_runs(worker: Worker, error: BaseException):
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await worker.run(fail)
    assert raised.value is error
    assert await worker.run(lambda: 1) == 1


async def test_a_caller_that_was_cancelled_disturbs_no_other(worker: Worker):
    gate = threading.Event()
    blocked, later = worker.run(gate.wait), worker.run(lambda: 2)
    blocked.cancel()
    gate.set()
    assert await later == 2
    assert blocked.cancelled()


async def test_close_ends_the_thread_after_the_calls_that_were_queued():
    worker = Worker("test-close")
    thread = next(each for each in threading.enumerate() if each.name == "test-close")
    last = worker.run(lambda: 3)
    worker.close()
    assert await last == 3
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


def test_a_result_for_an_event_loop_that_has_closed_is_dropped():
    gate = threading.Event()

    async def leave() -> threading.Thread:
        worker = Worker("test-loop")
        worker.run(gate.wait)
        worker.close()
        return next(each for each in threading.enumerate() if each.name == "test-loop")

    thread = asyncio.run(leave())
    gate.set()
    thread.join(10)
    assert not thread.is_alive()

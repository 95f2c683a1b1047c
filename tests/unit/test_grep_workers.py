"""The processes that search: started when needed, replaced when they die, ended when idle."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server import until

from loom.errors import BadRequest, SearchFailed
from loom.store.places import Moment
from loom.streams.grep.query import Query
from loom.streams.grep.steps import HEAD, Result, Step, length, split
from loom.streams.grep.times import Times
from loom.streams.grep.workers import Workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(1)
    yield workers
    await workers.close()
    assert not workers.running


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def pids(workers: Workers) -> list[int]:
    return [worker.process.pid for worker in workers.running]


def slow() -> Step:
    """Return a step that takes seconds: the states of this pattern do not fit into memory."""
    chance = random.Random(1)
    text = bytes(chance.choice(b"ab") for _ in range(1 << 20)) + b"\n"
    return Step(query=Query("(a|b)*a(a|b){20}c[ab]{900}"), data=text * 8, last=True)


async def test_a_worker_runs_from_the_first_step_until_it_is_idle():
    workers = Workers(2, idle=0.05)
    assert not workers.running
    result = await workers.do(Step(query=Query("hit"), data=b"a hit\n", last=True))
    assert (result.matches, result.consumed, result.next) == (1, 6, 6)
    [pid] = pids(workers)
    await until("the idle worker has ended", lambda: not workers.running and not exists(pid))
    assert (await workers.do(Step(query=Query("hit"), data=b"a hit\n", last=True))).matches == 1
    await workers.close()
    assert not workers.running


async def test_no_more_run_than_allowed(workers: Workers):
    steps = [workers.do(Step(query=Query("hit"), data=b"hit\n" * each, last=True)) for each in range(1, 20)]
    assert [result.matches for result in await asyncio.gather(*steps)] == list(range(1, 20))
    assert len(workers.running) == 1


async def test_a_worker_has_a_low_priority(workers: Workers):
    await workers.do(Step(query=Query("hit")))
    assert os.getpriority(os.PRIO_PROCESS, pids(workers)[0]) == 10


async def test_it_reads_from_a_descriptor_of_which_only_the_step_knows(workers: Workers, tmp_path):
    (tmp_path / "file").write_bytes(b"hit\nmiss\nhit\n")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        result = await workers.do(Step(query=Query("hit"), offset=4, size=9), fd)
        short = await workers.do(Step(query=Query("hit"), offset=4, size=99), fd)
    finally:
        os.close(fd)
    assert (result.matches, result.consumed, result.short) == (1, 9, False)
    assert (short.consumed, short.short) == (9, True)
    [pid] = pids(workers)
    names = [os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")]
    assert not [name for name in names if name.endswith("/file")]


async def test_an_invalid_pattern_harms_nobody(workers: Workers):
    with pytest.raises(BadRequest, match="closing parenthesis"):
        await workers.do(Step(query=Query("(")))
    [pid] = pids(workers)
    assert (await workers.do(Step(query=Query("a"), data=b"a\n"))).matches == 1
    assert pids(workers) == [pid]


async def test_a_worker_that_died_while_idle_is_replaced_unnoticed(workers: Workers):
    await workers.do(Step(query=Query("a")))
    [worker] = workers.running
    os.kill(worker.process.pid, signal.SIGKILL)
    await worker.process.wait()
    assert (await workers.do(Step(query=Query("a"), data=b"a\n"))).matches == 1


async def test_a_worker_that_dies_in_a_step_fails_that_step_only(workers: Workers):
    await workers.do(Step(query=Query("a")))
    [pid] = pids(workers)
    os.kill(pid, signal.SIGSTOP)
    failing = asyncio.create_task(workers.do(Step(query=Query("a"), data=b"a\n")))
    following = asyncio.create_task(workers.do(Step(query=Query("a"), data=b"a\n")))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SearchFailed, match="ended early"):
        await failing
    assert (await following).matches == 1
    assert pids(workers) != [pid]


async def test_a_step_that_takes_too_long_is_killed():
    workers = Workers(1, patience=0.5)
    try:
        await workers.do(Step(query=Query("a")))
        [pid] = pids(workers)
        with pytest.raises(SearchFailed, match=r"more than 0\.5 s"):
            await workers.do(slow())
        assert not exists(pid)
        assert (await workers.do(Step(query=Query("a"), data=b"a\n"))).matches == 1
    finally:
        await workers.close()


async def test_a_cancelled_step_leaves_the_worker_to_the_next_one(workers: Workers):
    await workers.do(Step(query=Query("a")))
    [pid] = pids(workers)
    cancelled = asyncio.create_task(workers.do(Step(query=Query("a"), data=b"a\n" * 100_000)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await workers.do(Step(query=Query("b"), data=b"b\n"))).matches == 1
    assert pids(workers) == [pid]


async def test_close_ends_a_worker_in_the_middle_of_a_step():
    workers = Workers(1)
    await workers.do(Step(query=Query("a")))
    [pid] = pids(workers)
    step = asyncio.create_task(workers.do(slow()))
    await asyncio.sleep(0)
    await workers.close()
    assert not exists(pid)
    with pytest.raises((SearchFailed, asyncio.CancelledError)):
        await step


def test_messages_keep_all_that_they_carry():
    times = Times.of([Moment(1.5, 0), Moment(3.0, 2**40)])
    step = Step(query=Query("é", before=2), state=b"s", data=b"d", offset=7, size=9, last=True, times=times)
    message = step.encode()
    head, body = message[: HEAD.size], message[HEAD.size :]
    assert len(body) == length(head)
    again = Step.decode(split(head, body))
    assert (again.query, again.state, again.data, again.offset, again.last) == (
        step.query,
        b"s",
        b"d",
        7,
        True,
    )
    assert [again.times.at(each) for each in (0, 2**40 - 1, 2**40)] == [1.5, 1.5, 3.0]
    result = Result(state=b"s", output=b"{}\n", matches=3, next=8, invalid="why")
    message = result.encode()
    assert Result.decode(split(message[: HEAD.size], message[HEAD.size :])) == result


def test_times_within_a_part_include_the_one_before_it():
    times = Times.of([Moment(1.0, 0), Moment(2.0, 10), Moment(3.0, 20)])
    part = times.within(15, 20)
    assert [part.at(each) for each in (15, 19, 20, 99)] == [2.0, 2.0, 3.0, 3.0]
    assert Times().at(5) is None

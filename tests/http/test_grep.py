"""?grep over real sockets, with real processes that search."""

import asyncio
import json
import os
import signal
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.running import ONE_STORE, Loom
from tests.support.server import until
from tests.support.wire import Wire

from loom.store.places import GAP

LOG = b"start\nfirst error\nfine\nfine\nfine\nsecond Error\nend\n"
LINES = b"".join(b"line %d\n" % number for number in range(1, 150_001))


async def search(loom: Loom, pattern: str, query: str = "", id: str = "a") -> list[dict[str, Any]]:
    """Return the whole answer."""
    wire = await loom.get(f"/stream/{id}?grep={quote(pattern, safe='')}{query}")
    assert (wire.head.status, wire.head["content-type"]) == (200, "application/x-ndjson")
    assert wire.head["cache-control"].startswith("no-store")
    return [json.loads(line) for line in (await wire.body()).splitlines()]


def numbers(answer: list[dict[str, Any]]) -> list[int]:
    return [each["line"] if not each.get("context") else -each["line"] for each in answer if "line" in each]


async def next_line(wire: Wire) -> dict[str, Any]:
    while True:
        found = dict(json.loads(await wire.until(b"\n")))
        if "line" in found or "ended" in found:
            return found


async def test_returns_the_lines_that_match_and_how_the_search_ended(loom: Loom):
    await loom.stored("/stream/a", LOG)
    *lines, end = await search(loom, "error")
    assert [(each["line"], each["offset"], each["text"], each["spans"]) for each in lines] == [
        (2, 6, "first error", [[6, 11]])
    ]
    size = len(LOG)
    ended = {"ended": "end", "matches": 1, "searched": size, "next": size}
    assert end == ended | {"state": "complete", "size": size, "reason": ""}
    assert numbers(await search(loom, "error", "&ignore_case")) == [2, 6]
    assert numbers(await search(loom, "error", "&ignore_case&context=1")) == [-1, 2, -3, -5, 6, -7]
    assert numbers(await search(loom, "error", "&before=1")) == [-1, 2]
    assert numbers(await search(loom, "error", "&context=3&before=0")) == [2, -3, -4, -5]
    assert numbers(await search(loom, "nothing")) == []


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("offset=6", [2, 6]),
        ("offset=7", [2, 6]),
        ("offset=18", [6]),
        ("offset=-20", [6]),
        ("line=3", [6]),
        ("line=1-5", [2]),
        ("lines=2", [6]),
        ("since=1h", [2, 6]),
        ("offset=99", []),
    ],
)
async def test_begins_where_a_read_would(loom: Loom, start, found):
    await loom.stored("/stream/a", LOG)
    answer = await search(loom, "rror", f"&{start}")
    assert numbers(answer) == found
    assert answer[-1]["ended"] == "end"


async def test_a_search_that_reached_its_limit_continues_without_gap_or_repeat(loom: Loom):
    await loom.stored("/stream/a", LINES)
    found: list[int] = []
    start = 0
    while True:
        *lines, end = await search(loom, "7777$", f"&limit=2&context=2&offset={start}")
        found += [number for number in numbers(lines) if number > 0]
        assert all(LINES[each["offset"] :].startswith(each["text"].encode()) for each in lines)
        if end["ended"] == "end":
            break
        assert (end["ended"], end["matches"]) == ("limit", 2)
        start = end["next"]
    assert found == list(range(7777, 150_001, 10_000))


async def test_the_numbers_of_lines_far_from_the_start_come_from_the_index(loom: Loom):
    await loom.stored("/stream/a", LINES)
    start = LINES.index(b"line 140000\n")
    *lines, end = await search(loom, "0000$", f"&offset={start}")
    assert numbers(lines) == [140_000, 150_000]
    assert end["searched"] <= len(LINES) - start + 2 * GAP


async def test_a_live_stream_is_searched_as_it_grows(loom: Loom):
    producer = await loom.live("/stream/a", b"old hit\n")
    wire = await loom.get("/stream/a?grep=hit&context=1")
    assert (await next_line(wire))["text"] == "old hit"
    await producer.chunk(b"miss\nnew h")
    assert (await next_line(wire))["context"]
    await producer.chunk(b"it\n")
    found = await next_line(wire)
    assert (found["line"], found["offset"], found["text"], found["spans"]) == (3, 13, "new hit", [[4, 7]])
    await producer.chunk(b"last hit")
    await producer.chunk(b"")
    assert (await next_line(wire))["line"] == 4
    end = await next_line(wire)
    assert (end["ended"], end["state"], end["matches"]) == ("end", "complete", 3)
    assert await wire.body() == b""


@ONE_STORE
async def test_each_line_has_the_time_of_its_own_arrival_stored_or_live(loom: Loom):
    producer = await loom.live("/stream/a", b"hit 1\n")
    wire = await loom.get("/stream/a?grep=hit")
    times = [(await next_line(wire))["time"]]
    for _ in range(2):
        await asyncio.sleep(1.1)  # the index knows times to the second
        await producer.chunk(b"miss\nhit\n")
        times.append((await next_line(wire))["time"])
    assert 1 < times[1] - times[0] < 30
    assert 1 < times[2] - times[1] < 30
    shown = await search(loom, "hit", "&notail&context=1")
    assert [each["time"] for each in shown[:-1]] == [times[0], *times[1:2] * 2, *times[2:] * 2]


async def test_without_tail_a_live_stream_is_searched_to_its_end_of_now(loom: Loom):
    producer = await loom.live("/stream/a", b"hit\nno\nhit, not en")
    answer = await search(loom, "hit", "&notail")
    assert numbers(answer) == [1, 3]
    ended = {"ended": "end", "state": "live", "size": 18, "next": 7}
    assert answer[-1] | ended == answer[-1]
    # The last line becomes longer: a search from `next` on finds it again, whole.
    await producer.chunk(b"ded\n")
    again = await search(loom, "hit, not ended$", "&notail&offset=7")
    assert [(each["line"], each["offset"]) for each in again[:-1]] == [(3, 7)]
    assert again[-1]["next"] == again[-1]["size"] == 22
    await producer.chunk(b"hit")
    await producer.chunk(b"")
    await producer.body()
    assert (await search(loom, "hit", "&notail"))[-1]["next"] == 25


async def test_an_aborted_stream_ends_the_search_with_its_reason(loom: Loom):
    producer = await loom.live("/stream/a", b"hit\n", Stream_Resume_Window="0")
    wire = await loom.get("/stream/a?grep=hit")
    assert (await next_line(wire))["line"] == 1
    await producer.close()
    end = await next_line(wire)
    assert (end["ended"], end["state"]) == ("end", "aborted")
    assert end["reason"]
    assert (await search(loom, "hit"))[-1] | {"searched": 4} == end


async def test_a_stream_deleted_or_replaced_ends_the_search_of_a_follower(loom: Loom):
    await loom.live("/stream/a", b"hit\n")
    wire = await loom.get("/stream/a?grep=hit")
    assert (await next_line(wire))["line"] == 1
    await loom.live("/stream/a?force=true", b"other hit\n")
    end = await next_line(wire)
    assert (end["ended"], end["next"]) == ("gone", None)
    assert end["reason"]


async def test_a_line_beyond_the_end_is_awaited_and_has_its_number(loom: Loom):
    producer = await loom.live("/stream/a", b"hit\nhit")
    wire = await loom.get("/stream/a?grep=hit&line=4")
    await producer.chunk(b"\nhit 3\nhit 4\n")
    found = await next_line(wire)
    assert (found["line"], found["offset"], found["text"]) == (4, 14, "hit 4")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("grep=", "one pattern"),
        ("grep=a&grep=b", "one pattern"),
        ("grep=%28", "no closing parenthesis"),
        (f"grep={'a' * 4097}", "1 to 4096"),
        ("grep=a&context=101", "At most 100"),
        ("grep=a&before=x", "before"),
        ("grep=a&limit=0", "limit"),
        ("grep=a&ignore_case=maybe", "ignore_case"),
        ("grep=a&line=0", "line"),
    ],
)
async def test_a_search_that_cannot_be_is_refused(loom: Loom, query, says):
    await loom.stored("/stream/a", LOG)
    wire = await loom.get(f"/stream/a?{query}")
    problem = json.loads(await wire.body())
    assert (wire.head.status, problem["code"]) == (400, "bad_request")
    assert says in problem["detail"]


async def test_a_search_of_no_stream_is_404_and_head_has_no_body(loom: Loom):
    assert (await loom.get("/stream/b?grep=a")).head.status == 404
    await loom.stored("/stream/a", LOG)
    head = await loom.ask("HEAD", "/stream/a?grep=a")
    assert (head.head.status, head.head["content-type"]) == (200, "application/x-ndjson")
    assert (await loom.ask("HEAD", "/stream/a?grep=%28")).head.status == 400


async def test_every_line_may_match_whatever_the_client_takes(loom: Loom):
    await loom.stored("/stream/a", LINES[: LINES.index(b"line 20001\n")])
    answer = await search(loom, "line")
    assert numbers(answer) == list(range(1, 20_001))


@ONE_STORE
async def test_a_worker_that_dies_ends_its_search_clearly_and_is_replaced(loom: Loom):
    producer = await loom.live("/stream/a", b"hit\n")
    wire = await loom.get("/stream/a?grep=hit")
    assert (await next_line(wire))["line"] == 1
    workers = loom.grep.workers
    # While it waits for a step, nobody notices.
    [worker] = workers.running
    os.kill(worker.process.pid, signal.SIGKILL)
    await worker.process.wait()
    await producer.chunk(b"hit\n")
    assert (await next_line(wire))["line"] == 2
    # During a step, that search fails.
    [worker] = workers.running
    os.kill(worker.process.pid, signal.SIGSTOP)
    await producer.chunk(b"hit\n")
    await until("the step has begun", lambda: worker.idle is None or worker.idle.cancelled())
    os.kill(worker.process.pid, signal.SIGKILL)
    end = await next_line(wire)
    assert (end["ended"], end["next"]) == ("failed", 8)
    assert numbers(await search(loom, "hit", "&notail")) == [1, 2, 3]


async def test_a_search_ends_at_the_limits_of_the_server_and_can_be_continued(serve):
    loom = await serve(max_search_bytes="1MiB")
    await loom.stored("/stream/a", LINES)
    found: list[int] = []
    start = rounds = 0
    while True:
        *lines, end = await search(loom, "000$", f"&offset={start}")
        found += numbers(lines)
        if end["ended"] == "end":
            break
        assert end["ended"] == "bytes"
        assert start < end["next"]
        start, rounds = end["next"], rounds + 1
    assert found == list(range(1000, 150_001, 1000))
    assert rounds


@ONE_STORE
async def test_a_search_may_work_for_a_limited_time(serve):
    loom = await serve(max_search_time=0.001)
    await loom.stored("/stream/a", LINES)
    end = (await search(loom, "nothing"))[-1]
    assert (end["ended"], end["next"] > 0) == ("time", True)


async def test_a_client_that_does_not_read_holds_neither_a_worker_nor_memory(serve):
    loom = await serve(search_workers=1)
    await loom.stored("/stream/a", LINES)
    slow = [await loom.get("/stream/a?grep=line") for _ in range(3)]
    for wire in slow:
        await wire.until(b"\n")
    searched = loom.grep.counts.searched
    assert numbers(await search(loom, "149999$")) == [149_999]
    # Sockets take some of the output; most of the stream is not searched.
    assert searched < 3 * len(LINES)
    for wire in slow:
        await wire.close()


async def test_more_searches_than_a_client_may_run_at_once_are_refused(serve):
    loom = await serve(search_workers=1)
    await loom.stored("/stream/a", LINES)
    wires = [await loom.connect() for _ in range(80)]
    for wire in wires:
        await wire.request("GET", "/stream/a?grep=line")
    statuses = [(await wire.answer()).status for wire in wires[64:]]
    assert set(statuses) == {429}
    for wire in wires:
        await wire.close()


async def test_followers_of_live_streams_do_not_keep_others_from_searching(loom: Loom):
    await loom.live("/stream/a", b"hit\n")
    followers = [await loom.get("/stream/a?grep=hit") for _ in range(10)]
    for wire in followers:
        assert (await next_line(wire))["line"] == 1
    assert numbers(await search(loom, "hit", "&notail")) == [1]


async def test_a_disconnect_ends_the_work(serve):
    loom = await serve(search_workers=1)
    await loom.stored("/stream/a", LINES)
    wire = await loom.get("/stream/a?grep=line")
    await wire.until(b"\n")
    logged = loom.logged(path="/stream/a", method="GET")
    await wire.close()
    await logged
    searched = loom.grep.counts.searched
    assert numbers(await search(loom, "^line 1$")) == [1]
    assert loom.grep.counts.searched - searched == len(LINES)


@ONE_STORE
async def test_metrics_count_searches_by_their_end(loom: Loom):
    await loom.stored("/stream/a", LOG)
    await search(loom, "error")
    await search(loom, "fine", "&limit=1")
    text = (await (await loom.get("/metrics")).body()).decode()
    for line in (
        'loom_searches_total{ended="end"} 1.0',
        'loom_searches_total{ended="limit"} 1.0',
        f"loom_searched_bytes_total {2.0 * len(LOG)}",
        "loom_search_workers 1.0",
    ):
        assert f"\n{line}\n" in text

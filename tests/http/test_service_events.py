"""GET /events: changes to streams, over a socket."""

import json
from typing import Any

from tests.http.test_stream_events import Source
from tests.support.running import ONE_STORE, Loom, Serve

from loom.model import NewStream, Patch, State
from loom.wire.sse import Event


async def feed(loom: Loom, query: str = "", **headers: Any) -> Source:
    wire = await loom.get(f"/events{query}", **headers)
    assert wire.head.status == 200
    assert wire.head["content-type"] == "text/event-stream"
    assert wire.head["cache-control"] == "no-store, no-transform"
    return Source(wire)


async def event(source: Source) -> Event:
    event = await source.next()
    assert event is not None
    return event


async def next_events(source: Source, count: int) -> list[tuple[str, str]]:
    """Return the names of the next events and the ids of their streams."""
    events = [await event(source) for _ in range(count)]
    return [(each.name, json.loads(each.data).get("id", "")) for each in events]


async def create(loom: Loom, id: str, **new: Any) -> None:
    writer = await loom.store.create(NewStream(id=id, **new))
    await writer.close(Patch(state=State.COMPLETE))


async def test_events_report_streams_created_closed_and_deleted(loom: Loom):
    await loom.stored("/stream/before", b"")
    events = await feed(loom)
    producer = await loom.live("/stream/a", b"12345", x_stream_metadata='{"n": 1.00}')
    created = await event(events)
    assert created.name == "created"
    assert json.loads(created.data) | {"size": 5} == (await rows(loom))["a"]
    await producer.chunk(b"")
    closed = await event(events)
    (row,) = [(await rows(loom))["a"]]
    assert (closed.name, json.loads(closed.data), row["state"]) == ("closed", row, "complete")
    await loom.ask("DELETE", "/stream/a")
    deleted = await event(events)
    assert (deleted.name, json.loads(deleted.data)) == ("deleted", row)


async def rows(loom: Loom) -> dict[str, Any]:
    listed = json.loads(await (await loom.get("/streams")).body())["streams"]
    return {row["id"]: row for row in listed}


async def test_a_replaced_stream_is_deleted_then_created(loom: Loom):
    events = await feed(loom)
    await loom.live("/stream/a")
    await loom.live("/stream/a?force")
    assert await next_events(events, 3) == [("created", "a"), ("deleted", "a"), ("created", "a")]


async def test_an_aborted_stream_is_closed_and_a_resumed_one_is_no_event(loom: Loom):
    events = await feed(loom)
    writer = await loom.store.create(NewStream(id="a"))
    await writer.close(Patch(state=State.OPEN))
    writer = await loom.store.resume(writer.key, 0)
    await writer.close(Patch(state=State.ABORTED, reason="no room"))
    assert await next_events(events, 1) == [("created", "a")]
    closed = json.loads((await event(events)).data)
    assert (closed["state"], closed["reason"]) == ("aborted", "no room")


async def test_a_client_that_reconnects_misses_nothing_and_gets_nothing_twice(loom: Loom):
    events = await feed(loom)
    await create(loom, "a")
    first = await event(events)
    await events.wire.close()
    await create(loom, "b")
    again = await feed(loom, last_event_id=first.id)
    assert await next_events(again, 3) == [("closed", "a"), ("created", "b"), ("closed", "b")]
    await create(loom, "c")
    assert await next_events(again, 2) == [("created", "c"), ("closed", "c")]


async def test_a_client_that_got_no_event_can_resume_too(loom: Loom):
    events = await feed(loom)
    begin = (await events.wire.until(b"\n\n")).decode()
    await events.wire.close()
    await create(loom, "a")
    again = await feed(loom, last_event_id=begin.removeprefix("id: ").strip())
    assert await next_events(again, 2) == [("created", "a"), ("closed", "a")]


async def test_an_unknown_position_gets_a_reset_then_new_events(serve: Serve):
    loom, other = await serve(), await serve()
    events = await feed(other)
    await create(other, "x")
    foreign = (await event(events)).id
    await create(loom, "before")
    epoch = (await (await feed(loom)).wire.until(b"\n\n")).decode().removeprefix("id: ").partition(":")[0]
    for last in (foreign, "nonsense", f"{epoch}:1000", f"{epoch}:-1", f"{epoch}:"):
        again = await feed(loom, last_event_id=last)
        reset = await event(again)
        assert (reset.name, reset.data) == ("reset", "{}"), last
        await create(loom, f"after/{last}")
        resumed = await feed(loom, last_event_id=reset.id)
        for source in (again, resumed):
            assert await next_events(source, 1) == [("created", f"after/{last}")]


async def test_a_prefix_filters_events_but_not_the_position(loom: Loom):
    events = await feed(loom, "?prefix=team/")
    await create(loom, "team/1")
    for number in range(300):
        await create(loom, f"other/{number}")
    await create(loom, "team/2")
    assert await next_events(events, 4) == [
        ("created", "team/1"), ("closed", "team/1"), ("created", "team/2"), ("closed", "team/2"),
    ]  # fmt: skip


async def test_new_metadata_is_an_event_before_and_after_the_end(loom: Loom):
    events = await feed(loom)
    producer = await loom.live("/stream/a", b"x")
    merge = {"content_type": "application/merge-patch+json"}
    await loom.ask("PATCH", "/stream/a", b'{"step": 2}', **merge)
    await producer.chunk(b"")
    await producer.body()
    await loom.ask("PATCH", "/stream/a", b'{"exit_code": 3}', **merge)
    seen = [await event(events) for _ in range(4)]
    assert [each.name for each in seen] == ["created", "changed", "closed", "changed"]
    rows = [json.loads(each.data) for each in seen]
    assert [row["metadata"] for row in rows[1:]] == [{"step": 2}, {"step": 2}, {"step": 2, "exit_code": 3}]
    assert [row["outcome"] for row in rows] == [None, None, None, "failure"]


async def test_events_are_selected_by_outcome(loom: Loom):
    events = await feed(loom, "?outcome=failure,cancelled&prefix=team/")
    for id, metadata in [
        ("team/ok", '{"exit_code": 0}'),
        ("other", '{"exit_code": 1}'),
        ("team/bad", '{"exit_code": 1}'),
    ]:
        await create(loom, id, metadata=metadata)
    closed = await event(events)
    row = json.loads(closed.data)
    assert (closed.name, row["id"], row["outcome"]) == ("closed", "team/bad", "failure")
    wire = await loom.get("/events?outcome=failed")
    assert wire.head.status == 400


async def test_a_client_of_few_events_still_gets_its_position(loom: Loom):
    events = await feed(loom, "?prefix=none")
    begin = (await events.wire.until(b"\n\n")).decode().strip()
    for number in range(300):
        await create(loom, f"other/{number}")
    later = (await events.wire.until(b"\n\n")).decode().strip()
    assert int(later.rpartition(":")[2]) >= int(begin.rpartition(":")[2]) + 500


@ONE_STORE
async def test_a_reader_that_lags_is_sent_a_reset(loom: Loom):
    events = await feed(loom)
    for number in range(700):  # far more than the ring and the sockets between hold
        await create(loom, f"s{number}", metadata=json.dumps("x" * (64 << 10)))
    seen, resets, last = [], 0, 0
    # The server notices the lag once the sockets take bytes again. That may happen during the loop above, and
    # more than once. So read until the newest change, and accept a gap only where a reset announces it.
    while last < 1400:
        each = await event(events)
        number = int(each.id.rpartition(":")[2])
        if each.name == "reset":
            resets += 1
        else:
            seen.append(json.loads(each.data)["id"])
            assert number == last + 1
        last = number
    assert resets
    assert len(seen) < 1400
    assert seen[0] == "s0"
    await create(loom, "later")
    assert await next_events(events, 2) == [("created", "later"), ("closed", "later")]


async def test_a_stopping_server_sends_a_delay_for_reconnects(loom: Loom):
    events = await feed(loom)
    await loom.service.drain(0)
    assert await events.rest() == []
    assert events.decoder.retry is not None
    assert (await loom.get("/events")).head.status == 503


@ONE_STORE
async def test_invalid_requests_are_refused_and_head_has_no_body(serve: Serve):
    loom = await serve()
    for query in ("prefx=a", "prefix=a&prefix=b"):
        assert (await loom.get(f"/events?{query}")).head.status == 400
    head = await loom.ask("HEAD", "/events")
    assert (head.head.status, head.head["content-type"], head.unread()) == (200, "text/event-stream", b"")
    closed = await serve(tokens=["token"])
    assert (await closed.get("/events")).head.status == 401
    assert (await closed.get("/events", authorization="Bearer token")).head.status == 200


@ONE_STORE
async def test_a_token_gets_events_only_of_streams_it_may_read(serve: Serve):
    tokens = [
        {"name": "reader", "token": "reads", "scopes": ["read"], "prefix": "a/"},
        {"name": "job", "token": "writes", "scopes": ["write"]},
    ]
    loom = await serve(tokens=tokens)
    assert (await loom.get("/events", authorization="Bearer writes")).head.status == 403
    events = await feed(loom, authorization="Bearer reads")
    for id in ("b", "a/1", "c", "a/2"):
        await create(loom, id)
    await loom.store.delete((await loom.store.info("b")).key)
    await loom.store.delete((await loom.store.info("a/1")).key)
    assert await next_events(events, 5) == [
        ("created", "a/1"), ("closed", "a/1"), ("created", "a/2"), ("closed", "a/2"), ("deleted", "a/1"),
    ]  # fmt: skip

"""GET and DELETE /streams: list streams, and delete many."""

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire

from loom.model import NewStream, Patch, State

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


async def read_json(wire: Wire, status: int = 200) -> Any:
    assert wire.head.status == status
    assert wire.head["cache-control"] == "no-store, no-transform"
    return json.loads(await wire.body())


async def listed(loom: Loom, query: str = "") -> list[str]:
    return [row["id"] for row in (await read_json(await loom.get(f"/streams{query}")))["streams"]]


async def deleted(loom: Loom, query: str, status: int = 200) -> Any:
    return await read_json(await loom.ask("DELETE", f"/streams?{query}"), status)


async def fill(loom: Loom, ids: Iterable[str]) -> None:
    for id in ids:
        writer = await loom.store.create(NewStream(id=id))
        await writer.close(Patch(state=State.COMPLETE))


async def test_an_empty_server_has_an_empty_list(loom: Loom):
    wire = await loom.get("/streams")
    assert wire.head["content-type"] == "application/json"
    assert await read_json(wire) == {"streams": [], "cursor": None}
    head = await loom.ask("HEAD", "/streams")
    assert head.head.status == 200
    assert head.unread() == b""


async def test_streams_are_listed_newest_first_with_all_members(loom: Loom):
    await loom.stored(
        "/stream/team/%C3%BC", b"12345", x_stream_metadata='{"n": 1.00, "n2": [1]}', content_type="text/plain"
    )
    await loom.live("/stream/live", b"abc")
    wire = await loom.get("/streams")
    body = (await wire.body()).decode("ascii")
    assert '"metadata": {"n": 1.00, "n2": [1]}}' in body
    live, done = json.loads(body)["streams"]
    info = await loom.store.info("team/ü")
    assert done == {
        "id": "team/ü",
        "key": info.key,
        "state": "complete",
        "reason": "",
        "outcome": None,
        "size": 5,
        "content_type": "text/plain",
        "metadata": {"n": 1.0, "n2": [1]},
        "created": done["created"],
        "ended": done["ended"],
        "expires": None,
        "deadline": None,
        "digest": (await loom.get("/stream/team/%C3%BC")).head["repr-digest"],
    }
    assert re.fullmatch(TIME, done["created"])
    assert re.fullmatch(TIME, done["ended"])
    assert done["created"] <= done["ended"] <= live["created"]
    assert (live["id"], live["state"], live["size"], live["ended"]) == ("live", "live", 3, None)
    read = await loom.get("/stream/team/%C3%BC")
    assert read.head["etag"] == f'"{done["key"]}"'


async def test_filters(loom: Loom):
    await loom.stored("/stream/a/1", b"", x_stream_metadata='{"commit": "3f2a", "try": 1}')
    await loom.stored("/stream/a/2", b"", x_stream_metadata='{"commit": "3f2a", "try": 2}')
    await loom.stored("/stream/a%252", b"", x_stream_metadata='{"caf\\u00e9 =": "&"}')
    await loom.live("/stream/b")
    (middle,) = (await read_json(await loom.get("/streams?prefix=a/2")))["streams"]
    seconds = (await loom.store.info("a/2")).created
    for query, expected in {
        "": ["b", "a%2", "a/2", "a/1"],
        "?prefix=a/": ["a/2", "a/1"],
        "?prefix=a%25": ["a%2"],
        "?prefix=": ["b", "a%2", "a/2", "a/1"],
        "?state=live": ["b"],
        "?state=live,complete&prefix=b": ["b"],
        "?state=live&state=complete&prefix=a/": ["a/2", "a/1"],
        "?state=aborted": [],
        "?meta.commit=3f2a": ["a/2", "a/1"],
        "?meta.commit=3f2a&meta.try=1": ["a/1"],
        "?meta.caf%C3%A9+%3D=%26": ["a%2"],
        "?meta.none=": [],
        f"?created_after={seconds - 1e-4:.6f}&state=complete": ["a%2", "a/2"],
        "?created_after=2001-01-01T00:00:00%2B01:00&limit=1": ["b"],
        "?created_after=2999-01-01T00:00:00Z": [],
        f"?created_after={middle['created']}&prefix=b": ["b"],
    }.items():
        assert await listed(loom, query) == expected, query


async def test_streams_are_found_by_a_part_of_their_id_and_counted(loom: Loom):
    await fill(loom, [f"build/{number}" for number in range(30)])
    await fill(loom, ["other"])
    page = await read_json(await loom.get("/streams?contains=d/2&limit=3&count"))
    assert [row["id"] for row in page["streams"]] == ["build/29", "build/28", "build/27"]
    assert page["count"] == 11
    page = await read_json(await loom.get(f"/streams?limit=3&count&cursor={page['cursor']}"))
    assert page["count"] == 31
    assert "count" not in await read_json(await loom.get("/streams?count=false"))


async def test_folders_are_listed_with_their_counts_and_newest_streams(loom: Loom):
    await fill(loom, ["top", "a/1/x", "b/1", "a/2", "a/1/y"])
    found = await read_json(await loom.get("/folders"))
    assert found["count"] == 5
    newest = await read_json(await loom.get("/stream/a/1/y?info"))
    for row in (newest, found["folders"][0]["newest"]):
        row.pop("digest")  # it may have been computed between the two requests
    assert found["folders"][0] == {"prefix": "a/", "count": 3, "failures": 0, "newest": newest}
    assert [each["prefix"] for each in found["folders"]] == ["a/", "b/"]
    found = await read_json(await loom.get("/folders?prefix=a/"))
    assert (found["count"], [each["prefix"] for each in found["folders"]]) == (3, ["a/1/"])
    assert await read_json(await loom.get("/folders?prefix=none")) == {"folders": [], "count": 0}
    assert (await loom.get("/folders?prefx=a")).head.status == 400


async def test_streams_are_listed_with_their_outcome_and_found_by_it(loom: Loom):
    for id, metadata in {
        "ok": '{"exit_code": 0}',
        "bad": '{"exit_code": 2}',
        "stopped": '{"outcome": "cancelled", "exit_code": 143}',
        "silent": "{}",
    }.items():
        await loom.stored(f"/stream/{id}", b"", x_stream_metadata=metadata)
    await loom.live("/stream/live", b"", x_stream_metadata='{"exit_code": 2}')
    rows = {row["id"]: row["outcome"] for row in (await read_json(await loom.get("/streams")))["streams"]}
    assert rows == {"ok": "success", "bad": "failure", "stopped": "cancelled", "silent": None, "live": None}
    for query, expected in {
        "?outcome=failure": ["bad"],
        "?outcome=failure,cancelled": ["stopped", "bad"],
        "?outcome=success&outcome=failure&prefix=o": ["ok"],
        "?outcome=failure&state=live": [],
        "?outcome=skipped": [],
    }.items():
        assert await listed(loom, query) == expected, query
    for id, outcome in rows.items():
        assert (await loom.ask("HEAD", f"/stream/{id}")).head.headers.get("x-stream-outcome") == outcome
        assert (await read_json(await loom.get(f"/stream/{id}?info")))["outcome"] == outcome


@pytest.mark.parametrize(
    "query",
    [
        "state=done",
        "state=",
        "outcome=failed",
        "outcome=",
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=%D9%A3",
        "cursor=-1",
        "cursor=xyz",
        "cursor=1_0",
        "created_after=yesterday",
        "created_after=2026-01-01T00:00:00",
        "created_after=nan",
        "created_after=inf",
        "created_after=",
        "prefix=a&prefix=b",
        "prefx=a",
    ],
)
@ONE_STORE
async def test_invalid_requests_are_refused(loom: Loom, query):
    wire = await loom.get(f"/streams?{query}")
    assert wire.head.status == 400
    assert json.loads(await wire.body())["code"] == "bad_request"


async def test_pages_do_not_shift_while_streams_are_created_and_deleted(loom: Loom):
    names = [f"s{number}" for number in range(10)]
    await fill(loom, names)
    seen: list[str] = []
    query = "?limit=3"
    while True:
        page = await read_json(await loom.get(f"/streams{query}"))
        seen += [row["id"] for row in page["streams"]]
        if page["cursor"] is None:
            break
        query = f"?limit=3&cursor={page['cursor']}"
        await loom.ask("DELETE", f"/stream/{seen[-1]}")
        await fill(loom, [f"new{len(seen)}"])
    assert seen == names[::-1]


async def test_a_page_that_ends_with_the_last_stream_is_the_last(loom: Loom):
    await fill(loom, "abc")
    assert (await read_json(await loom.get("/streams?limit=3")))["cursor"] is None
    assert (await read_json(await loom.get("/streams?limit=2")))["cursor"] is not None


async def test_limits(loom: Loom):
    await asyncio.gather(*(fill(loom, [f"s{number}"]) for number in range(1010)))
    assert len(await listed(loom)) == 100
    assert len(await listed(loom, "?limit=5000")) == 1000


async def test_many_are_deleted_only_if_their_number_is_confirmed(loom: Loom):
    await fill(loom, ["a/1", "a/2", "b"])
    assert await deleted(loom, "prefix=a/&dry_run") == {"count": 2}
    for confirm in ("", "&confirm=1", "&confirm=3"):
        refused = await deleted(loom, f"prefix=a/{confirm}", 409)
        assert (refused["code"], refused["count"]) == ("unconfirmed", 2)
    assert await listed(loom) == ["b", "a/2", "a/1"]
    assert await deleted(loom, "prefix=a/&confirm=2") == {"deleted": 2}
    assert await listed(loom) == ["b"]
    assert (await loom.get("/stream/a/1")).head.status == 404
    assert await deleted(loom, "prefix=none&confirm=0") == {"deleted": 0}
    assert await deleted(loom, "prefix=&confirm=1&dry_run=1") == {"count": 1}
    assert await deleted(loom, "prefix=&confirm=1&dry_run=false") == {"deleted": 1}


async def test_live_streams_among_deleted_ones_are_cut(loom: Loom):
    producer = await loom.live("/stream/a", b"some")
    follower = await loom.get("/stream/a")
    assert await deleted(loom, "prefix=a&confirm=1") == {"deleted": 1}
    for wire in (producer, follower):
        with pytest.raises(Cut):
            await wire.body()


async def test_streams_created_meanwhile_are_kept(loom: Loom):
    """The streams are more than one batch; one of them is replaced after the count."""
    await asyncio.gather(*(fill(loom, [f"s{number}"]) for number in range(1200)))
    closed: list[Any] = []
    created: list[asyncio.Task[Any]] = []

    def on_change(change: Any) -> None:
        if not closed:
            closed.append(change)
            created.append(asyncio.create_task(fill(loom, ["s/new"])))
            replaced = NewStream(id="s0")
            created.append(asyncio.create_task(loom.store.create(replaced, replace=True)))

    watching = loom.store.watch(on_change)
    count = await deleted(loom, "prefix=s&confirm=1200")
    watching.close()
    await asyncio.gather(*created)
    assert count["deleted"] in (1199, 1200)
    assert sorted(await listed(loom)) == ["s/new", "s0"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "confirm=0",
        "prefix=a&confirm=x",
        "prefix=a&confirm=-1",
        "prefix=a&dry_run=maybe",
        "prefx=a&confirm=1",
        "prefix=a&state=complete&confirm=1",
        "prefix=a&prefix=b&confirm=1",
    ],
)
@ONE_STORE
async def test_an_invalid_delete_deletes_nothing(loom: Loom, query):
    await fill(loom, ["a"])
    assert (await loom.ask("DELETE", f"/streams?{query}")).head.status == 400
    assert await listed(loom) == ["a"]


@ONE_STORE
async def test_pages_of_other_origins_delete_nothing(serve: Serve):
    loom = await serve()
    foreign = await loom.ask("DELETE", "/streams?prefix=&confirm=0", origin="https://evil.example")
    assert foreign.head.status == 403
    closed = await serve(tokens=["token"])
    assert (await closed.get("/streams")).head.status == 401
    assert (await closed.ask("DELETE", "/streams?prefix=&confirm=0")).head.status == 401


async def test_info_is_the_row_of_the_list(loom: Loom):
    await loom.stored("/stream/a/1", b"12345", x_stream_metadata='{"n": 1.00}')
    (listed,) = json.loads(await (await loom.get("/streams")).body())["streams"]
    wire = await loom.get("/stream/a/1?info")
    assert wire.head["content-type"] == "application/json"
    assert json.loads(await wire.body()) == listed
    assert (await loom.get("/stream/a?info")).head.status == 404

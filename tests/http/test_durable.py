"""Durable Streams over a socket, beside the classic interface, with its tokens and limits."""

import asyncio
import json
from typing import Any

import pytest
from tests.http.test_stream_events import Source
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut, Wire

from loom.http.durable import bodies
from loom.http.durable.positions import format_offset
from loom.model import Framing, Patch, State

PATH = "/v1/stream/a"
TEXT: dict[str, Any] = {"content_type": "text/plain"}
JSON: dict[str, Any] = {"content_type": "application/json"}


async def put(loom: Loom, body: bytes = b"", target: str = PATH, **headers: Any) -> Wire:
    return await loom.ask("PUT", target, body, **{**TEXT, **headers})


async def append(loom: Loom, body: bytes, target: str = PATH, **headers: Any) -> Wire:
    return await loom.ask("POST", target, body, **{**TEXT, **headers})


async def read(loom: Loom, query: str = "", target: str = PATH, **headers: Any) -> bytes:
    wire = await loom.get(target + query, **headers)
    assert wire.head.status == 200
    return await wire.body()


async def code(wire: Wire) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return wire.head.status, json.loads(await wire.body())["code"]


async def live(loom: Loom, mode: str, offset: int = 0, target: str = PATH, **headers: Any) -> Wire:
    """Begin a live read; it is answered later."""
    wire = await loom.connect()
    await wire.request("GET", f"{target}?offset={format_offset(offset)}&live={mode}", **headers)
    return wire


async def events(loom: Loom, offset: int = 0, target: str = PATH) -> Source:
    wire = await live(loom, "sse", offset, target)
    assert (await wire.answer()).status == 200
    return Source(wire)


async def control(source: Source) -> dict[str, Any]:
    event = await source.next()
    assert event is not None
    assert event.name == "control"
    return dict(json.loads(event.data))


async def data(source: Source) -> tuple[str, int]:
    """Return the data of the next event, and the offset that the event after it has."""
    event = await source.next()
    assert event is not None
    assert event.name == "data"
    return event.data, int((await control(source))["streamNextOffset"].partition("_")[2])


async def followers(loom: Loom, count: int) -> None:
    """Wait until so many readers follow a stream."""
    while loom.service.load().followers != count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_what_one_writes_is_read_by_the_other_interface(loom: Loom):
    head = (await put(loom, b"one ")).head
    assert (head.status, head["stream-next-offset"]) == (201, format_offset(4))
    assert (head["location"], head["content-length"]) == ("http://localhost/v1/stream/a", "0")
    follower = await loom.get("/stream/a")
    assert await follower.take(4) == b"one "
    head = (await append(loom, b"two")).head
    assert (head.status, head["stream-next-offset"]) == (204, format_offset(7))
    assert await follower.take(3) == b"two"
    closing = (await append(loom, b"", stream_closed="true")).head
    assert (closing.status, closing["stream-closed"]) == (204, "true")
    assert await follower.body() == b""
    assert (await loom.service.info("a")).state is State.COMPLETE


async def test_a_classic_producer_is_live_in_every_mode(loom: Loom):
    producer = await loom.live("/stream/a", b"one ", **TEXT)
    source, poll = await events(loom, 0), await live(loom, "long-poll", 4)
    assert await data(source) == ("one ", 4)
    assert await read(loom) == b"one "
    await followers(loom, 2)
    await producer.chunk(b"two")
    assert await data(source) == ("two", 7)
    head = await poll.answer()
    assert (head.status, head["stream-next-offset"], await poll.body()) == (200, format_offset(7), b"two")
    assert "stream-closed" not in head.headers
    await producer.chunk(b"")
    assert (await control(source)) == {"streamNextOffset": format_offset(7), "streamClosed": True}
    assert await source.rest() == []
    assert (await loom.ask("HEAD", PATH)).head["stream-closed"] == "true"


async def test_a_stream_of_one_producer_takes_no_messages_and_one_of_many_no_upload(loom: Loom):
    await loom.stored("/stream/classic", b"bytes", **TEXT)
    assert await code(await append(loom, b"more", "/v1/stream/classic")) == (405, "method_not_allowed")
    assert await code(await put(loom, target="/v1/stream/classic")) == (409, "exists")
    await put(loom, b"one")
    upload = {"upload_offset": 3, "upload_complete": "?1"}
    assert (await loom.ask("PATCH", "/stream/a", b"more", **upload)).head.status == 409
    assert (await loom.ask("POST", "/stream/a", b"more")).head.status == 409
    assert await read(loom) == b"one"
    # The metadata is everybody's.
    merge = {"content_type": "application/merge-patch+json"}
    assert (await loom.ask("PATCH", "/stream/a", b'{"n": 1}', **merge)).head.status == 204
    assert (await loom.get("/stream/a?notail")).head["x-stream-metadata"] == '{"n": 1}'


async def test_json_is_stored_as_lines_and_sent_as_an_array(loom: Loom):
    head = (await put(loom, b'[{"n": 1.0},\n[2]]', **JSON)).head
    assert head["content-type"] == "application/json"
    assert (await append(loom, b'{"n":\n3}', **JSON)).head.status == 204
    wire = await loom.get(PATH)
    assert (wire.head["content-type"], await wire.body()) == (
        "application/json",
        b'[{"n": 1.0},[2],{"n": 3}]',
    )
    wire = await loom.get("/stream/a?notail")
    assert wire.head["content-type"] == "application/x-ndjson"
    assert await wire.body() == b'{"n": 1.0}\n[2]\n{"n": 3}\n'
    for body in (b"{", b"[]", b'"a\nb"'):
        assert await code(await append(loom, body, **JSON)) == (400, "bad_request")
    assert await code(await append(loom, b"x")) == (409, "conflict")
    # A read from within a message begins with the next one.
    assert [await read(loom, f"?offset={format_offset(at)}") for at in (5, 11, 12, 15, 24)] == [
        *(b'[[2],{"n": 3}]', b'[[2],{"n": 3}]', b'[{"n": 3}]', b'[{"n": 3}]', b"[]"),
    ]


async def test_a_classic_stream_of_json_is_bytes(loom: Loom):
    await loom.stored("/stream/a", b'{"n": 1}\n', **JSON)
    assert await read(loom) == b'{"n": 1}\n'


async def test_a_large_stream_of_json_is_read_in_parts_that_end_with_messages(loom: Loom, monkeypatch):
    monkeypatch.setattr("loom.http.durable.requests.CHUNK", 100_000)
    await put(loom, **JSON)
    values = [{"n": number, "text": number * 5_000 * "x"} for number in range(60)]
    for value in values:
        await append(loom, json.dumps(value).encode(), **JSON)
    offset, parts = "-1", 0
    found: list[Any] = []
    while True:
        wire = await loom.get(f"{PATH}?offset={offset}")
        found += json.loads(await wire.body())
        offset, parts = wire.head["stream-next-offset"], parts + 1
        if "stream-up-to-date" in wire.head:
            break
    assert found == values
    assert parts > 40
    source = await events(loom)
    seen: list[Any] = []
    while len(seen) < 60:
        text, at = await data(source)
        seen += json.loads(text)
        assert at == len("".join(f"{json.dumps(each)}\n" for each in seen))
    assert seen == values


async def test_a_producer_that_repeats_is_stored_once(loom: Loom):
    await put(loom)
    first: dict[str, Any] = {"producer_id": "p", "producer_epoch": 0, "producer_seq": 0}
    wires = [await append(loom, b"one", **first) for _ in range(3)]
    assert [wire.head.status for wire in wires] == [200, 204, 204]
    gap = await append(loom, b"three", **{**first, "producer_seq": 2})
    assert (gap.head["producer-expected-seq"], gap.head["producer-received-seq"]) == ("1", "2")
    assert await code(gap) == (409, "sequence_gap")
    assert (await append(loom, b" two", **{**first, "producer_epoch": 1})).head.status == 200
    fenced = await append(loom, b"late", **{**first, "producer_seq": 1})
    assert (fenced.head["producer-epoch"], await code(fenced)) == ("1", (403, "producer_fenced"))
    last: dict[str, Any] = {**first, "producer_epoch": 1, "producer_seq": 1, "stream_closed": "true"}
    assert [(await append(loom, b" end", **last)).head.status for _ in range(2)] == [200, 204]
    final = await append(loom, b"more")
    assert (final.head["stream-closed"], final.head["stream-next-offset"]) == ("true", format_offset(11))
    assert await code(final) == (409, "final")
    assert await read(loom) == b"one two end"


async def test_many_writers_append_in_some_order_and_lose_nothing(loom: Loom):
    await put(loom, **JSON)

    async def write(name: str) -> None:
        wire = await loom.connect()
        for number in range(25):
            headers: dict[str, Any] = {"producer_id": name, "producer_epoch": 0, "producer_seq": number}
            await wire.request(
                "POST", PATH, json.dumps([name, number]).encode().join((b"[", b"]")), **JSON, **headers
            )
            assert (await wire.answer()).status == 200
            await wire.body()

    await asyncio.gather(*(write(f"w{each}") for each in range(8)))
    found = json.loads(await read(loom))
    assert len(found) == 200
    for each in range(8):
        assert [number for name, number in found if name == f"w{each}"] == list(range(25))


async def test_a_long_poll_waits_for_bytes_or_the_end_or_its_time(serve: Serve):
    loom = await serve(long_poll_timeout=0.2)
    await put(loom, b"one")
    wire = await live(loom, "long-poll", 3)
    head = await wire.answer()
    assert (head.status, head["stream-next-offset"], head["stream-up-to-date"]) == (
        204,
        format_offset(3),
        "true",
    )
    wire = await live(loom, "long-poll", 0)
    assert ((await wire.answer()).status, await wire.body()) == (200, b"one")
    waiting = await live(loom, "long-poll", 3)
    await followers(loom, 1)
    await append(loom, b" end", stream_closed="true")
    head = await waiting.answer()
    assert (head.status, head["stream-closed"], await waiting.body()) == (200, "true", b" end")
    wire = await live(loom, "long-poll", 7)
    assert ((await wire.answer()).status, wire.head["stream-closed"]) == (204, "true")
    assert loom.service.load().followers == 0


async def test_a_long_poll_ends_when_its_stream_is_deleted_or_its_client_leaves(loom: Loom):
    await put(loom)
    waiting, leaving = await live(loom, "long-poll"), await live(loom, "long-poll")
    await followers(loom, 2)
    leaving.reset()
    await followers(loom, 1)
    assert (await loom.ask("DELETE", PATH)).head.status == 204
    await waiting.answer()
    assert await code(waiting) == (404, "not_found")


async def test_each_event_is_followed_by_where_to_resume(loom: Loom):
    await put(loom)
    source = await events(loom)
    assert (await control(source)).items() >= {"streamNextOffset": format_offset(0), "upToDate": True}.items()
    await append(loom, " é1\r\n".encode())
    assert await data(source) == (" é1\n", 6)
    await append(loom, "é".encode()[:1])
    await append(loom, "é".encode()[1:] + b"2", stream_closed="true")
    assert await data(source) == ("é2", 9)
    assert await control(source) == {"streamNextOffset": format_offset(9), "streamClosed": True}
    assert await source.rest() == []


async def test_bytes_that_are_no_text_are_sent_in_base64(loom: Loom):
    await put(loom, bytes(3), content_type="image/png")
    source = await events(loom)
    assert source.wire.head["stream-sse-data-encoding"] == "base64"
    assert await data(source) == ("AAAA", 3)


async def test_an_aborted_stream_never_looks_closed(loom: Loom):
    producer = await loom.live("/stream/a", b"bytes", **TEXT)
    source, waiting = await events(loom), await live(loom, "long-poll", 5)
    assert await data(source) == ("bytes", 5)
    await followers(loom, 2)
    info = await loom.service.info("a")
    await loom.store.change(info.key, Patch(state=State.ABORTED, reason="it failed"), version=info.version)
    with pytest.raises(Cut):
        await source.next()
    await waiting.answer()
    assert await code(waiting) == (409, "aborted")
    wire = await loom.get(PATH)
    assert await wire.body() == b"bytes"
    assert not {"stream-closed", "stream-up-to-date"} & set(wire.head.headers)
    for query in ("?offset=" + format_offset(5), f"?offset={format_offset(5)}&live=long-poll", "?offset=now"):
        assert await code(await loom.get(PATH + query)) == (409, "aborted")
    assert "stream-closed" not in (await loom.ask("HEAD", PATH)).head.headers
    await producer.close()


async def test_a_part_has_a_tag_that_changes_when_the_stream_is_closed(loom: Loom):
    await put(loom, b"one")
    head = (await loom.get(PATH)).head
    assert head["cache-control"] == "private, no-cache, no-transform"
    same = await loom.get(PATH, if_none_match=f'"x", W/{head["etag"]}')
    assert (same.head.status, same.head["etag"]) == (304, head["etag"])
    await append(loom, b"", stream_closed="true")
    assert (await loom.get(PATH, if_none_match=head["etag"])).head.status == 200
    assert "etag" not in (await loom.get(f"{PATH}?offset=now")).head.headers


@pytest.mark.parametrize(
    "query",
    ["?offset=", "?offset=x", "?offset=-1&offset=-1", "?live=sse", "?offset=-1&live=x", "?offset=0_9"],
)
@ONE_STORE
async def test_a_malformed_read_is_refused(loom: Loom, query: str):
    await put(loom, b"one")
    assert await code(await loom.get(PATH + query)) == (400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/stream/__ds", "/v1/stream/__ds/subscriptions/x"])
@ONE_STORE
async def test_subscriptions_are_absent(loom: Loom, method: str, path: str):
    assert (await loom.ask(method, path, **TEXT)).head.status == 404


async def test_a_creation_is_repeated_only_as_it_was(loom: Loom):
    created: dict[str, Any] = {"stream_ttl": 60, "content_type": "text/plain; charset=utf-8"}
    assert (await put(loom, b"one", **created)).head.status == 201
    again = await put(loom, b"two", **{**created, "content_type": "TEXT/plain"})
    assert (again.head.status, again.head["stream-ttl"]) == (200, "60")
    for other in (
        {"stream_ttl": 61},
        {"content_type": "text/html"},
        {"stream_closed": "true"},
        {"content_type": "application/json"},
    ):
        assert await code(await put(loom, **{**created, **other})) == (409, "conflict")
    assert await read(loom) == b"one"


async def test_a_stream_may_be_created_closed(loom: Loom):
    assert (await put(loom, b"all", stream_closed="true", x_stream_metadata="[1]")).head[
        "stream-closed"
    ] == "true"
    info = await loom.service.info("a")
    assert (info.state, info.framing, info.size, info.metadata) == (State.COMPLETE, Framing.BYTES, 3, "[1]")
    wire = await loom.get("/stream/a")
    assert await wire.body() == b"all"


WRITER, READER = (dict[str, Any](authorization=f"Bearer {name}") for name in ("writer", "reader"))
TOKENS: Any = [
    {"token": "writer", "scopes": ["write"], "prefix": "a"},
    {"token": "reader", "scopes": ["read"], "prefix": "a"},
]


@ONE_STORE
async def test_scopes_and_prefixes_hold(serve: Serve):
    loom = await serve(tokens=TOKENS)
    assert (await put(loom)).head.status == 401
    assert (await put(loom, **READER)).head.status == 403
    assert (await put(loom, target="/v1/stream/b", **WRITER)).head.status == 403
    assert (await put(loom, b"one", **WRITER)).head.status == 201
    assert (await append(loom, b" two", **READER)).head.status == 403
    assert (await append(loom, b" two", **WRITER)).head.status == 204
    assert (await loom.get(PATH, **WRITER)).head.status == 403
    assert (await loom.ask("HEAD", PATH, **WRITER)).head["stream-next-offset"] == format_offset(7)
    assert await read(loom, **READER) == b"one two"
    assert (await loom.get("/v1/stream/b", **READER)).head.status == 404
    assert (await loom.ask("DELETE", PATH, **WRITER)).head.status == 403


@ONE_STORE
async def test_limits_on_bytes_hold_and_an_append_is_all_or_nothing(serve: Serve):
    loom = await serve(max_stream_bytes=5000, max_append_bytes=4096)
    await put(loom)
    assert await code(await append(loom, bytes(4097))) == (413, "too_large")
    wire = await loom.connect()
    await wire.post(PATH, **TEXT)
    for _ in range(5):
        await wire.chunk(bytes(1000))
    await wire.answer()
    assert await code(wire) == (413, "too_large")
    assert (await append(loom, bytes(4096))).head.status == 204
    assert await code(await append(loom, bytes(1000))) == (413, "size_limit")
    info = await loom.service.info("a")
    assert (info.size, info.state) == (4096, State.OPEN)
    assert (await append(loom, bytes(904))).head.status == 204
    assert await code(await put(loom, bytes(4097), target="/v1/stream/b")) == (413, "too_large")


@ONE_STORE
async def test_bodies_that_wait_are_bounded_in_number_and_time(serve: Serve, monkeypatch):
    monkeypatch.setattr(bodies, "SILENCE", 0.1)
    loom = await serve(max_append_bytes=1024)
    await put(loom)
    stuck = [await loom.connect() for _ in range(bodies.BODIES_AT_ONCE)]
    for wire in stuck:
        await wire.post(PATH, **TEXT)
        await wire.chunk(bytes(1024))
    refused = {await code(wire) for wire in stuck if await wire.answer()}
    assert refused == {(408, "idle")}
    assert (await append(loom, bytes(1024))).head.status == 204


@ONE_STORE
async def test_bodies_beyond_the_memory_for_all_are_refused(serve: Serve):
    loom = await serve(max_append_bytes=1024)
    await put(loom)
    waiting = [await loom.connect() for _ in range(bodies.BODIES_AT_ONCE)]
    for wire in waiting:
        await wire.request("POST", PATH, transfer_encoding="chunked", expect="100-continue", **TEXT)
        assert (await wire.answer()).status == 100
        await wire.chunk(bytes(1024))
    one_more = await loom.connect()
    await one_more.post(PATH, **TEXT)
    await one_more.chunk(b"x")
    await one_more.answer()
    assert await code(one_more) == (503, "too_many")
    for wire in waiting:
        await wire.chunk(b"")
        assert (await wire.answer()).status == 204


@ONE_STORE
async def test_a_daily_quota_counts_what_is_stored_and_no_repeat(serve: Serve):
    loom = await serve(tokens=[{"token": "ci", "scopes": ["admin"], "max_bytes_per_day": 1100}])
    ci: dict[str, Any] = {"authorization": "Bearer ci", "producer_id": "p", "producer_epoch": 0}
    assert (await put(loom, bytes(20), authorization="Bearer ci")).head.status == 201
    for _ in range(3):
        assert (await append(loom, bytes(40), producer_seq=0, **ci)).head.status in (200, 204)
    wire = await append(loom, bytes(40), producer_seq=1, **ci)
    assert await code(wire) == (429, "quota_exceeded")
    assert (await loom.service.info("a")).size == 60


@ONE_STORE
async def test_a_limit_on_followers_counts_long_polls_and_events(serve: Serve):
    loom = await serve(max_followers=1)
    await put(loom)
    waiting = await live(loom, "long-poll")
    await followers(loom, 1)
    for mode in ("long-poll", "sse"):
        wire = await live(loom, mode)
        await wire.answer()
        assert await code(wire) == (503, "too_many")
    await append(loom, b"x")
    assert (await waiting.answer()).status == 200


@ONE_STORE
async def test_secrets_are_redacted_within_a_message_and_across_messages(serve: Serve):
    loom = await serve(redact=[{"prefix": "", "literals": ["password"]}])
    await put(loom, b"a password, and pass")
    await append(loom, b"word ")
    await append(loom, b"on\npassword")
    shown = await read(loom)
    assert shown == b"a ********, and ******** on\n********"
    await put(loom, b'["a password", {"password": 1}]', "/v1/stream/json", **JSON)
    assert json.loads(await read(loom, target="/v1/stream/json")) == ["a ********", {"********": 1}]


@ONE_STORE
async def test_a_page_of_an_allowed_origin_may_use_it(serve: Serve):
    loom = await serve(cors_origins=["https://app.example"])
    preflight = await loom.ask(
        *("OPTIONS", PATH),
        origin="https://app.example",
        access_control_request_method="PUT",
        access_control_request_headers="producer-id,if-none-match",
    )
    assert "if-none-match" in preflight.head["access-control-allow-headers"].lower()
    await put(loom, b"one")
    head = (await loom.get(PATH, origin="https://app.example")).head
    exposed = head["access-control-expose-headers"].lower()
    assert {"stream-next-offset", "stream-closed", "stream-cursor", "producer-epoch"} <= set(
        exposed.split(", ")
    )
    assert (await put(loom, target="/v1/stream/b", origin="https://evil.example")).head.status == 403


@ONE_STORE
async def test_a_server_that_stops_ends_live_reads_and_takes_no_more(loom: Loom):
    await put(loom, b"one")
    source, waiting = await events(loom, 3), await live(loom, "long-poll", 3)
    await control(source)
    await followers(loom, 2)
    await loom.service.drain(loom.service.now())
    assert await source.rest() == []
    await waiting.answer()
    assert await code(waiting) == (503, "stopped")
    assert (await append(loom, b"x")).head.status == 503
    assert (await put(loom, target="/v1/stream/b")).head.status == 503


async def fork(
    loom: Loom, target: str, at: int | None = None, more: str = "", body: bytes = b"", **headers: Any
) -> Wire:
    """Fork a stream at an offset, None for its end, and `more` bytes or messages."""
    headers |= {} if at is None else {"stream_fork_offset": format_offset(at)}
    headers |= {"stream_fork_sub_offset": more} if more else {}
    return await loom.ask("PUT", target, body, stream_forked_from=PATH, **headers)


async def test_a_fork_begins_like_its_source_and_goes_its_own_way(loom: Loom):
    await put(loom, b"one two", stream_ttl=60)
    head = (await fork(loom, "/v1/stream/b", at=3, more="1", body=b"three")).head
    assert (head.status, head["stream-next-offset"], head["stream-ttl"]) == (201, format_offset(9), "60")
    await append(loom, b" more")
    await append(loom, b"!", "/v1/stream/b", stream_closed="true")
    assert (await read(loom), await read(loom, target="/v1/stream/b")) == (b"one two more", b"one three!")
    source = await loom.service.info("a")
    info = await loom.service.info("b")
    assert (info.source, info.fork) == (source.key, 4)


async def test_a_fork_of_json_is_cut_between_messages(loom: Loom):
    await put(loom, b'[{"n":1},22,3]', **JSON)
    assert (await fork(loom, "/v1/stream/b", at=0, more="2")).head["content-type"] == "application/json"
    assert json.loads(await read(loom, target="/v1/stream/b")) == [{"n": 1}, 22]
    assert (await fork(loom, "/v1/stream/c", at=8)).head.status == 201
    for at, more in ((9, ""), (0, "4"), (14, ""), (99, "")):
        assert await code(await fork(loom, "/v1/stream/d", at=at, more=more)) == (400, "bad_request")


async def test_a_producer_of_the_source_is_new_to_the_fork(loom: Loom):
    first: dict[str, Any] = {"producer_id": "p", "producer_epoch": 0, "producer_seq": 0}
    await put(loom)
    await append(loom, b"one", **first)
    await fork(loom, "/v1/stream/b")
    assert (await append(loom, b" two", "/v1/stream/b", **first)).head.status == 200
    assert await read(loom, target="/v1/stream/b") == b"one two"


async def test_a_classic_stream_may_be_forked(loom: Loom):
    producer = await loom.live("/stream/a", b"step 1\n", **TEXT)
    assert (await fork(loom, "/v1/stream/b", body=b"my comment")).head.status == 201
    await producer.chunk(b"")
    assert await read(loom, target="/v1/stream/b") == b"step 1\nmy comment"
    assert (await append(loom, b"!", "/v1/stream/b")).head.status == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"stream_forked_from": "/v1/stream/none"}, 404),
        ({"stream_forked_from": "/stream/a"}, 400),
        ({"stream_forked_from": "/v1/stream/"}, 400),
        ({"stream_fork_offset": format_offset(0)}, 400),
        ({"stream_forked_from": PATH, "stream_fork_offset": "now"}, 400),
        ({"stream_forked_from": PATH, "stream_fork_sub_offset": "01"}, 400),
        ({"stream_forked_from": PATH, "content_type": "text/html"}, 409),
    ],
)
@ONE_STORE
async def test_a_fork_that_cannot_be_is_refused(loom: Loom, headers: dict[str, Any], status: int):
    await put(loom, b"one")
    assert (await loom.ask("PUT", "/v1/stream/b", b"", **headers)).head.status == status


async def test_a_fork_is_repeated_only_as_it_was(loom: Loom):
    await put(loom, b"one two")
    assert (await fork(loom, "/v1/stream/b")).head.status == 201
    await append(loom, b" more")
    assert (await fork(loom, "/v1/stream/b")).head.status == 200
    assert (await fork(loom, "/v1/stream/b", at=7)).head.status == 200
    assert (await fork(loom, "/v1/stream/b", at=3)).head.status == 409
    assert (await put(loom, target="/v1/stream/b")).head.status == 409


@ONE_STORE
async def test_a_fork_needs_to_read_its_source(serve: Serve):
    loom = await serve(tokens=[*TOKENS, {"token": "b", "scopes": ["read", "write"], "prefix": "b"}])
    await put(loom, b"secret", **WRITER)
    assert (await fork(loom, "/v1/stream/ab", **WRITER)).head.status == 403
    other: dict[str, Any] = {"authorization": "Bearer b"}
    assert (await fork(loom, "/v1/stream/b", **other)).head.status in (403, 404)
    assert (await loom.ask("HEAD", "/v1/stream/b", **other)).head.status == 404

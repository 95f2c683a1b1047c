"""What a token allows, and what it does not reveal."""

import json
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Cut

pytestmark = ONE_STORE

TOKENS: list[Any] = [
    "root",
    {"name": "reader", "token": "reads-a", "scopes": ["read"], "prefix": "a/"},
    {"name": "job", "token": "writes-a", "scopes": ["write"], "prefix": "a/"},
    {"name": "cleaner", "token": "replaces-a", "scopes": ["replace", "write"], "prefix": "a/"},
]


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    loom = await serve(tokens=TOKENS)
    for id in ("a/1", "a/2", "b/1"):
        await loom.stored(f"/stream/{id}", b"bytes of " + id.encode(), authorization="Bearer root")
    return loom


async def status(loom: Loom, token: str, method: str, target: str, body: Any = None, **headers: Any) -> int:
    wire = await loom.ask(method, target, body, authorization=f"Bearer {token}", **headers)
    code: int = wire.head.status
    await wire.close()
    return code


async def sign(loom: Loom, by: str, **wanted: Any) -> Any:
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted).encode(), authorization=f"Bearer {by}")
    return wire.head.status, json.loads(await wire.body())


@pytest.mark.parametrize(
    ("token", "method", "target", "expected"),
    [
        ("reads-a", "GET", "/stream/a/1", 200),
        ("reads-a", "HEAD", "/stream/a/1", 200),
        ("reads-a", "GET", "/stream/b/1", 404),
        ("reads-a", "HEAD", "/stream/b/1", 404),
        ("reads-a", "DELETE", "/stream/b/1", 404),
        ("reads-a", "DELETE", "/stream/a/1", 403),
        ("reads-a", "POST", "/stream/a/new", 403),
        ("writes-a", "POST", "/stream/a/new", 201),
        ("writes-a", "POST", "/stream/a/1", 409),
        ("writes-a", "POST", "/stream/a/1?force", 403),
        ("writes-a", "POST", "/stream/b/1", 403),
        ("writes-a", "POST", "/stream/b/none", 403),
        ("writes-a", "POST", "/stream", 403),
        ("writes-a", "GET", "/stream/a/1", 403),
        ("writes-a", "HEAD", "/stream/a/1", 200),
        ("writes-a", "HEAD", "/stream/b/1", 404),
        ("writes-a", "PATCH", "/stream/b/1", 404),
        ("writes-a", "DELETE", "/stream/a/1", 403),
        ("writes-a", "GET", "/streams", 403),
        ("writes-a", "GET", "/spy", 403),
        ("replaces-a", "POST", "/stream/a/1?force", 201),
        ("replaces-a", "DELETE", "/stream/a/1", 204),
        ("replaces-a", "DELETE", "/stream/b/1", 404),
        ("replaces-a", "DELETE", "/streams?prefix=a/&dry_run", 200),
        ("replaces-a", "DELETE", "/streams?prefix=a&dry_run", 403),
        ("replaces-a", "DELETE", "/streams?prefix=&dry_run", 403),
        ("root", "DELETE", "/streams?prefix=&dry_run", 200),
    ],
)
async def test_a_token_opens_its_streams_and_no_others(loom: Loom, token, method, target, expected):
    assert await status(loom, token, method, target) == expected


async def test_a_stream_outside_the_prefix_looks_missing(loom: Loom):
    answers = []
    for id in ("b/1", "b/2"):
        wire = await loom.get(f"/stream/{id}", authorization="Bearer reads-a")
        answers.append((wire.head.status, (await wire.body()).replace(id.encode(), b"ID")))
    assert answers[0] == answers[1]


async def test_a_producer_that_may_not_read_gets_its_offset_and_no_more(loom: Loom):
    wire = await loom.ask("HEAD", "/stream/a/1", authorization="Bearer writes-a")
    assert wire.head["upload-offset"] == "12"
    assert not {"x-stream-metadata", "content-type", "x-stream-state"} & wire.head.headers.keys()


async def test_a_listing_has_only_streams_that_the_token_may_read(loom: Loom):
    for target, ids in [
        ("/streams", ["a/2", "a/1"]),
        ("/streams?prefix=a/2", ["a/2"]),
        ("/streams?prefix=b", []),
    ]:
        wire = await loom.get(target, authorization="Bearer reads-a")
        assert [row["id"] for row in json.loads(await wire.body())["streams"]] == ids


async def test_folders_and_counts_have_only_streams_that_the_token_may_read(loom: Loom):
    for id in ("a/1/x", "a/10/x", "a/1/y"):
        await loom.stored(f"/stream/{id}", b"", authorization="Bearer root")
    _, signed = await sign(loom, "reads-a", scopes=["read"], prefix="a/1", expires_in=60)
    for token, target, count, prefixes in [
        ("reads-a", "/folders", 5, ["a/1/", "a/10/"]),
        ("reads-a", "/folders?prefix=b", 0, []),
        (signed["token"], "/folders", 3, ["a/1/"]),
        (signed["token"], "/folders?prefix=a/1", 3, ["a/1/"]),
    ]:
        found = json.loads(await (await loom.get(target, authorization=f"Bearer {token}")).body())
        assert (found["count"], [each["prefix"] for each in found["folders"]]) == (count, prefixes), target
    wire = await loom.get("/streams?count", authorization=f"Bearer {signed['token']}")
    assert json.loads(await wire.body())["count"] == 3
    assert await status(loom, "writes-a", "GET", "/folders") == 403


async def test_a_spy_gets_only_streams_that_the_token_may_read(loom: Loom):
    spy = await loom.get("/spy", authorization="Bearer reads-a")
    for id in ("b/2", "a/3"):
        await loom.stored(f"/stream/{id}", b"bytes\n", authorization="Bearer root")
    expected = b"START: a/3\na/3:\nbytes\nEND: a/3\n"
    assert await spy.take(len(expected)) == expected


async def test_a_signed_token_reads_one_stream_until_it_expires(loom: Loom):
    code, signed = await sign(loom, "reads-a", scopes=["read"], id="a/1", expires_in=3600)
    assert code == 201
    assert await status(loom, signed["token"], "GET", "/stream/a/1") == 200
    assert await status(loom, signed["token"], "GET", "/stream/a/2") == 404
    assert await status(loom, signed["token"], "POST", "/stream/a/1?force") == 403
    wire = await loom.get("/streams", authorization=f"Bearer {signed['token']}")
    assert [row["id"] for row in json.loads(await wire.body())["streams"]] == ["a/1"]


async def test_a_signed_token_lets_an_untrusted_job_write_its_streams_and_erase_nothing(loom: Loom):
    _, signed = await sign(loom, "root", scopes=["write"], prefix="build-42/", expires_in=60, name="job 42")
    token = signed["token"]
    line = loom.logged(who="job 42", method="POST")
    assert await status(loom, token, "POST", "/stream/build-42/log", b"x") == 201
    await line
    assert await status(loom, token, "POST", "/stream/build-42/log?force", b"y") == 403
    assert await status(loom, token, "DELETE", "/stream/build-42/log") == 403
    assert await status(loom, token, "POST", "/stream/build-43/log", b"x") == 403
    assert (await sign(loom, token, scopes=["read"], prefix="build-42/", expires_in=60))[0] == 403
    assert (await sign(loom, token, scopes=["write"], prefix="build-42/x", expires_in=60))[0] == 201


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"scopes": ["read"], "id": "a/1"},
        {"scopes": ["read"], "expires_in": 60},
        {"scopes": ["read"], "id": "a/1", "prefix": "a", "expires_in": 60},
        {"scopes": ["fly"], "id": "a/1", "expires_in": 60},
        {"scopes": "read", "id": "a/1", "expires_in": 60},
        {"scopes": [["read"]], "id": "a/1", "expires_in": 60},
        {"scopes": ["read"], "id": "", "expires_in": 60},
        {"scopes": ["read"], "id": 7, "expires_in": 60},
        {"scopes": ["read"], "id": "a/1", "expires_in": 1e12},
        {"scopes": ["read"], "id": "a/1", "expires_in": True},
        {"scopes": ["read"], "id": "a/1", "expires_in": 60, "until": 7},
    ],
)
async def test_an_invalid_request_signs_nothing(loom: Loom, wanted):
    code, answer = await sign(loom, "root", **wanted)
    assert code == 400
    assert "token" not in answer


@pytest.mark.parametrize(
    ("body", "expected"), [(b"[]", 400), (b"{", 400), (b"[" * 3000, 400), (b" " * 5000, 413)]
)
async def test_a_body_that_is_not_an_object_signs_nothing(loom: Loom, body, expected):
    assert await status(loom, "root", "POST", "/tokens", body) == expected


async def test_a_server_without_tokens_signs_nothing(serve: Serve):
    assert (await sign(await serve(), "any", scopes=["read"], id="a", expires_in=60))[0] == 409


async def test_an_expired_token_cuts_readers_but_not_producers(serve: Serve):
    loom = await serve(tokens=["root"])
    _, signed = await sign(loom, "root", scopes=["read", "write"], prefix="", expires_in=1)
    expires = f"Bearer {signed['token']}"
    producer = await loom.live("/stream/s", authorization=expires)
    reader = await loom.get("/stream/s", authorization=expires)
    with pytest.raises(Cut):
        await reader.body()
    await producer.chunk(b"after the end")
    await producer.chunk(b"")
    assert await producer.body() == b""
    wire = await loom.get("/stream/s", authorization="Bearer root")
    assert await wire.body() == b"after the end"


async def test_a_refusal_names_the_missing_scope_or_what_the_token_covers(loom: Loom):
    for token, method, target, detail in [
        ("writes-a", "POST", "/stream/b/1", "This token covers the prefix a/ only."),
        ("reads-a", "POST", "/stream/a/new", "This token does not have the scope write."),
    ]:
        wire = await loom.ask(method, target, b"", authorization=f"Bearer {token}")
        assert (wire.head.status, json.loads(await wire.body())["detail"]) == (403, detail)
    _, signed = await sign(loom, "root", scopes=["write"], id="one", expires_in=60)
    wire = await loom.ask("POST", "/stream/two", b"", authorization=f"Bearer {signed['token']}")
    assert json.loads(await wire.body())["detail"] == "This token covers the stream one only."

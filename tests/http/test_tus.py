"""tus 1.0 (https://tus.io/protocols/resumable-upload): uploads are streams, on the same paths."""

import hashlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.running import ONE_STORE, Loom, Serve
from tests.support.wire import Head, Wire

from loom.model import Patch, State

OFFSET_STREAM = "application/offset+octet-stream"
EXAMPLE = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential"
"""Of the protocol's text; the file is called world_domination_plan.pdf."""
TOKENS: Any = [
    {"name": "reader", "token": "a-token-for-reading", "scopes": ["read"]},
    {"name": "writer", "token": "a-token-for-writing", "scopes": ["write"]},
]


async def ask(loom: Loom, method: str, target: str, data: bytes = b"", **headers: Any) -> Wire:
    """Send a request; each response to it has the version."""
    wire = await loom.ask(method, target, data, tus_resumable="1.0.0", **headers)
    assert wire.head["tus-resumable"] == "1.0.0"
    return wire


async def created(loom: Loom, target: str = "/stream/a", **headers: Any) -> Head:
    head = (await ask(loom, "POST", target, **headers)).head
    assert head.status == 201
    return head


async def patch(loom: Loom, offset: int, data: bytes, target: str = "/stream/a", **headers: Any) -> Head:
    fields = {"content_type": OFFSET_STREAM, "upload_offset": offset} | headers
    return (await ask(loom, "PATCH", target, data, **fields)).head


async def report(loom: Loom, target: str = "/stream/a", **headers: Any) -> Head:
    head = (await ask(loom, "HEAD", target, **headers)).head
    assert "no-store" in head["cache-control"]
    return head


async def state(loom: Loom, id: str = "a") -> State:
    return (await loom.service.info(id)).state


async def content(loom: Loom) -> bytes:
    return await (await loom.get("/stream/a?notail")).body()


async def test_the_example_of_the_protocol(loom: Loom):
    head = await created(loom, "/stream", upload_length=100, upload_metadata=EXAMPLE)
    target = head["location"]
    assert (await patch(loom, 0, bytes(70), target)).status == 204
    head = await report(loom, target)
    assert (head.status, head["upload-offset"], head["upload-length"]) == (200, "70", "100")
    assert head["upload-metadata"] == EXAMPLE
    head = await patch(loom, 70, bytes(30), target)
    assert (head.status, head["upload-offset"]) == (204, "100")
    id = target.removeprefix("/stream/")
    info = await loom.service.info(id)
    assert (info.state, info.size) == (State.COMPLETE, 100)
    assert info.metadata == '{"filename": "world_domination_plan.pdf", "is_confidential": ""}'
    assert (await report(loom, target))["upload-offset"] == "100"


async def test_options_name_version_extensions_and_limits_and_need_no_version(serve: Serve):
    loom = await serve(max_stream_bytes=5000)
    for target in ("/stream", "/stream/a"):
        head = (await loom.ask("OPTIONS", target)).head
        assert head.status == 204
        assert (head["tus-version"], head["tus-resumable"], head["tus-max-size"]) == (
            "1.0.0",
            "1.0.0",
            "5000",
        )
        extensions = set(head["tus-extension"].split(","))
        assert extensions == {
            *("creation", "creation-with-upload", "creation-defer-length"),
            *("termination", "expiration", "checksum"),
        }
        assert "sha1" in head["tus-checksum-algorithm"].split(",")
    assert (await loom.ask("OPTIONS", "/stream", tus_resumable="0.2.2")).head.status == 204
    assert (await ask(loom, "POST", "/stream/a", upload_length=5001)).head.status == 413


@pytest.mark.parametrize("version", ["0.2.2", "1", "1.0.0, 1.0.0"])
@ONE_STORE
async def test_another_version_is_refused_and_nothing_is_done(loom: Loom, version: str):
    wire = await loom.ask("POST", "/stream/a", tus_resumable=version, upload_length=1)
    assert (wire.head.status, wire.head["tus-version"]) == (412, "1.0.0")
    assert (await loom.get("/stream/a")).head.status == 404


async def test_an_upload_is_followed_while_it_grows_and_ends_for_its_followers(loom: Loom):
    await created(loom, upload_length=8, upload_metadata=f"filetype {b64encode(b'text/plain').decode()}")
    follower = await loom.get("/stream/a")
    assert follower.head["content-type"] == "text/plain"
    assert (await patch(loom, 0, b"one ")).status == 204
    assert await follower.take(4) == b"one "
    assert await state(loom) is State.OPEN
    assert (await patch(loom, 4, b"two!")).status == 204
    assert await follower.body() == b"two!"
    assert await state(loom) is State.COMPLETE


async def test_an_empty_upload_is_complete_at_once(loom: Loom):
    await created(loom, upload_length=0)
    assert await state(loom) is State.COMPLETE
    assert (await report(loom))["upload-offset"] == "0"


async def test_a_creation_may_carry_bytes(loom: Loom):
    head = (await ask(loom, "POST", "/stream/a", b"one ", upload_length=7, content_type=OFFSET_STREAM)).head
    assert (head.status, head["location"], head["upload-offset"]) == (201, "/stream/a", "4")
    assert "upload-expires" in head.headers
    assert (await patch(loom, 4, b"two"))["upload-offset"] == "7"
    assert await content(loom) == b"one two"


async def test_a_length_may_come_later_and_once(loom: Loom):
    await created(loom, upload_defer_length=1)
    assert (await report(loom))["upload-defer-length"] == "1"
    assert (await patch(loom, 0, b"one ")).status == 204
    assert (await patch(loom, 4, b"two ", upload_length=13)).status == 204
    head = await report(loom)
    assert (head["upload-length"], head["upload-offset"]) == ("13", "8")
    assert "upload-defer-length" not in head.headers
    assert (await patch(loom, 8, b"", upload_length=14)).status == 400
    assert (await patch(loom, 8, b"three")).status == 204
    assert await state(loom) is State.COMPLETE


async def test_another_offset_is_a_conflict_that_stores_nothing(loom: Loom):
    await created(loom, upload_length=8)
    assert (await patch(loom, 0, b"one ")).status == 204
    for offset in (0, 5):
        head = await patch(loom, offset, b"two!")
        assert (head.status, head["upload-offset"]) == (409, "4")
    assert await content(loom) == b"one "


async def test_a_connection_that_is_lost_keeps_what_arrived_and_waits_as_long_as_a_pause(serve: Serve):
    loom = await serve(resume_window=1)
    await created(loom, upload_length=8)
    wire = await loom.connect()
    await wire.request(
        "PATCH",
        "/stream/a",
        tus_resumable="1.0.0",
        upload_offset=0,
        content_type=OFFSET_STREAM,
        content_length=8,
    )
    await wire.send(b"one ")
    follower = await loom.get("/stream/a")
    assert await follower.take(4) == b"one "
    wire.reset()
    info = await loom.until("a", State.INTERRUPTED)
    assert info.resume_window == 86400
    head = await report(loom)
    assert head["upload-offset"] == "4"
    assert "upload-expires" in head.headers
    assert (await patch(loom, 4, b"two!")).status == 204
    assert await follower.body() == b"two!"


async def test_termination_deletes_the_upload(loom: Loom):
    await created(loom, upload_length=8)
    head = (await ask(loom, "DELETE", "/stream/a")).head
    assert head.status == 204
    head = await report(loom)
    assert head.status == 404
    assert "upload-offset" not in head.headers
    assert (await patch(loom, 0, b"late")).status == 404


async def test_a_post_may_stand_for_another_method(loom: Loom):
    await created(loom, upload_length=4)
    fields = {"content_type": OFFSET_STREAM, "upload_offset": 0, "x_http_method_override": "PATCH"}
    assert (await ask(loom, "POST", "/stream/a", b"four", **fields)).head.status == 204
    assert await content(loom) == b"four"
    assert (await ask(loom, "POST", "/stream/a", x_http_method_override="DELETE")).head.status == 204
    assert (await loom.get("/stream/a")).head.status == 404


async def test_only_tus_requests_for_streams_have_their_method_replaced(loom: Loom):
    await created(loom, upload_length=4)
    plain = await loom.ask("POST", "/stream/a", x_http_method_override="DELETE")
    assert plain.head.status == 409
    wire = await loom.ask("POST", "/streams", tus_resumable="1.0.0", x_http_method_override="DELETE")
    assert wire.head.status == 405
    assert "tus-resumable" not in wire.head.headers


def digests() -> list[tuple[str, Callable[[bytes], Any]]]:
    return [
        ("sha1", hashlib.sha1),
        ("sha256", hashlib.sha256),
        ("sha512", hashlib.sha512),
        ("md5", hashlib.md5),
    ]


@pytest.mark.parametrize(("name", "digest"), digests())
@ONE_STORE
async def test_a_body_is_stored_only_if_it_matches_its_checksum(loom: Loom, name, digest):
    await created(loom, upload_length=8)
    right = f"{name} {b64encode(digest(b'one ').digest()).decode()}"
    wrong = f"{name} {b64encode(digest(b'two!').digest()).decode()}"
    wire = await ask(
        loom,
        "PATCH",
        "/stream/a",
        b"one ",
        content_type=OFFSET_STREAM,
        upload_offset=0,
        upload_checksum=wrong,
    )
    assert (wire.head.status, wire.head.version) == (460, "HTTP/1.1")
    assert b"checksum_mismatch" in await wire.body()
    assert (await report(loom))["upload-offset"] == "0"
    assert (await patch(loom, 0, b"one ", upload_checksum=right)).status == 204
    assert await content(loom) == b"one "


@pytest.mark.parametrize("checksum", ["crc32 AAAA", "sha1", "sha1 !", "sha1 AAAA, sha1 AAAA"])
@ONE_STORE
async def test_a_checksum_that_cannot_be_compared_is_refused(loom: Loom, checksum: str):
    await created(loom, upload_length=8)
    assert (await patch(loom, 0, b"one ", upload_checksum=checksum)).status in (400, 460)
    assert await content(loom) == b""


async def test_a_body_with_a_checksum_has_a_bound(loom: Loom):
    await created(loom, upload_length=6 << 20)
    assert (await patch(loom, 0, bytes(5 << 20), upload_checksum="sha1 AAAA")).status == 413


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload_length": "-1"},
        {"upload_length": "ten"},
        {"upload_defer_length": 2},
        {"upload_length": 4, "upload_defer_length": 1},
        {"upload_length": 4, "upload_metadata": "name !"},
        {"upload_length": 4, "upload_metadata": "name /w=="},
        {"upload_length": 4, "upload_metadata": ","},
        {"upload_length": 4, "upload_metadata": "name QQ==,name QQ=="},
        {"upload_length": 4, "upload_metadata": f"name {b64encode(bytes(5000)).decode()}"},
    ],
)
@ONE_STORE
async def test_a_malformed_creation_is_refused(loom: Loom, headers: dict[str, Any]):
    wire = await ask(loom, "POST", "/stream/a", **headers)
    assert wire.head.status == 400
    assert (await loom.get("/stream/a")).head.status == 404


@ONE_STORE
async def test_bytes_need_their_content_type(loom: Loom):
    assert (await ask(loom, "POST", "/stream/a", b"four", upload_length=4)).head.status == 415
    await created(loom, upload_length=4)
    assert (await patch(loom, 0, b"four", content_type="text/plain")).status == 415
    assert (await patch(loom, 0, b"four", content_encoding="gzip")).status == 415
    assert await content(loom) == b""


@ONE_STORE
async def test_more_bytes_than_announced_are_refused(loom: Loom):
    await created(loom, upload_length=4)
    assert (await patch(loom, 0, b"more than four")).status == 400
    assert (await created(loom, "/stream/b", upload_length=4)).status == 201
    assert (await ask(loom, "POST", "/stream/a", upload_length=4)).head.status == 409


async def test_an_aborted_upload_is_gone(loom: Loom):
    await created(loom, upload_length=4)
    info = await loom.service.info("a")
    await loom.store.change(
        info.key, Patch(state=State.ABORTED, reason="it took too long"), version=info.version
    )
    head = await report(loom)
    assert head.status == 410
    assert "upload-offset" not in head.headers
    assert (await patch(loom, 0, b"four")).status == 409


async def test_scopes_hold(serve: Serve):
    loom = await serve(tokens=TOKENS)
    reader, writer = (dict[str, Any](authorization=f"Bearer {each['token']}") for each in TOKENS)
    await created(loom, upload_length=4, upload_metadata=EXAMPLE, **writer)
    assert (await ask(loom, "POST", "/stream/b", upload_length=4, **reader)).head.status == 403
    assert (await patch(loom, 0, b"four", **reader)).status == 403
    assert (await report(loom, **reader))["upload-metadata"] == EXAMPLE
    head = await report(loom, **writer)
    assert (head.status, head["upload-offset"]) == (200, "0")
    assert "upload-metadata" not in head.headers
    assert (await report(loom)).status == 401
    assert (await ask(loom, "DELETE", "/stream/a", **writer)).head.status == 403

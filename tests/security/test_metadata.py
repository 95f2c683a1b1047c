"""One check of metadata for every way in, and readers that survive what an older version stored."""

import json
import subprocess
from pathlib import Path

import jwt
import pytest
from tests.support.program import BIN, environment
from tests.support.running import ONE_STORE, Loom, Serve

from loom.client import AsyncClient
from loom.client.errors import InvalidRequest
from loom.client.uploads import Creation
from loom.errors import InvalidMetadata
from loom.http.stream.metadata import parse_merge_patch, parse_metadata
from loom.model import NewStream, Patch, State
from loom.wire.rows import encode_row

KEY = "signing-key-of-the-test-with-32-characters"
DIGITS = "9" * 5000
DEEP = "[" * 150 + "]" * 150
INVALID = [
    DIGITS,
    f'{{"a": {{"b": [{DIGITS}]}}}}',
    '{"a": "\\ud800"}',
    '{"a": NaN}',
    "[-Infinity]",
    f'{{"a": {DEEP}}}',
]
KINDS = ["integer", "nested integer", "surrogate", "NaN", "infinity", "depth"]


@pytest.mark.parametrize("text", INVALID, ids=KINDS)
def test_every_way_in_refuses_what_readers_cannot_parse(text: str, tmp_path: Path):
    with pytest.raises(InvalidMetadata):
        parse_metadata([text.encode()], 1 << 15)
    with pytest.raises(InvalidMetadata):
        parse_merge_patch(text.encode())
    with pytest.raises(InvalidRequest):
        Creation(metadata=text)
    (tmp_path / "stream-a.log").write_bytes(b"data")
    table = tmp_path / "table.json"
    table.write_text(f'[{{"id": "a", "meta": {text}}}]')
    command = [BIN / "loom", "import", tmp_path, "--metadata", table, "--data", tmp_path / "data", "--json"]
    done = subprocess.run([str(word) for word in command], env=environment(), capture_output=True, text=True)
    assert json.loads(done.stdout)["streams"] == {"failed": 1}


@pytest.fixture
async def loom(serve: Serve) -> Loom:
    """A server whose store has a stream for each kind of metadata that an older version stored."""
    loom = await serve()
    for kind, text in zip(KINDS, INVALID, strict=True):
        writer = await loom.store.create(NewStream(id=kind.replace(" ", "-"), metadata=text))
        await writer.close(Patch(state=State.COMPLETE))
    await loom.stored("/stream/good", b"x", x_stream_metadata='{"a": 1.50}')
    return loom


def strict(text: bytes | str) -> object:
    """Parse JSON as JavaScript does: no NaN, no half of a surrogate pair."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


async def test_lists_show_every_stream(loom: Loom):
    body = await (await loom.get("/streams")).body()
    rows = {row["id"]: row["metadata"] for row in strict(body)["streams"]}  # type: ignore[index]
    assert rows == {
        "integer": DIGITS,
        "nested-integer": {"a": {"b": [DIGITS]}},
        "surrogate": {"a": "\ufffd"},
        "NaN": {"a": "NaN"},
        "infinity": ["-Infinity"],
        "depth": f'{{"a": {DEEP}}}',
        "good": {"a": 1.5},
    }
    assert b'{"a": 1.50}' in body, "valid metadata is copied"


async def test_a_filter_on_metadata_works_despite_invalid_metadata(loom: Loom):
    found = {}
    for name, value in (("a", "1.50"), ("b", "x")):
        wire = await loom.get(f"/streams?meta.{name}={value}")
        assert wire.head.status == 200
        found[name] = [row["id"] for row in strict(await wire.body())["streams"]]  # type: ignore[index]
    assert found == {"a": ["good"], "b": []}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_read_and_its_metadata_mended(loom: Loom, kind: str):
    path = f"/stream/{kind.replace(' ', '-')}"
    strict((await loom.get(path)).head["x-stream-metadata"])
    strict(await (await loom.get(f"{path}?info")).body())
    patch = await loom.ask("PATCH", path, b'{"a": null, "b": 2}', content_type="application/merge-patch+json")
    assert patch.head.status == 204
    assert strict(patch.head["x-stream-metadata"])["b"] == 2  # type: ignore[index]


async def test_events_show_streams_with_invalid_metadata(loom: Loom):
    wire = await loom.get("/events")
    for number, text in enumerate(INVALID):
        await loom.store.create(NewStream(id=f"new-{number}", metadata=text))
    for number in range(len(INVALID)):
        event = await wire.until(b"\n\n")
        while b"data: " not in event:
            event = await wire.until(b"\n\n")
        row = strict(event.partition(b"data: ")[2].partition(b"\n")[0])
        assert row["id"] == f"new-{number}"  # type: ignore[index]


@ONE_STORE
async def test_a_signed_prefix_has_whole_characters(serve: Serve):
    loom = await serve(tokens=["root-token-of-the-test"], signing_key=KEY)
    root = {"authorization": "Bearer root-token-of-the-test"}
    wanted = {"scopes": ["read"], "expires_in": 60, "prefix": "\ud800"}
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted).encode(), **root)
    assert wire.head.status == 400
    wire = await loom.ask("POST", "/tokens", json.dumps(wanted | {"prefix": "a"}).encode(), **root)
    claims = jwt.decode(json.loads(await wire.body())["token"], KEY, algorithms=["HS256"])
    old = jwt.encode(claims | {"prefix": "\ud800"}, KEY, "HS256")
    assert (await loom.get("/streams", authorization=f"Bearer {old}")).head.status == 401, (
        "it covers no stream"
    )


async def test_webhooks_and_clients_accept_invalid_metadata(loom: Loom):
    for kind in KINDS:
        info = await loom.service.info(kind.replace(" ", "-"))
        strict(encode_row(info))
    async with AsyncClient(loom.url) as client:
        assert {info.id async for info in client.streams()} >= {kind.replace(" ", "-") for kind in KINDS}

"""Data directories of earlier versions that were killed: see directories/README.md."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from tests.files.conftest import Starter

from loom.model import Info, Query, State
from loom.store.files import FilesStore
from loom.store.files.disk import Disk
from loom.store.files.testing import Inside
from loom.testing.tools import COMPLETE, stored

DIRECTORIES = Path(__file__).parent / "directories"
LOST = {"state": "interrupted", "reason": "the server stopped"}


@pytest.fixture(params=sorted(path.name.partition(".")[0] for path in DIRECTORIES.glob("*.tar.xz")))
def old(request, folder: Path) -> Path:
    """Unpack the directory that the version of a commit left, with its `expected.json`."""
    with tarfile.open(DIRECTORIES / f"{request.param}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder


async def rows(store: FilesStore) -> dict[str, Info]:
    return {info.id: info async for info in store.find(Query())}


async def test_an_old_directory_opens_with_every_stream_as_it_was(old: Path, starter: Starter):
    expected = {row["id"]: row for row in json.loads((old / "expected.json").read_text())}
    store = await starter(Disk(old / "data"))
    found = await rows(store)
    assert found.keys() == expected.keys()
    for id, info in found.items():
        row = expected[id]
        was_live = row["state"] == "live"
        data = await stored(store, id)
        assert hashlib.sha256(data).hexdigest() == row.pop("sha256")
        assert len(data) == row["size"]
        if info.state is State.INTERRUPTED:
            row["deadline"] = info.deadline  # a new window: nobody could resume while the server was down
        if was_live:
            row |= LOST | {"version": row["version"] + 1}
        assert {name: getattr(info, name) for name in row} == row
    assert sum(info.state is State.INTERRUPTED for info in found.values()) == 4
    assert not Inside(store).parts.recovered.damaged
    assert store.size == sum(row["size"] for row in expected.values())


async def test_an_old_directory_accepts_changes_and_opens_again(old: Path, starter: Starter):
    store = await starter(Disk(old / "data"))
    before = await rows(store)
    line = await store.place(before["ci/build 1"].key, 29_000)
    assert (await stored(store, "ci/build 1"))[line.offset :].startswith(b"%06d" % (line.line - 1))
    live, data = before["live/large"], await stored(store, "live/large")
    writer = await store.resume(live.key, live.size)
    writer.append(b"!")
    await writer.close(COMPLETE)
    await store.delete(before["empty"].key)
    store = await starter(Disk(old / "data"))
    after = await rows(store)
    assert await stored(store, "live/large") == data + b"!"
    assert after.pop("live/large").state is State.COMPLETE
    del before["live/large"], before["empty"]
    assert {id: (info.state, info.size) for id, info in after.items()} == {
        id: (info.state, info.size) for id, info in before.items()
    }

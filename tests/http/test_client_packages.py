"""GET /client/: the client and its packages, served by the server that they are for."""

import asyncio
import hashlib
import io
import re
import zipfile
from base64 import urlsafe_b64decode
from pathlib import Path

from tests.support.running import ONE_STORE, Loom, Serve

import loom as package
from loom.http.pages.wheels import packages

WHEEL = f"loom_streams-{package.__version__}-py3-none-any.whl"

pytestmark = ONE_STORE


async def text(loom: Loom, target: str) -> str:
    wire = await loom.get(target)
    assert wire.head.status == 200
    return (await wire.body()).decode()


def files(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def checked(wheel: bytes) -> dict[str, bytes]:
    """Return the files of a wheel, compared with its RECORD."""
    found = files(wheel)
    [record] = [name for name in found if name.endswith(".dist-info/RECORD")]
    lines = [line.rsplit(",", 2) for line in found[record].decode().splitlines()]
    assert {name for name, _, _ in lines} == found.keys()
    for name, digest, size in lines:
        if name != record:
            padded = digest.removeprefix("sha256=") + "="
            assert urlsafe_b64decode(padded) == hashlib.sha256(found[name]).digest()
            assert int(size) == len(found[name])
    return found


async def test_the_page_and_the_packages_need_no_token(serve: Serve):
    loom = await serve(tokens=["secret"])
    page = await text(loom, "/client/")
    assert WHEEL in page
    assert "{" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    assert (await loom.get("/client")).head["location"] == "/client/"
    assert "loom-streams" in await text(loom, "/client/simple/")
    for path in (
        "/client/other.whl",
        "/client/simple/other/",
        "/client/simple/pytest/",
        "/client/../streams",
    ):
        assert (await loom.get(path)).head.status == 404


async def test_the_wheel_has_the_files_of_this_server_and_its_own_record(loom: Loom):
    wire = await loom.get(f"/client/{WHEEL}")
    found = checked(await wire.body())
    source = Path(package.__file__).parent
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert found.pop(f"loom/{path.relative_to(source).as_posix()}") == path.read_bytes()
    assert {name.partition("/")[2] for name in found} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
    }
    again = await loom.ask("GET", f"/client/{WHEEL}", if_none_match=wire.head["etag"])
    assert again.head.status == 304


async def test_the_index_has_every_package_with_its_digest(loom: Loom):
    index = await text(loom, "/client/simple/")
    names = re.findall(r'href="(/client/simple/[^"]+/)"', index)
    assert len(names) == len(await asyncio.to_thread(packages))
    for name in (f"/client/simple/{each}/" for each in ("click", "loom-streams", "multidict")):
        assert name in names
        [(path, digest)] = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', await text(loom, name))
        body = await (await loom.get(path)).body()
        assert hashlib.sha256(body).hexdigest() == digest
        checked(body)

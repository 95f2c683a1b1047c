"""The client library of earlier versions against this server: see versions/README.md."""

import tarfile
from pathlib import Path

import pytest
from tests.network.conftest import Between
from tests.support.program import environment, run
from tests.support.proxy import Storm
from tests.support.running import Loom

VERSIONS = Path(__file__).parent / "versions"


@pytest.fixture(params=sorted(path.name.partition(".")[0] for path in VERSIONS.glob("*.tar.xz")))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a directory with the library that the version of a commit had."""
    with tarfile.open(VERSIONS / f"{request.param}.tar.xz") as packed:
        packed.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


async def use(old: Path, url: str) -> tuple[int, str, str]:
    env = environment() | {"PYTHONPATH": str(old)}
    return await run("python", VERSIONS / "use.txt", url, old, env=env)


async def test_an_old_client_pushes_follows_lists_and_deletes(old: Path, loom: Loom):
    assert await use(old, loom.url) == (0, "", "")


async def test_an_old_client_resumes_on_both_ends(old: Path, loom: Loom, between: Between):
    storm = Storm(7, cuts=6, up=30_000, down=300)
    proxy = await between(loom, storm)
    assert await use(old, proxy.url) == (0, "", "")
    assert storm.cuts == 6

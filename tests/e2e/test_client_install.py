"""The client installed from a server into a clean environment, and the packages that `make dist` builds."""

import asyncio
import io
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.support.server import LOOM

import loom as package
from loom.http.pages.wheels import packages

ROOT = Path(package.__file__).parents[2]
WHEEL = f"loom_streams-{package.__version__}-py3-none-any.whl"


def files(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_the_same_files_give_the_same_wheel():
    first, second = packages()["loom-streams"], packages()["loom-streams"]
    assert first.wheel.digest == second.wheel.digest


@pytest.mark.timeout(180)  # installs thirty packages
async def test_the_client_is_installed_from_the_server_alone_and_serves_the_same_wheel(
    serve: Serve, tmp_path: Path
):
    server = await serve()
    where = tmp_path / "clean"
    venv.create(where, with_pip=False, symlinks=True)
    index = ("--index-url", f"{server.url}/client/simple/", "--no-cache-dir", "--isolated")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        where / "bin/python",
        "install",
        "-q",
        "--only-binary=:all:",
    )
    subprocess.run([*pip, *index, f"loom-streams=={package.__version__}"], check=True, timeout=150)
    program = where / "bin/loom"
    told = {"LOOM_SERVER": server.url, "PATH": "/usr/bin:/bin"}
    subprocess.run(
        [program, "push", "from/clean", "--quiet"], input=b"hello\n", env=told, check=True, timeout=30
    )
    read = [LOOM[0], "cat", "from/clean"]
    assert subprocess.run(read, env=told, check=True, capture_output=True, timeout=30).stdout == b"hello\n"
    script = "from loom.http.pages.wheels import packages; print(packages()['loom-streams'].wheel.digest)"
    installed = subprocess.run(
        [where / "bin/python", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    here = await asyncio.to_thread(lambda: packages()["loom-streams"].wheel.digest)
    assert installed.stdout.strip() == here, "an installation serves the wheel that a checkout serves"


CLIENT = ("aiohttp", "anyio", "click", "pyyaml", "rich")
COMMANDS = ("run", "push", "tail", "cat", "ls", "share")


def test_five_packages_are_enough_for_the_client_as_the_docs_say():
    assert f"pip install {' '.join(CLIENT)}" in (ROOT / "docs/installing.md").read_text()
    server = ["re2", "httptools", "prometheus_client", "pydantic", "jwt", "starlette", "structlog", "uvloop"]
    script = [
        *("import sys", *(f"sys.modules[{name!r}] = None" for name in [*server, "xxhash"])),
        *("import loom.client.blocking", *(f"import loom.cli.{name}" for name in COMMANDS)),
    ]
    subprocess.run([sys.executable, "-c", "\n".join(script)], check=True, timeout=30)
    needed = {name for name in packages() if name.replace("-", "_") not in {*server, "xxhash"}}
    assert needed >= {"loom-streams", *CLIENT}


@pytest.mark.timeout(120)  # builds five times, and installs thirty packages
def test_builds_give_the_same_bytes_and_the_files_that_the_server_offers(tmp_path: Path):
    environ = {"PATH": "/usr/bin:/bin"}
    subprocess.run([ROOT / "scripts/dist", tmp_path / "dist"], env=environ, check=True, timeout=100)
    made = {path.name: path for path in (tmp_path / "dist").iterdir()}
    assert set(made) == {WHEEL, f"loom_streams-{package.__version__}.tar.gz"}
    built, offered = files(made[WHEEL].read_bytes()), files(packages()["loom-streams"].wheel.body)
    own = {name for name in built if name.rpartition("/")[2] in ("RECORD", "WHEEL")}
    assert {name: data for name, data in built.items() if name not in own} == {
        name: data for name, data in offered.items() if name not in own
    }

"""The Dockerfile and the compose file, as far as they can be checked without a Docker engine."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from tests.support.program import program, run
from tests.support.server import Server

from loom import __version__
from loom.cli.exit_codes import USAGE
from loom.config import Settings, variable

ROOT = Path(__file__).parents[2]
VARIABLES = {variable(name) for name in Settings.model_fields}


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [text for instruction, text in instructions if instruction == name]


def test_copied_files_exist_and_are_sent_to_the_builder(instructions):
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for text in of(instructions, "COPY"):
        if "--from=" not in text:
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, each) for each in sent), source


def test_image_runs_without_root_and_has_one_base_that_can_be_pinned(instructions):
    assert of(instructions, "USER") == ["65532:65532"]
    [base] = of(instructions, "ARG")
    assert re.fullmatch(r"BASE=python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", base)
    assert [text.split()[0] for text in of(instructions, "FROM")] == ["${BASE}", "${BASE}"]
    assert json.loads(of(instructions, "ENTRYPOINT")[0]) == ["loom", "serve"]


def test_variables_are_settings(instructions):
    [texts] = of(instructions, "ENV")
    given = {name for name in re.findall(r"(\w+)=", texts) if name.startswith("LOOM_")}
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    given |= compose["services"]["loom"]["environment"].keys()
    assert given <= VARIABLES


async def test_health_check_succeeds_only_while_a_server_is_ready(instructions, tmp_path: Path):
    [text] = of(instructions, "HEALTHCHECK")
    [_, code] = text.split("CMD ", 1)
    program, *arguments = json.loads(code)
    assert program == "python"
    server = await Server.start(tmp_path / "data", tmp_path / "log", durability="os")

    def check() -> int:
        there = [each.replace(":3060", f":{server.port}") for each in arguments]
        return subprocess.run([sys.executable, *there], stderr=subprocess.DEVNULL).returncode

    assert check() == 0
    assert await server.stop() == 0
    assert check() != 0


def needed_by(name: str, seen: set[str]) -> set[str]:
    """Return the package and all that it needs, in lower case."""
    if name not in seen:
        seen.add(name)
        for need in map(Requirement, requires(name) or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                needed_by(need.name.lower(), seen)
    return seen


def test_no_package_that_only_builds_stays_in_the_image(instructions):
    builds = needed_by("hatchling", needed_by("editables", set())) - needed_by("loom-streams", set())
    [removed] = [text for text in of(instructions, "RUN") if "/opt/loom/bin/pip uninstall --yes" in text]
    assert set(removed.split("--yes")[1].split()) == builds | {"pip"}
    # The base image has a pip of its own.
    assert any(text.startswith("python -m pip uninstall") for text in of(instructions, "RUN"))


async def test_image_does_not_start_without_tokens_unless_that_is_said(instructions):
    [texts] = of(instructions, "ENV")
    env = dict(re.findall(r"(LOOM_\w+)=(\S+)", texts))
    del env["LOOM_DATA"]
    code, out, err = await run("loom", "serve", "--port", "0", "--store", "memory", env=env)
    assert (code, out) == (USAGE, "")
    assert err.count("\n") == 1
    assert "LOOM_TOKENS" in err
    assert "LOOM_INSECURE=1" in err
    env["LOOM_HOST"] = "127.0.0.1"
    for more in ({"LOOM_INSECURE": "1"}, {"LOOM_TOKENS": "a-long-token-of-this-test"}):
        async with program("loom", "serve", "--port", "0", "--store", "memory", env=env | more) as server:
            assert (await server.line()).startswith(f"Loom {__version__} listens on http://")


def test_container_is_limited_and_reached_from_this_machine_only():
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["loom"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 256


def test_container_may_write_to_its_data_only():
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["loom"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["data:/var/lib/loom"]
    assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).exists()

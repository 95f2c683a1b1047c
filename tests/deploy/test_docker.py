"""The Dockerfile and the compose file, as far as they can be checked without a Docker engine."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from tests.support.server import Server

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


def test_image_runs_without_root_and_names_its_base_version(instructions):
    assert of(instructions, "USER") == ["65532:65532"]
    assert all(re.match(r"python:3\.\d+-slim", text) for text in of(instructions, "FROM"))
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


def test_container_may_write_to_its_data_only():
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["loom"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["data:/var/lib/loom"]
    assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).exists()

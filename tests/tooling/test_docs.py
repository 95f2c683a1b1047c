"""Everything that a user can set, call, request or receive is in docs/. Tests of /metrics check the
metrics.
"""

import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from loom.cli import exit_codes
from loom.cli.main import MODULES
from loom.config import Settings
from loom.errors import ConfigError, LoomError, WriterLost
from loom.http.problem import row_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = "".join(path.read_text() for path in (ROOT / "src" / "loom" / "http").rglob("*.py"))


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def errors(of: type[LoomError] = LoomError) -> Iterator[type[LoomError]]:
    yield of
    for each in of.__subclasses__():
        if each.__module__ == of.__module__:  # not those of the client
            yield from errors(each)


def test_settings_in_the_documentation_are_those_declared():
    reference = runpy.run_path(str(DOCS / "reference.py"))
    readme = (ROOT / "README.md").read_text()
    assert page("configuration") == reference["page"](), "run: .venv/bin/python docs/reference.py"
    assert readme == reference["with_table"](readme), "run: .venv/bin/python docs/reference.py"
    assert all(f"| `{name}` |" in readme for name in Settings.model_fields)


def test_commands_in_the_documentation_are_as_their_help_texts():
    assert page("commands") == runpy.run_path(str(DOCS / "reference.py"))["commands"]()
    assert not [name for name in MODULES if f"### loom {name}\n" not in page("commands")]


def test_every_page_is_in_one_part_of_the_sidebar():
    parts = re.findall(r"^:caption: (\w+)\n:hidden:\n\n((?:[\w-]+\n)+)", page("index"), re.MULTILINE)
    assert [title for title, _ in parts] == ["Start", "Send", "Read", "Operate", "Reference"]
    listed = [name for _, names in parts for name in names.split()]
    assert sorted([*listed, "index"]) == sorted(path.stem for path in DOCS.glob("*.md"))


def test_recipes_are_valid_and_link_to_pages():
    blocks = [
        (path.name, kind, text)
        for path in DOCS.glob("*.md")
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert {"github.md", "gitlab.md", "jenkins.md"} <= {name for name, _, _ in blocks}
    for name, kind, text in blocks:
        if kind == "yaml":
            assert yaml.safe_load(text), name
        if kind == "sh":
            checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
            assert (checked.returncode, checked.stderr) == (0, ""), name
        if name in ("github.md", "gitlab.md", "jenkins.md"):
            assert "/ui/stream/" in text
            assert "/client/" in text


def test_requests_headers_and_errors_in_the_documentation_are_those_of_the_openapi_document():
    reference = runpy.run_path(str(DOCS / "http_reference.py"))
    for path in (DOCS / "http.md", ROOT / "README.md"):
        text = path.read_text()
        assert "<!-- http: " in text
        assert text == reference["with_tables"](text), "run: .venv/bin/python docs/reference.py"


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


# Never in a response: one ends the start, the other is raised only as one of its subclasses.
REPORTED = [each for each in errors() if each not in (ConfigError, WriterLost)]


@pytest.mark.parametrize("error", REPORTED, ids=lambda error: error.__name__)
def test_every_error_is_documented_with_its_status(error):
    assert f"| `{error.code}` | {row_of(error).status} |" in page("http")


def test_codes_that_are_no_errors_of_their_own_are_documented():
    codes = re.findall(r'\bproblem\(\s*(\d{3}), "(\w+)"', SOURCES)
    assert len(codes) >= 4
    assert not [code for _, code in codes if f"`{code}`" not in page("http")]


def test_every_path_is_documented():
    paths = [path.rstrip("/") or "/" for path in re.findall(r'Route\(\s*"(/[^"]*)"', SOURCES)]
    assert len(paths) >= 10
    reference = page("http").replace("{id}", "{id:path}")
    assert not [path for path in paths if f"`{path}`" not in reference and not path.startswith("/ui")]


def test_every_command_is_documented():
    text = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert "serve" in MODULES
    assert not [name for name in MODULES if f"loom {name}" not in text]


def test_every_exit_code_is_documented():
    table = re.findall(r"^\| (\d+) \| (.+) \|$", page("exit-codes"), re.MULTILINE)
    assert table == [(str(code), meaning) for code, meaning in exit_codes.MEANINGS.items()]
    assert exit_codes.RUN in page("exit-codes")

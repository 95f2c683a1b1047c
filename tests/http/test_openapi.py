"""The OpenAPI document describes exactly what the app does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from starlette.routing import Route, Router
from tests.support.running import ONE_STORE, Loom, Serve

import loom as package
from loom.access.auth import Action
from loom.errors import ConfigError, LoomError
from loom.http.headers import ACCEPT_PATCH, EXPOSED
from loom.http.problem import row_of
from loom.http.service.listing import DEFAULT_LIMIT, MAX_LIMIT
from loom.http.service.openapi import document
from loom.http.service.tokens import MAX_SECONDS
from loom.http.stream.lifetime import MAX_TTL
from loom.http.stream.request_headers import MAX_KEY_BYTES, MAX_RESUME_WINDOW
from loom.ids import MAX_ID_CHARS
from loom.model import COUNTED, FAILURES, FOLDERS, ChangeKind, Outcome, State

SOURCE = Path(package.__file__).parent / "http"
PROTOCOL = {
    *("accept", "authorization", "content-encoding", "content-length", "content-type", "expect"),
    "transfer-encoding",
}
"""Headers that OpenAPI has other words for, or whose parameters it has ignored (section 4.8.12)."""


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return document(4096)


def routes(app: Any) -> list[Route]:
    """Return the routes without those of the web page."""
    while not isinstance(app, Router):
        app = app._app
    page = ("/", "/ui")
    found = [route for route in app.routes if isinstance(route, Route)]
    return [route for route in found if route.path not in page and not route.path.startswith("/ui/")]


def errors(root: type[LoomError] = LoomError) -> Iterator[type[LoomError]]:
    # The errors of the client are in the same tree once they are imported.
    if root is not ConfigError and root.__module__ == LoomError.__module__:
        yield root
    for error in root.__subclasses__():
        yield from errors(error)


@ONE_STORE
async def test_the_document_has_every_path_with_its_methods(loom: Loom, tree: dict[str, Any]):
    served = {route.path.replace(":path}", "}").rstrip("/") for route in routes(loom.app)}
    assert served == set(tree["paths"])
    for path, item in tree["paths"].items():
        head = (await loom.ask("OPTIONS", path.replace("{id}", "a"))).head
        methods = {name.upper() for name in item} - {"PARAMETERS", "HEAD", "OPTIONS"}
        assert methods == set(head["allow"].split(", ")) - {"HEAD", "OPTIONS"}, path


@ONE_STORE
async def test_the_document_is_served_without_a_token(serve: Serve, tree: dict[str, Any]):
    loom = await serve(tokens=["secret"])
    wire = await loom.get("/openapi.json")
    assert (wire.head.status, wire.head["content-type"]) == (200, "application/json")
    assert json.loads(await wire.body()) == json.loads(json.dumps(tree))


def test_the_document_is_valid(tree: dict[str, Any]):
    schemathesis.openapi.from_dict(json.loads(json.dumps(tree))).validate()


def test_the_document_has_every_problem_with_its_status(tree: dict[str, Any]):
    known = set()
    for name, response in tree["components"]["responses"].items():
        if not name.startswith("Problem"):
            continue
        [schema] = [each["schema"] for each in response["content"].values()]
        known |= {
            (int(name.removeprefix("Problem")), code)
            for code in schema["allOf"][1]["properties"]["code"]["enum"]
        }
    ours = {(row_of(error).status, error.code) for error in errors()}
    written = re.compile(r'(?:problem|Refusal)\(\s*([1-5][0-9]{2}), "([a-z_]+)"')
    for file in SOURCE.rglob("*.py"):
        ours |= {(int(status), code) for status, code in written.findall(file.read_text())}
    assert known == ours


def test_the_document_has_every_header_of_requests_and_responses(tree: dict[str, Any]):
    parameters = tree["components"]["parameters"].values()
    described = {each["name"].lower() for each in parameters if each["in"] == "header"}
    read = {
        name
        for file in SOURCE.rglob("*.py")
        for name in re.findall(r'\.all\(b"([a-z-]+)"\)', file.read_text())
    }
    assert read - PROTOCOL == described
    shown = {name.lower() for name in tree["components"]["headers"]}
    assert {name.lower() for name in EXPOSED} - {"accept-patch"} <= shown


def test_limits_and_values_are_those_of_the_code(tree: dict[str, Any]):
    parameters = {name: each["schema"] for name, each in tree["components"]["parameters"].items()}
    schemas = tree["components"]["schemas"]
    assert tree["info"]["version"] == package.__version__
    assert parameters["X-Stream-Metadata"]["maxLength"] == 4096
    assert parameters["id"]["maxLength"] == MAX_ID_CHARS
    assert parameters["limit"]["default"] == DEFAULT_LIMIT
    assert f"at most {MAX_LIMIT}" in tree["components"]["parameters"]["limit"]["description"]
    assert parameters["Stream-Resume-Window"]["maximum"] == MAX_RESUME_WINDOW
    assert parameters["Stream-TTL"]["maximum"] == MAX_TTL
    assert parameters["Idempotency-Key"]["maxLength"] == MAX_KEY_BYTES
    assert schemas["TokenRequest"]["properties"]["expires_in"]["maximum"] == MAX_SECONDS
    assert schemas["TokenRequest"]["properties"]["scopes"]["items"]["enum"] == list(Action)
    assert schemas["Change"]["enum"] == list(ChangeKind)
    header = tree["components"]["headers"]["X-Stream-State"]["schema"]
    for states in (parameters["state"]["items"], schemas["Stream"]["properties"]["state"], header):
        assert states["enum"] == list(State)
    words = tree["components"]["headers"]["X-Stream-Outcome"]["schema"]["enum"]
    folders = schemas["Folders"]["properties"]
    for counted in (folders["count"], folders["folders"]["items"]["properties"]["count"]):
        assert counted["maximum"] == COUNTED
    assert folders["folders"]["items"]["properties"]["failures"]["maximum"] == FAILURES
    assert f"at most {FOLDERS}" in tree["paths"]["/folders"]["get"]["description"]
    assert parameters["outcome"]["items"]["enum"] == words == list(Outcome)
    assert schemas["Stream"]["properties"]["outcome"]["enum"] == [*Outcome, None]
    kinds = tree["paths"]["/stream/{id}"]["patch"]["requestBody"]["content"]
    assert ", ".join(kinds).encode() == ACCEPT_PATCH[1]


def test_every_component_of_the_document_is_used(tree: dict[str, Any]):
    text = json.dumps(tree)
    unnamed = {"Change"}
    for kind in ("parameters", "headers", "schemas", "responses"):
        for name in tree["components"][kind]:
            assert name in unnamed or f'"#/components/{kind}/{name}"' in text, name

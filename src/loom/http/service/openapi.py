"""GET /openapi.json: this interface as an OpenAPI 3.1 document.

The document is kept in `openapi.json`. What the code determines is added when it is loaded: the version, the
limit on metadata, and every problem with its code and status. Tests compare the rest with the code.
"""

import asyncio
import json
from importlib.resources import files
from typing import Any

from loom import __version__
from loom.http.exchange import Exchange
from loom.http.problem import ROWS, phrase_of
from loom.wire.media import PROBLEM

Node = dict[str, Any]

EVERYWHERE = (400, 401, 403, 405, 408, 421, 431, 500, 501, 503, 505)
"""The statuses of problems that any request may meet."""


class Document:
    """The handler of /openapi.json."""

    def __init__(self, max_metadata_bytes: int) -> None:
        self._max_metadata_bytes = max_metadata_bytes
        self._text = ""

    async def read(self, exchange: Exchange) -> None:
        """GET /openapi.json: send the document, which is built for the first request."""
        if not self._text:
            self._text = await asyncio.to_thread(
                lambda: json.dumps(document(self._max_metadata_bytes), indent=1)
            )
        await exchange.respond_json(self._text)


def document(max_metadata_bytes: int) -> Node:
    """Return the whole document."""
    tree: Node = json.loads(files(__package__).joinpath("openapi.json").read_text("utf-8"))
    parts = tree["components"]
    tree["info"]["version"] = __version__
    parts["parameters"]["X-Stream-Metadata"]["schema"]["maxLength"] = max_metadata_bytes
    problems = _problems(tree.pop("x-problems"))
    parts["responses"] |= {f"Problem{status}": _problem(status, problems[status]) for status in problems}
    stream = tree["paths"]["/stream/{id}"]
    own = stream["head"]["responses"]
    stream["head"] |= _without_content(stream["get"])
    own["200"] = stream["head"]["responses"]["200"] | {
        "headers": stream["head"]["responses"]["200"]["headers"] | own["200"]["headers"]
    }
    stream["head"]["responses"] |= own
    for path in tree["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                everywhere = {str(status): _reference(status) for status in EVERYWHERE}
                operation["responses"] = dict(sorted({**everywhere, **operation["responses"]}.items()))
    return tree


def _without_content(get: Node) -> Node:
    """Return the parameters and responses of HEAD, which are those of GET without content."""
    responses = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in get["responses"].items()
    }
    return {"parameters": get["parameters"], "responses": responses}


def _problems(others: Node) -> dict[int, list[str]]:
    """Return the codes of all problems by status: those of errors, and the `others`."""
    codes: dict[int, set[str]] = {}
    for error, row in ROWS.items():
        codes.setdefault(row.status, set()).add(error.code)
    for code, other in others.items():
        codes.setdefault(other["status"], set()).add(code)
    return {status: sorted(codes[status]) for status in sorted(codes)}


def _problem(status: int, codes: list[str]) -> Node:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
        ]
    }
    return {
        "description": f"{phrase_of(status)}: {', '.join(codes)}.",
        "content": {PROBLEM: {"schema": schema}},
    }


def _reference(status: int) -> Node:
    return {"$ref": f"#/components/responses/Problem{status}"}

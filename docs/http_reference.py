"""Writes the tables of http.md and the table of requests in the README from the OpenAPI document.

`python docs/reference.py` runs it.
"""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from loom.errors import LoomError, WriterLost
from loom.http.problem import ROWS

DOCS = Path(__file__).parent
TABLE = re.compile(r"(<!-- http: ([^>]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
METHODS = ("put", "post", "get", "head", "patch", "delete")
SOURCE: dict[str, Any] = json.loads(files("loom.http.service").joinpath("openapi.json").read_text("utf-8"))


def operations(tag: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the operation of each request with this tag, without one of all."""
    for path, item in SOURCE["paths"].items():
        for method in METHODS:
            if method in item and (not tag or tag in item[method]["tags"]):
                yield path, method.upper(), item[method]


def of_tag(tag: str) -> Iterator[str]:
    """Yield the table of the requests with this tag, and that of their parameters."""
    yield from ("| request | response |", "|---|---|")
    used: dict[str, list[str]] = {}
    for path, method, operation in operations(tag):
        yield f"| `{method} {path}` | {operation['summary']}. {operation['description']} |"
        for each in operation.get("parameters", []):
            short = path == "/stream" or path.startswith(("/stream/", "/v1/"))
            request = f"`{method}`" if short else f"`{method} {path}`"
            requests = used.setdefault(each["$ref"].rpartition("/")[2], [])
            requests += [] if request in requests else [request]
    if used:
        yield from ("", "| parameter or header | of | meaning |", "|---|---|---|")
    for key, requests in used.items():
        parameter = SOURCE["components"]["parameters"][key]
        yield f"| {shown(parameter)} | {', '.join(requests)} | {parameter['description']} |"


def shown(parameter: dict[str, Any]) -> str:
    """Return a parameter as it stands in a request, as Markdown."""
    name, value = parameter["name"], parameter.get("example", "")
    if parameter["in"] == "header":
        return f"`{name}: {value}`" if value != "" else f"`{name}`"
    if isinstance(value, dict):
        [(member, value)] = value.items()
        name = f"{name}.{member}"
    value = ",".join(value) if isinstance(value, list) else value
    return f"`?{name}={value}`" if value != "" else f"`?{name}`"


def paths() -> Iterator[str]:
    """Yield the table of paths."""
    yield from ("| path | method | what it does |", "|---|---|---|")
    before = ""
    for path, method, operation in operations():
        yield f"| {f'`{path}`' if path != before else ''} | `{method}` | {operation['summary']} |"
        before = path


def headers() -> Iterator[str]:
    """Yield the table of the headers of responses."""
    yield from ("| header | meaning |", "|---|---|")
    for name, header in SOURCE["components"]["headers"].items():
        yield f"| `{name}` | {header['description']} |"


def errors() -> Iterator[str]:
    """Yield the table of problems."""
    yield from ("| `code` | status | when |", "|---|---|---|")
    for error, row in ROWS.items():
        # The one is described with the other problems, the other only raised as one of its subclasses.
        if error not in (LoomError, WriterLost):
            when = " ".join((error.__doc__ or "").partition("\n\n")[0].split())
            yield f"| `{error.code}` | {row.status} | {when} |"
    for code, other in SOURCE["x-problems"].items():
        yield f"| `{code}` | {other['status']} | {other['when']} |"


def summary() -> Iterator[str]:
    """Yield the table of the README."""
    yield from ("| request | what it does |", "|---|---|")
    for path, method, operation in operations():
        yield f"| `{method} {path}` | {operation['summary']} |"


TABLES = {"paths": paths, "headers": headers, "errors": errors, "summary": summary}


def with_tables(text: str) -> str:
    """Return `text` with each table between its markers."""

    def table(found: re.Match[str]) -> str:
        name = found[2]
        rows = TABLES[name]() if name in TABLES else of_tag(name)
        return found[1] + "".join(f"{row}\n" for row in rows)

    return TABLE.sub(table, text)


def write() -> None:
    """Write the tables into both pages."""
    for page in (DOCS / "http.md", DOCS.parent / "README.md"):
        page.write_text(with_tables(page.read_text()))

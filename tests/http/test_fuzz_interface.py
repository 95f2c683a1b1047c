"""Schemathesis: requests that the OpenAPI document allows, and others, sent to a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from loom.http.service.openapi import document

NEVER_ENDS = "/spy", "/events"
"""Answers that a client of schemathesis's kind, which waits for the end, never has: HEAD is asked instead."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
OF_HEAD = [not_a_server_error, status_code_conformance]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server as users do; check at the end that it stops well and that no request failed in it."""
    log = tmp_path_factory.mktemp("fuzz") / "log"
    command = [
        f"{Path(sys.executable).parent}/loom",
        "serve",
        "--port=0",
        "--store=memory",
        "--log-format=json",
    ]
    with log.open("wb") as err:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True) as process:
            assert process.stdout
            yield process.stdout.readline().partition(" on ")[2].split()[0]
            process.terminate()
    assert process.returncode == 0
    assert "a request failed" not in log.read_text()


INTERFACE = schemathesis.openapi.from_dict(json.loads(json.dumps(document(4096))))
OPERATIONS = [found.ok() for found in INTERFACE.get_all_operations() if isinstance(found, Ok)]
VALID = [(operation, GenerationMode.POSITIVE) for operation in OPERATIONS]
INVALID = [
    (operation, GenerationMode.NEGATIVE)
    for operation in OPERATIONS
    if operation.body or any(each.location != "path" for each in operation.iter_parameters())
]


def name(value: Any) -> str:
    return str(getattr(value, "label", value))


@pytest.mark.parametrize(("operation", "mode"), [*VALID, *INVALID], ids=name)
def test_every_response_is_as_documented(url: str, operation: Any, mode: GenerationMode):
    @settings(max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        checks = CHECKS
        if case.path in NEVER_ENDS:
            case.method, checks = "HEAD", OF_HEAD
        elif case.method == "GET" and case.path == "/stream/{id}":
            # The response for a stream that is not completed does not end either. With `notail` it does.
            case.query = {**(case.query or {}), "notail": ""}
        case.call_and_validate(base_url=url, checks=checks, timeout=10)

    ask()

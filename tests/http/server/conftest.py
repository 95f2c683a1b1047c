"""Run the server's tests on both event loops, whose sockets and transports behave differently."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect what the server logs, not rendered: rendering a traceback reads source files."""
    with capture_logs() as lines:
        yield lines

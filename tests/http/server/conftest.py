"""The server's tests run on both loops: it holds sockets and transports that behave differently."""

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
    """What the server logs. Not rendered: that would read source files for a traceback."""
    with capture_logs() as lines:
        yield lines

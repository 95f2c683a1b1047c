"""Run the server's tests on both event loops, whose sockets and transports behave differently."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
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


@pytest.fixture
async def certificate(tmp_path: Path, tool: Callable[[str], str]) -> Path:
    """Make a key and its certificate in one file."""
    key, signed, both = (tmp_path / name for name in ("key.pem", "cert.pem", "both.pem"))
    new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ]
    openssl = await asyncio.create_subprocess_exec(
        tool("openssl"), *new, "-keyout", key, "-out", signed, stderr=asyncio.subprocess.DEVNULL
    )
    assert await openssl.wait() == 0
    both.write_bytes(key.read_bytes() + signed.read_bytes())
    return both

"""Servers behind a bad network."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from tests.support.proxy import Always, Proxy, Storm, Weather
from tests.support.running import Loom

Between = Callable[[Loom, Storm | Weather], Awaitable[Proxy]]


@pytest.fixture
async def between() -> AsyncIterator[Between]:
    """Start a proxy in front of a server."""
    async with AsyncExitStack() as stack:

        async def start(loom: Loom, storm: Storm | Weather) -> Proxy:
            sky = Always(storm) if isinstance(storm, Weather) else storm
            return await stack.enter_async_context(Proxy(loom.host, loom.port, sky).listening())

        yield start
